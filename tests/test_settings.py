from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from scheduler.core.money import Money
from scheduler.core.pricing import PriceList
from scheduler.errors import SettingsError
from scheduler.home import Home
from scheduler.settings import Loaded, Settings, load_settings, secret_reader, system_zone, token_source

CONFIG = Path(__file__).parents[1] / "config"
CANARY = "coda_canary_4f1d2c9be0"

Load = Callable[..., Loaded]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Load a configuration given as text, with an environment of its own."""

    def loading(text: str | None = None, environ: Mapping[str, str] | None = None) -> Loaded:
        if text is not None:
            (tmp_path / "nightshot.toml").write_text(text, encoding="utf-8")
        return load_settings(Home.find(str(tmp_path), {}), None, environ or {})

    return loading


# ------------------------------------------------------------------------------------------- defaults


def test_nothing_written_is_a_working_configuration(load: Load) -> None:
    settings = load(environ={"TZ": "Europe/Berlin"}).settings
    assert settings.defaults.backend == "simulator"
    assert settings.defaults.shots == 100
    assert settings.spool.owners == ("self",)
    assert settings.spool.max_file_bytes == 16 * 1024 * 1024
    assert settings.breaker.doubts == 3
    assert settings.breaker.doubt_exposure == Money.parse("10.00 USD")
    assert settings.providers == {"local": {"kind": "simulator"}, "coda": {"kind": "coda"}}
    assert settings.time.timezone == "Europe/Berlin"


def test_the_tree_is_frozen(load: Load) -> None:
    settings = load().settings
    with pytest.raises(ValueError, match="frozen"):
        settings.defaults.shots = 5  # type: ignore[misc]


def test_the_system_zone_is_taken_or_its_absence_said(load: Load) -> None:
    assert system_zone({"TZ": ":America/New_York"}) == "America/New_York"
    loaded = load()
    assert loaded.settings.time.timezone
    assert (system_zone({}) is None) == bool(loaded.notes)


def test_the_example_names_every_key_with_its_default(load: Load) -> None:
    example = (CONFIG / "nightshot.toml").read_text(encoding="utf-8")
    untouched = load(example)
    defaults = load("")
    assert list(untouched.shown()) == list(defaults.shown()), "the example as it ships changes nothing"

    opened = load(re.sub(r"(?m)^#(?=[a-z_]+ = |\[)", "", example))
    for key, value, origin in opened.shown():
        assert origin.startswith("nightshot.toml:"), f"{key} is missing in config/nightshot.toml"
        if not key.startswith(("backends.", "caps.", "windows.", "providers.coda.token_file")):
            written = {name: default for name, default, _ in defaults.shown()}[key]
            assert key == "time.timezone" or value == written, f"{key}: the example says {value!r}"


def test_the_lab_example_loads(load: Load) -> None:
    settings = load((CONFIG / "lab.toml").read_text(encoding="utf-8")).settings
    assert settings.slots_for("coda:ionq-forte", "coda") == 1
    assert settings.backend("coda:rigetti").enabled is False
    assert sorted(settings.caps) == ["credits", "member", "month"]
    assert settings.approval.above_microusd == 20_000_000
    url = "postgresql+asyncpg://nightshot@/nightshot?host=/run/postgresql"
    assert settings.store_url(Path("/unused")) == url


# --------------------------------------------------------------------------------------------- origins


def test_every_value_knows_where_it_came_from(load: Load) -> None:
    loaded = load(
        '# a comment\n[spool]\nquiet_s = 3\nowners = [\n  "self",\n  "lab",\n]\nscan_interval_s = 9\n'
        '[backends."coda:iqm"]\nslots = 2\n',
        {"NIGHTSHOT_SPOOL__QUIET_S": "4", "CODA_BASE_URL": "https://coda.example/"},
    )
    assert loaded.settings.spool.quiet_s == 4
    assert loaded.origins["spool.quiet_s"] == "environment NIGHTSHOT_SPOOL__QUIET_S"
    assert loaded.origins["spool.owners"] == "nightshot.toml:4"
    assert loaded.origins["spool.scan_interval_s"] == "nightshot.toml:8"
    assert loaded.origins["spool.max_file_bytes"] == "default"
    assert loaded.origins['backends."coda:iqm".slots'] == "nightshot.toml:10"
    assert loaded.origins["providers.coda.base_url"] == "environment CODA_BASE_URL"


def test_the_first_configuration_file_wins_and_a_named_one_must_exist(tmp_path: Path) -> None:
    home = Home.find(str(tmp_path / "home"), {"CONFIGURATION_DIRECTORY": str(tmp_path / "etc")})
    for folder, shots in (("etc", 11), ("home", 12), ("own", 13), ("named", 14)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "nightshot.toml").write_text(f"[defaults]\nshots = {shots}\n")

    def shots(config: Path | None = None, **environ: str) -> int:
        return load_settings(home, config, environ).settings.defaults.shots

    assert shots(tmp_path / "own" / "nightshot.toml", NIGHTSHOT_CONFIG="/nowhere") == 13
    assert shots(NIGHTSHOT_CONFIG=str(tmp_path / "named" / "nightshot.toml")) == 14
    assert shots() == 12
    (tmp_path / "home" / "nightshot.toml").unlink()
    assert shots() == 11
    with pytest.raises(SettingsError, match=r"nowhere: no such file \(named by NIGHTSHOT_CONFIG\)"):
        shots(NIGHTSHOT_CONFIG="/nowhere")


# -------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[spool]\n\nquite_s = 3", "nightshot.toml:3: spool.quite_s: unknown key, did you mean 'quiet_s'?"),
        ("[spol]\nquiet_s = 3", "nightshot.toml:1: spol: unknown key, did you mean 'spool'?"),
        ("[defaults]\nshots = true", "nightshot.toml:2: defaults.shots: should be a valid integer"),
        ('[defaults]\nshots = "100"', "nightshot.toml:2: defaults.shots: should be a valid integer"),
        ("[defaults]\nshots = 0", "nightshot.toml:2: defaults.shots: should be greater than or equal to 1"),
        ("[poll]\nmax_interval_s = nan", "nightshot.toml:2: poll.max_interval_s: should be a finite number"),
        ("[poll]\nmin_interval_s = 99", "nightshot.toml:2: poll.min_interval_s: is above max_interval_s, 60"),
        ("spool = 3", "nightshot.toml:1: spool: a table of settings is needed here, not a single value"),
        ("[providers]\ncoda = 3", "nightshot.toml:2: providers.coda: a table of settings is needed here"),
        ("[spool]\nowners = []", "nightshot.toml:2: spool.owners: is empty, so no file would ever be taken"),
        ('[time]\ntimezone = "Europe/Berln"', "did you mean 'Europe/Berlin'?"),
        ("[breaker]\ndoubt_exposure = 10.0", "breaker.doubt_exposure: write it as text, '2.00 USD'"),
        (
            '[breaker]\ndoubt_exposure = "-1"',
            "nightshot.toml:2: breaker.doubt_exposure: '-1' is not an amount",
        ),
        ('[log]\nlevel = "loud"', "nightshot.toml:2: log.level: should be 'debug', 'info'"),
        ('[api]\nlisten = "127.0.0.1:8417"', "nightshot.toml:1: api: not yet supported"),
        ('[store]\nurl = "mysql://x"', "nightshot.toml:2: store.url: write postgresql://"),
        ('[store]\nurl = "sqlite:///:memory:"', "a database in memory would forget what was paid"),
        ("[backends.iqm]\nslots = 1", "nightshot.toml:1: backends.iqm: write a backend as provider:device"),
        (
            '[backends."codda:iqm"]\nslots = 1',
            "nightshot.toml:1: backends.\"codda:iqm\": no provider is called 'codda', did you mean 'coda'?",
        ),
        (
            '[backends."coda:iqm"]\nprice_per_task = "0.30 USD"',
            'nightshot.toml:1: backends."coda:iqm".price_per_shot: is missing, and unknown is not zero',
        ),
        (
            '[backends."coda:iqm"]\nmin_shots = 20\nmax_shots = 10',
            'nightshot.toml:2: backends."coda:iqm".min_shots: 20 is above max_shots 10',
        ),
        (
            '[defaults]\nbackend = "nope:iqm"',
            "nightshot.toml:2: defaults.backend: backend 'nope:iqm': no provider is called 'nope'",
        ),
        ('[providers.lab]\nbase_url = "x"', "nightshot.toml:1: providers.lab.kind: is missing"),
        ("[defaults]\nshots = = 2", "nightshot.toml:2: Invalid value"),
        ("[defaults]\nshots = 1\nshots = 2", "nightshot.toml:3: Cannot overwrite a value"),
    ],
)
def test_a_mistake_is_refused_with_its_line(load: Load, text: str, sentence: str) -> None:
    with pytest.raises(SettingsError) as error:
        load(text)
    assert sentence in error.value.message
    assert error.value.hint
    assert error.value.exit_code == 78


def test_every_mistake_is_named_at_once(load: Load) -> None:
    with pytest.raises(SettingsError) as error:
        load("[spool]\nquite_s = 1\n[defaults]\nshots = 0\n")
    assert len(error.value.message.splitlines()) == 2


def test_a_file_that_is_not_utf8_is_refused_with_its_line(load: Load, tmp_path: Path) -> None:
    (tmp_path / "nightshot.toml").write_bytes(b"[log]\n# caf\xe9\n")
    with pytest.raises(SettingsError, match=r"nightshot.toml:2: not UTF-8"):
        load()


def test_keys_after_a_text_over_several_lines_keep_their_lines(load: Load) -> None:
    text = '[providers.coda]\nnote = """\n[spool]\nshots = 1\n"""\nother = 2\n[defaults]\nshots = 0\n'
    with pytest.raises(SettingsError, match=r"nightshot.toml:8: defaults.shots"):
        load(text)


# ----------------------------------------------------------------------------------------- environment


@pytest.mark.parametrize(
    ("name", "text", "key", "value"),
    [
        ("NIGHTSHOT_SPOOL__QUIET_S", "5", "spool.quiet_s", 5.0),
        ("NIGHTSHOT_SPOOL__OWNERS", "self,lab", "spool.owners", ["self", "lab"]),
        ("NIGHTSHOT_SPOOL__OWNERS", '["any"]', "spool.owners", ["any"]),
        ("NIGHTSHOT_TIME__TIMEZONE", "Asia/Tokyo", "time.timezone", "Asia/Tokyo"),
        ("NIGHTSHOT_BREAKER__DOUBT_EXPOSURE", "5.00 USD", "breaker.doubt_exposure", "5.00 USD"),
        ("NIGHTSHOT_BREAKER__DOUBT_EXPOSURE", "5", "breaker.doubt_exposure", "5.00 USD"),
        ("NIGHTSHOT_LOG__FORMAT", '"json"', "log.format", "json"),
        ("NIGHTSHOT_BACKENDS__coda:iqm__SLOTS", "7", 'backends."coda:iqm".slots', 7),
        ("NIGHTSHOT_BACKENDS__CODA:IQM__SLOTS", "7", 'backends."coda:iqm".slots', 7),
        ("NIGHTSHOT_BACKENDS__IQM__SLOTS", "7", 'backends."coda:iqm".slots', 7),
        ("NIGHTSHOT_PROVIDERS__CODA__TIMEOUT_S", "7", "providers.coda.timeout_s", 7),
        ("NIGHTSHOT_PROVIDERS__LAB__KIND", "coda", "providers.lab.kind", "coda"),
    ],
)
def test_any_setting_can_come_from_the_environment(
    load: Load, name: str, text: str, key: str, value: object
) -> None:
    loaded = load('[backends."coda:iqm"]\nslots = 2', {name: text})
    assert {k: v for k, v, _ in loaded.shown()}[key] == value
    assert loaded.origins[key] == f"environment {name}"


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("NIGHTSHOT_SPOOL__QUITE_S", "did you mean NIGHTSHOT_SPOOL__QUIET_S?"),
        ("NIGHTSHOT_SPOOL", "there is no such setting"),
        ("NIGHTSHOT_", "there is no such setting"),
        ("NIGHTSHOT_BACKENDS__coda:iqm__SLOT", "there is no such setting"),
        ("NIGHTSHOT_API__LISTEN", "api is not yet supported"),
        ("NIGHTSHOT_DEFAULTS__SHOTS__X", "there is no such setting"),
    ],
)
def test_an_unknown_name_in_the_environment_is_refused(load: Load, name: str, sentence: str) -> None:
    with pytest.raises(SettingsError) as error:
        load(environ={name: "1"})
    assert error.value.message.startswith(f"environment {name}: ")
    assert sentence in error.value.message


def test_a_wrong_value_in_the_environment_names_the_variable(load: Load) -> None:
    with pytest.raises(
        SettingsError, match=r"^environment NIGHTSHOT_DEFAULTS__SHOTS: defaults.shots: should"
    ):
        load(environ={"NIGHTSHOT_DEFAULTS__SHOTS": "many"})


def test_the_names_that_say_where_to_look_are_no_settings(load: Load, tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text("")
    load(environ={"NIGHTSHOT_HOME": "/x", "NIGHTSHOT_CONFIG": str(tmp_path / "own.toml")})


@pytest.mark.parametrize(
    ("environ", "base"),
    [
        ({"CODA_BASE_URL": "https://o.example"}, "https://o.example/v0/coda"),
        ({"CODA_BASE_URL": "https://o.example/"}, "https://o.example/v0/coda"),
        ({"CODA_API_BASE_URL": "https://w.example/x", "CODA_BASE_URL": "https://o"}, "https://w.example/x"),
        ({"CODA_BASE_URL": "https://o", "NIGHTSHOT_PROVIDERS__CODA__BASE_URL": "https://n"}, "https://n"),
        ({}, "https://file.example"),
    ],
)
def test_the_vendors_names_for_the_base_are_honoured(load: Load, environ: dict[str, str], base: str) -> None:
    loaded = load(
        '[providers.coda]\nbase_url = "https://file.example"\n[providers.lab]\nkind = "coda"', environ
    )
    assert loaded.settings.provider_options("coda")["base_url"] == base
    assert loaded.settings.provider_options("lab") == {}, "another account keeps its own base"


# ------------------------------------------------------------------------------------------- questions


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("simulator", "local:simulator"),
        ("iqm", "coda:iqm"),
        ("never-heard-of", "coda:never-heard-of"),
        ("coda:simulator", "coda:simulator"),
        ("local:simulator", "local:simulator"),
    ],
)
def test_a_bare_device_finds_its_provider(load: Load, written: str, meant: str) -> None:
    assert load().settings.backend_name(written) == meant


def test_several_accounts_make_a_bare_device_ambiguous_until_one_has_it(load: Load) -> None:
    two = '[providers.physics]\nkind = "coda"\n'
    with pytest.raises(ValueError, match="write 'coda:iqm' or 'physics:iqm'"):
        load(two).settings.backend_name("iqm")
    settings = load(two + '[backends."physics:iqm"]\nslots = 1').settings
    assert settings.backend_name("iqm") == "physics:iqm"


@pytest.mark.parametrize("written", ["nope:iqm", "coda:", ":iqm", "i qm", "", "coda:../x\n", "-x"])
def test_a_name_that_is_no_backend_is_a_sentence(load: Load, written: str) -> None:
    with pytest.raises(ValueError, match="backend"):
        load().settings.backend_name(written)


def test_prices_slots_and_shots_have_defaults_that_say_unknown(load: Load) -> None:
    settings = load(
        '[backends."coda:iqm"]\nprice_per_task = "0.30 USD"\nprice_per_shot = "0.00145 USD"\n'
        "max_shots = 500\n"
        '[backends."coda:aqt"]\nslots = 1\n'
    ).settings
    assert settings.prices_for("coda") == {"iqm": PriceList(300_000, 1_450)}
    assert settings.prices_for("local") == {"simulator": PriceList(0, 0)}
    assert (settings.slots_for("coda:iqm", "coda"), settings.slots_for("coda:aqt", "coda")) == (4, 1)
    assert settings.slots_for("local:simulator", "simulator") >= 1
    assert settings.shots_for("coda:iqm", "coda") == (10, 500)
    assert settings.shots_for("coda:aqt", "coda") == (10, 10_000)
    assert settings.shots_for("local:simulator", "simulator") == (1, None)


@pytest.mark.parametrize(
    ("url", "meant"),
    [
        ("", "sqlite+aiosqlite:////h/state/nightshot.db"),
        ("sqlite:////var/n.db", "sqlite+aiosqlite:////var/n.db"),
        ("sqlite:///n.db", "sqlite+aiosqlite:////h/state/n.db"),
        ("postgresql://u@h/d", "postgresql+asyncpg://u@h/d"),
        ("postgres://u@h/d?sslmode=require", "postgresql+asyncpg://u@h/d?ssl=require"),
        ("postgresql+asyncpg://u@h/d", "postgresql+asyncpg://u@h/d"),
    ],
)
def test_the_store_is_named_as_the_driver_wants_it(load: Load, url: str, meant: str) -> None:
    settings = load(f'[store]\nurl = "{url}"').settings
    assert settings.store_url(Path("/h/state/nightshot.db")) == meant


# --------------------------------------------------------------------------------------------- secrets


def test_the_token_is_looked_for_in_order_and_read_each_time(load: Load, tmp_path: Path) -> None:
    own, handed, vendor = tmp_path / "own", tmp_path / "coda-token", tmp_path / "vendor"
    for path in (own, handed, vendor):
        path.write_text(f"coda_{path.name}\n")
    environ = {
        "CREDENTIALS_DIRECTORY": str(tmp_path),
        "CODA_API_TOKEN_FILE": str(vendor),
        "CODA_API_TOKEN": "coda_variable",
    }

    def token(settings: Settings) -> str | None:
        return secret_reader(settings, environ)("coda")("coda-token")

    assert token(load(f'[providers.coda]\ntoken_file = "{own}"').settings) == "coda_own"
    settings = load("").settings
    read = secret_reader(settings, environ)("coda")
    assert read("coda-token") == "coda_coda-token"
    handed.write_text("coda_rotated")
    assert read("coda-token") == "coda_rotated"
    handed.unlink()
    assert token(settings) == "coda_vendor"
    del environ["CODA_API_TOKEN_FILE"]
    assert token(settings) == "coda_variable"
    assert token_source(settings, environ, "coda") == "CODA_API_TOKEN"
    del environ["CODA_API_TOKEN"]
    assert token(settings) is None
    assert token_source(settings, environ, "coda") is None


def test_another_account_never_gets_the_vendors_token(load: Load, tmp_path: Path) -> None:
    settings = load('[providers.lab]\nkind = "coda"').settings
    read = secret_reader(settings, {"CODA_API_TOKEN": CANARY, "CREDENTIALS_DIRECTORY": str(tmp_path)})("lab")
    assert read("coda-token") is None
    (tmp_path / "lab-token").write_text("coda_lab")
    assert read("coda-token") == "coda_lab"


def test_an_unreadable_token_file_is_no_token_rather_than_the_next_best(load: Load, tmp_path: Path) -> None:
    settings = load(f'[providers.coda]\ntoken_file = "{tmp_path / "gone"}"').settings
    assert secret_reader(settings, {"CODA_API_TOKEN": CANARY})("coda")("coda-token") is None


def test_other_secrets_come_from_the_credentials_directory_only(load: Load, tmp_path: Path) -> None:
    (tmp_path / "smtp").write_text("s3")
    read = secret_reader(load().settings, {"CREDENTIALS_DIRECTORY": str(tmp_path)})("coda")
    assert (read("smtp"), read("../smtp"), read("none")) == ("s3", "s3", None)


@pytest.mark.parametrize("option", ["token", "api_key", "apikey", "client_secret", "password"])
def test_a_secret_in_the_configuration_is_refused_and_not_repeated(load: Load, option: str) -> None:
    with pytest.raises(SettingsError) as error:
        load(f'[providers.coda]\n{option} = "{CANARY}"')
    assert "a secret does not belong into the configuration" in error.value.message
    assert CANARY not in str(error.value)


def test_secrets_appear_nowhere_in_what_is_loaded(load: Load) -> None:
    environ = {"CODA_API_TOKEN": CANARY}
    loaded = load(f'[store]\nurl = "postgresql://u:{CANARY}@h/d?password={CANARY}"', environ)
    for shown in (repr(loaded), str(loaded.settings), str(list(loaded.shown())), str(loaded.origins)):
        assert CANARY not in shown
    assert ("store.url", "postgresql://u:***@h/d?***", "nightshot.toml:2") in list(loaded.shown())


def test_a_refused_value_is_not_repeated_either(load: Load) -> None:
    for text in (f'[defaults]\nshots = "{CANARY}"', f'[store]\nurl = "{CANARY}"', f"[spool]\n{CANARY} = 1 2"):
        with pytest.raises(SettingsError) as error:
            load(text)
        assert CANARY not in str(error.value)
        assert error.value.__cause__ is None
