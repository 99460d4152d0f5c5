from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from scheduler.cli import main
from scheduler.home import Home
from tests.support.control_server import ControlServer, control_server


@dataclass(frozen=True)
class Done:
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str


Command = Callable[..., Done]


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting or token of whoever runs the tests reaches a command."""
    for name in list(os.environ):
        if name.startswith(("NIGHTSHOT_", "CODA_", "CREDENTIALS_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("TZ", "UTC")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    root = tmp_path / "home"
    return Home(root, config_candidates=(root / "nightshot.toml",))


@pytest.fixture
def server(home: Home) -> Iterator[ControlServer]:
    with control_server(home.socket) as server:
        yield server


@pytest.fixture
def nightshot(home: Home, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run the command in this process, on the home of this test."""

    def run(*arguments: str) -> Done:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(["--home", str(home.root), *arguments])
        printed = capsys.readouterr()
        code = ended.value.code
        assert isinstance(code, int)
        return Done(code, printed.out, printed.err)

    return run
