"""The commands that need no daemon: check, config, init, doctor."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scheduler.cli.samples import samples
from scheduler.home import Home, make_folders
from scheduler.settings import load_settings
from tests.cli.conftest import Command
from tests.support.control_server import ControlServer
from tests.support.views import AS_OF, status_view

CANARY = "coda_canary_77aa01"


# ----------------------------------------------------------------------------------------------- check


@pytest.fixture
def sample_folder(tmp_path: Path) -> Path:
    for name, text in samples().items():
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "jobs", "framework"),
    [
        ("bell.py", 1, "qiskit"),
        ("ghz.qasm", 1, "openqasm3"),
        ("qft.qasm", 1, "openqasm2"),
        ("batch.jsonl", 6, "openqasm3"),
    ],
)
def test_the_samples_of_the_demo_are_right(
    nightshot: Command, sample_folder: Path, name: str, jobs: int, framework: str
) -> None:
    done = nightshot("check", str(sample_folder / name), "--json")
    assert done.code == 0
    (report,) = json.loads(done.out)["files"]
    assert len(report["jobs"]) == jobs
    assert {job["framework"] for job in report["jobs"]} == {framework}
    assert {job["backend"] for job in report["jobs"]} == {"local:simulator"}


def test_the_broken_sample_is_refused_with_line_and_correction(
    nightshot: Command, sample_folder: Path
) -> None:
    done = nightshot("check", str(sample_folder / "broken.qasm"), str(sample_folder / "ghz.qasm"))
    assert done.code == 65
    assert "broken.qasm:3: shotz: unknown key, did you mean 'shots'?" in done.err
    assert "✓" in done.out, "the other file is still looked at"


@pytest.mark.parametrize(
    ("header", "sentence"),
    [
        ('backend = "nope:iqm"', "no provider is called 'nope'"),
        ('backend = "iqm"\n// shots = 5', "5 shots, but coda:iqm takes 10 to 10000"),
    ],
)
def test_check_knows_the_configured_backends(
    nightshot: Command, tmp_path: Path, header: str, sentence: str
) -> None:
    (tmp_path / "a.qasm").write_text(f"// /// nightshot\n// {header}\n// ///\nOPENQASM 3.0;\nqubit q;\n")
    done = nightshot("check", str(tmp_path / "a.qasm"))
    assert done.code == 65
    assert sentence in done.err


# ---------------------------------------------------------------------------------------------- config


def test_config_show_tells_value_and_origin(
    nightshot: Command, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.root.mkdir()
    (home.root / "nightshot.toml").write_text(
        '[defaults]\nshots = 200\n[store]\nurl = "postgresql://u:pw@h/d"\n'
    )
    monkeypatch.setenv("NIGHTSHOT_LOG__LEVEL", "debug")
    monkeypatch.setenv("CODA_API_TOKEN", CANARY)
    document = json.loads(nightshot("config", "show", "--json").out)
    rows = {row["key"]: (row["value"], row["origin"]) for row in document["settings"]}
    assert rows["defaults.shots"] == (200, "nightshot.toml:2")
    assert rows["log.level"] == ("debug", "environment NIGHTSHOT_LOG__LEVEL")
    assert rows["drain.timeout_s"] == (30.0, "default")
    assert rows["store.url"][0] == "postgresql://u:***@h/d"
    printed = nightshot("config", "show").out
    assert "nightshot.toml:2" in printed
    assert CANARY not in printed + json.dumps(document)


def test_a_wrong_configuration_ends_with_78(nightshot: Command, home: Home) -> None:
    home.root.mkdir()
    (home.root / "nightshot.toml").write_text("[defaults]\nshotz = 200\n")
    done = nightshot("config", "show")
    assert done.code == 78
    assert "nightshot.toml:2: defaults.shotz: unknown key, did you mean 'shots'?" in done.err


# ------------------------------------------------------------------------------------------------ init


def test_init_writes_what_was_answered_and_keeps_the_comments(
    nightshot: Command, home: Home, server: ControlServer
) -> None:
    server.answers["arm"] = {"as_of": AS_OF, "changed": ["armed: at most $50.00 a night"], "unchanged": []}
    done = nightshot(
        "init",
        "--timezone",
        "Europe/Berlin",
        "--backend",
        "iqm",
        "--token-file",
        "/etc/t",
        "--night-limit",
        "50",
    )
    assert done.code == 0, done.err
    assert "armed: at most $50.00 a night" in done.out
    assert server.args_of("arm") == {"night": "50.00", "once": False, "reason": "nightshot init"}
    settings = load_settings(home, None, {}).settings
    assert (settings.time.timezone, settings.defaults.backend) == ("Europe/Berlin", "iqm")
    assert settings.providers["coda"]["token_file"] == "/etc/t"
    assert "#scan_interval_s = 5" in (home.root / "nightshot.toml").read_text()


def test_init_takes_defaults_without_a_terminal_and_refuses_to_overwrite(
    nightshot: Command, home: Home
) -> None:
    assert nightshot("init", "-q").out == f"{home.root / 'nightshot.toml'}\n"
    written = (home.root / "nightshot.toml").read_text()
    done = nightshot("init", "--backend", "iqm")
    assert done.code == 2
    assert "--force" in done.err
    assert (home.root / "nightshot.toml").read_text() == written
    assert nightshot("init", "--backend", "iqm", "--force").code == 0
    assert 'backend = "iqm"' in (home.root / "nightshot.toml").read_text()


@pytest.mark.parametrize(
    ("option", "answer"),
    [("--timezone", "Mars/Base"), ("--timezone", 'U"\nx'), ("--backend", "nope:x")],
)
def test_init_writes_nothing_that_the_daemon_would_refuse(
    nightshot: Command, home: Home, option: str, answer: str
) -> None:
    done = nightshot("init", option, answer)
    assert done.code == 78
    assert "Nothing was written" in done.err
    assert not (home.root / "nightshot.toml").exists()


# ---------------------------------------------------------------------------------------------- doctor


def _verdicts(out: str) -> dict[str, str]:
    return {row["check"]: row["verdict"] for row in json.loads(out)["checks"]}


def test_doctor_finds_nothing_wrong_with_a_fresh_machine(nightshot: Command) -> None:
    done = nightshot("doctor", "--json")
    verdicts = _verdicts(done.out)
    assert done.code == 0, done.out
    assert verdicts["daemon"] == "warning"
    assert verdicts["token of coda"] == "warning"
    assert "problem" not in verdicts.values()
    assert all(row["fix"] for row in json.loads(done.out)["checks"] if row["verdict"] != "ok")


def test_doctor_sees_a_running_daemon_and_a_private_token(
    nightshot: Command, home: Home, server: ControlServer, tmp_path: Path
) -> None:
    server.answers["status"] = dict(status_view())
    make = tmp_path / "token"
    make.write_text(CANARY)
    make.chmod(0o600)
    (home.root / "nightshot.toml").write_text(f'[providers.coda]\ntoken_file = "{make}"\n')
    done = nightshot("doctor")
    assert done.code == 0
    assert "running, version 0.1.0, pid 4711" in done.out
    assert f"token of coda: present, from {make}" in done.out
    assert CANARY not in done.out
    make.chmod(0o644)
    assert f"chmod 600 '{make}'" in nightshot("doctor").out


@pytest.mark.parametrize("what", ["configuration", "token of coda", "database", "home"])
def test_doctor_fails_on_what_is_broken_and_says_what_mends_it(
    nightshot: Command, home: Home, what: str, tmp_path: Path
) -> None:
    make_folders(home)
    match what:
        case "configuration":
            (home.root / "nightshot.toml").write_text("[spool]\nx = 1\n")
        case "token of coda":
            (home.root / "nightshot.toml").write_text(f'[providers.coda]\ntoken_file = "{tmp_path / "no"}"\n')
        case "database":
            home.database.write_bytes(b"this is not a database, " * 100)
        case "home":
            home.inbox.rmdir()
            home.inbox.write_text("")
    done = nightshot("doctor", "--json")
    assert done.code == 1
    (row,) = [row for row in json.loads(done.out)["checks"] if row["verdict"] == "problem"]
    assert row["check"] == what
    assert row["fix"]


def test_doctor_online_says_which_provider_does_not_answer(nightshot: Command, home: Home) -> None:
    home.root.mkdir()
    # A port of this machine that nobody listens on.
    (home.root / "nightshot.toml").write_text('[providers.coda]\nbase_url = "http://127.0.0.1:9/v0/coda"\n')
    verdicts = _verdicts(nightshot("doctor", "--online", "--json").out)
    assert verdicts["devices of coda"] == "problem"
    assert verdicts["devices of local"] == "ok"


# ------------------------------------------------------------------------------------- without a daemon


def test_wait_does_not_wait_for_a_daemon_that_never_comes(nightshot: Command, sample_folder: Path) -> None:
    assert nightshot("submit", str(sample_folder / "bell.py"), "-q").out == "1\n"
    done = nightshot("wait", "latest", "--timeout", "0.2")
    assert done.code == 6
    assert "no daemon runs, so nothing moves\n  nightshot run\n" in done.err


def test_wait_knows_without_a_daemon_what_has_ended(nightshot: Command, sample_folder: Path) -> None:
    nightshot("submit", str(sample_folder / "bell.py"), "-q")
    nightshot("cancel", "latest")
    assert nightshot("wait", "latest").code == 1
