from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from scheduler import providers
from scheduler.errors import SettingsError
from scheduler.plugins import build_provider, provider_kinds
from scheduler.ports import Site
from scheduler.providers.coda import Coda


class RealClock:
    def now_us(self) -> int:
        return time.time_ns() // 1000

    def monotonic_s(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site("coda-physics", tmp_path, RealClock())


def test_the_kinds_are_the_files_in_the_folder_but_for_shared_ones() -> None:
    files = {path.stem for path in Path(providers.__file__).parent.glob("[!_]*.py")}
    assert set(provider_kinds()) == files
    assert "coda" in provider_kinds()


def test_a_kind_is_built_with_its_options(site: Site) -> None:
    provider = build_provider("coda", {"connect_timeout_s": 3, "paths": {"health": "/healthz"}}, site)
    assert isinstance(provider, Coda)
    assert provider.paid


@pytest.mark.parametrize(
    "kind", ["codda", "", "_http", "__init__", "coda.py", "..coda", "os", "os.path", "Coda"]
)
def test_an_unknown_kind_is_refused_with_the_kinds_there_are(kind: str, site: Site) -> None:
    with pytest.raises(SettingsError) as refusal:
        build_provider(kind, {}, site)
    assert (
        f"[providers.coda-physics] kind: there is no kind {kind!r}; the kinds are: " in refusal.value.message
    )
    assert "coda" in refusal.value.message


def test_a_mistyped_kind_gets_a_suggestion(site: Site) -> None:
    with pytest.raises(SettingsError, match=r"did you mean 'coda'\?"):
        build_provider("codda", {}, site)


HERE = "[providers.coda-physics]"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"conect_timeout_s": 3},
            f"{HERE} conect_timeout_s: unknown key, did you mean 'connect_timeout_s'?",
        ),
        ({"zzz": 3}, f"{HERE} zzz: unknown key"),
        ({"paths": {"healt": "/h"}}, f"{HERE} paths.healt: unknown key, did you mean 'health'?"),
        ({"paths": {"qpus": "qpus"}}, f"{HERE} paths.qpus: a path starts with /"),
        ({"paths": {"qpus": "/a/../b"}}, f"{HERE} paths.qpus: a path starts with /"),
        ({"reply_timeout_s": "5"}, f"{HERE} reply_timeout_s: Input should be a valid number"),
        ({"reply_timeout_s": True}, f"{HERE} reply_timeout_s: Input should be a valid number"),
        ({"reply_timeout_s": 0}, f"{HERE} reply_timeout_s: Input should be greater than 0"),
        ({"reply_timeout_s": float("nan")}, f"{HERE} reply_timeout_s: "),
        ({"mark_code": "yes"}, f"{HERE} mark_code: Input should be a valid boolean"),
        ({"kind": "simulator"}, f"{HERE} kind: Input should be 'coda'"),
        ({"base_url": "coda.example"}, f"{HERE} base_url: an address is needed"),
        ({"base_url": "ftp://coda.example"}, f"{HERE} base_url: an address is needed"),
        ({"base_url": "https://u:p@coda.example"}, f"{HERE} base_url: only scheme, host, port and path"),
        (
            {"base_url": "http://coda.example/v0"},
            f"{HERE} options: base_url would send the token unencrypted",
        ),
    ],
    ids=str,
)
def test_a_wrong_option_is_named_with_its_section(
    options: Mapping[str, object], sentence: str, site: Site
) -> None:
    with pytest.raises(SettingsError) as refusal:
        build_provider("coda", options, site)
    assert refusal.value.message.startswith(sentence)


def test_all_wrong_options_are_named_at_once_and_no_value_is_shown(site: Site) -> None:
    with pytest.raises(SettingsError) as refusal:
        build_provider("coda", {"tokken": "coda_canary", "plain_http": "coda_canary"}, site)
    assert len(refusal.value.message.splitlines()) == 2
    assert "coda_canary" not in repr(refusal.value) + str(refusal.value.__context__)


@pytest.mark.parametrize(
    "options",
    [
        {"base_url": "http://127.0.0.1:8000/v0/coda"},
        {"base_url": "http://[::1]:8000"},
        {"base_url": "http://localhost"},
        {"base_url": "https://coda.example/v0/coda/"},
        {"base_url": "http://coda.example", "plain_http": True},
    ],
    ids=str,
)
def test_plain_http_is_for_this_machine_or_for_who_says_so(options: Mapping[str, object], site: Site) -> None:
    assert build_provider("coda", options, site).paid
