from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from scheduler.client import Client, DaemonNotRunning, RemoteError
from scheduler.errors import (
    DeadlinePassed,
    NeedsPerson,
    NightshotError,
    NotAllowed,
    NotFound,
    RefusedByBudget,
    SpecError,
    TryAgain,
    Unreachable,
)
from scheduler.home import Home
from tests.support.control_server import ControlServer, RefusalError, control_server


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


@pytest.fixture
def server(home: Home) -> Iterator[ControlServer]:
    with control_server(home.socket) as server:
        yield server


def test_an_answer_comes_back_as_it_was_given(home: Home, server: ControlServer) -> None:
    server.answers["echo"] = lambda args: {"got": args}
    assert Client(home).call("echo", {"name": "Ψ⟩", "n": 3}) == {"got": {"name": "Ψ⟩", "n": 3}}


def test_a_long_answer_arrives_whole(home: Home, server: ControlServer) -> None:
    server.answers["jobs"] = {"jobs": ["x" * 100] * 50_000}
    assert len(Client(home).call("jobs")["jobs"]) == 50_000


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("not-found", NotFound),
        ("not-allowed", NotAllowed),
        ("refused-by-budget", RefusedByBudget),
        ("needs-a-person", NeedsPerson),
        ("try-again", TryAgain),
        ("bad-job-file", SpecError),
        ("unreachable", Unreachable),
    ],
)
def test_a_refusal_is_raised_as_the_daemon_raised_it(
    home: Home, server: ControlServer, code: str, kind: type[NightshotError]
) -> None:
    def refuse(_args: object) -> dict[str, object]:
        raise RefusalError(code, "what failed", "what to do", kind.exit_code)

    server.answers["op"] = refuse
    with pytest.raises(kind) as error:
        Client(home).call("op")
    assert (error.value.message, error.value.hint) == ("what failed", "what to do")


def test_a_refusal_of_a_newer_daemon_keeps_its_exit_code(home: Home, server: ControlServer) -> None:
    def refuse(_args: object) -> dict[str, object]:
        raise RefusalError("moon-is-full", "not tonight", "", 75)

    server.answers["op"] = refuse
    with pytest.raises(RemoteError) as error:
        Client(home).call("op")
    assert (error.value.code, error.value.exit_code) == ("moon-is-full", 75)


def test_no_socket_means_that_no_daemon_runs(home: Home) -> None:
    with pytest.raises(DaemonNotRunning, match="no daemon is running") as error:
        Client(home).call("status")
    assert error.value.hint == "Start one: nightshot run"
    assert error.value.exit_code == 69


def test_a_socket_that_a_killed_daemon_left_means_the_same(home: Home) -> None:
    home.state.mkdir()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(home.socket))
    with pytest.raises(DaemonNotRunning):
        Client(home).call("status")


def _answer_raw(home: Home, raw: bytes, hold: threading.Event | None = None) -> threading.Thread:
    """Serve one connection with exactly these bytes, then hang up (or hang on until `hold` is set)."""
    home.state.mkdir(exist_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(home.socket))
    listener.listen()

    def serve() -> None:
        connection, _ = listener.accept()
        with listener, connection:
            connection.recv(65536)
            connection.sendall(raw)
            if hold is not None:
                hold.wait(30)

    thread = threading.Thread(target=serve)
    thread.start()
    return thread


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        (b"", "hung up before it answered"),
        (b"HTTP/1.1 200 OK\r\nContent-", "hung up before it answered"),
        (b'HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"ok": true', "cut short"),
        (b"HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\nOops", "cannot be read"),
        (b'HTTP/1.1 200 OK\r\n\r\n{"ok": true, "result": []}', "cannot be read"),
        (b'HTTP/1.1 200 OK\r\n\r\n{"ok": false, "error": "x"}', "cannot be read"),
        (b"HTTP/1.1 200 OK\r\n\r\n[]", "cannot be read"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "hung up before it answered"),
    ],
)
def test_an_answer_that_is_none_is_a_sentence(home: Home, raw: bytes, sentence: str) -> None:
    thread = _answer_raw(home, raw)
    with pytest.raises(Unreachable, match=sentence) as error:
        Client(home, timeout_s=10).call("status")
    assert error.value.hint
    thread.join()


def test_an_answer_that_drips_ends_at_the_deadline(home: Home) -> None:
    hold = threading.Event()
    thread = _answer_raw(home, b"HTTP/1.1 200 OK\r\n", hold)
    with pytest.raises(DeadlinePassed, match="did not answer within"):
        Client(home, timeout_s=0.2).call("status")
    hold.set()
    thread.join()


def test_a_home_deep_in_the_tree_is_reached(tmp_path: Path) -> None:
    home = Home(tmp_path.joinpath(*["a-rather-long-folder-name"] * 6))
    with control_server(home.socket) as server:
        server.answers["status"] = {"deep": True}
        assert Client(home).call("status") == {"deep": True}


def test_a_user_who_may_not_enter_is_told_so(home: Home, server: ControlServer) -> None:
    home.socket.chmod(0)
    script = (
        "import json, os, sys; from pathlib import Path; from scheduler.client import Client; "
        "from scheduler.errors import NotAllowed; from scheduler.home import Home\n"
        "os.geteuid() or os.setuid(65534)  # nothing is closed to root\n"
        "try: Client(Home(Path(sys.argv[1]))).call('status')\n"
        "except NotAllowed as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(home.root)], capture_output=True, text=True, check=True
    )
    assert "may not talk to the daemon" in done.stdout


def test_the_path_of_status_imports_nothing_heavy(home: Home, server: ControlServer) -> None:
    """The command answers within a few bare starts of Python only while this list stays out."""
    server.answers["status"] = {"as_of": "2026-11-22T20:00:00Z"}
    heavy = ["asyncio", "http", "email", "ssl", "pydantic", "aiohttp", "sqlalchemy", "rich", "logging",
             "urllib.request", "scheduler.settings", "scheduler.core", "scheduler.daemon"]  # fmt: skip
    script = (
        "import sys, json\nfrom scheduler.cli import _run\nfrom scheduler.cli.common import Where\n"
        "code = _run(['--home', sys.argv[1], 'status', '--json'], Where())\n"
        f"print(json.dumps([code, [name for name in {heavy!r} if name in sys.modules]]), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(home.root)], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stderr) == [0, []]
