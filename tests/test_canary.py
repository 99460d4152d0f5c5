"""A token that can be recognised, echoed by the server in every way, is found nowhere afterwards.

The server saw it, so it was there to be lost: that is asked first.
"""

from __future__ import annotations

import base64
import json
import os
import sqlite3
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.coda_server import CodaServer, Fault, answer
from tests.support.coda_thread import EveryTime, coda_in_thread
from tests.support.daemon import Daemon
from tests.test_coda_night import jobs_file

#: It does not look like a Coda token, so that no pattern can blot it out by luck; JSON escapes some of it.
CANARY = 'kanarie/"voegel\\7f3a9c-nightly'


def forms(secret: str) -> dict[str, bytes]:
    """The ways in which it could have been written down."""
    return {
        "plain": secret.encode(),
        "JSON": json.dumps(secret)[1:-1].encode(),
        "JSON, slashes too": json.dumps(secret)[1:-1].replace("/", "\\/").encode(),
        "repr": repr(secret)[1:-1].encode(),
        "base64": base64.b64encode(secret.encode()),
        "URL": urllib.parse.quote(secret, safe="").encode(),
        "hex": secret.encode().hex().encode(),
        "UTF-16": secret.encode("utf-16-le"),
        "half of it": secret.encode()[: len(secret) // 2],
    }


def found_in(data: bytes, secret: str = CANARY) -> list[str]:
    return [name for name, form in forms(secret).items() if form in data]


def found_below(root: Path, secret: str = CANARY) -> list[str]:
    hits = []
    for path in sorted(root.rglob("*")):
        if path.is_file() and not path.is_symlink():
            hits += [f"{path}: {form}" for form in found_in(path.read_bytes(), secret)]
        hits += [f"the name {path}" for form in found_in(os.fsencode(path.name), secret)]
    return hits


ECHOED = {"detail": f"invalid key {CANARY}", "error": CANARY, CANARY: [CANARY]}
HEADERS = {"X-Your-Token": CANARY, "Set-Cookie": f"token={CANARY}", "Location": f"/{CANARY}"}
GOOD = {"success": True, "estimated_cost_cents": 130, "note": CANARY}
SUBMITS = [
    answer(400, ECHOED, headers=HEADERS),
    answer(422, {"detail": [{"loc": ["body", CANARY], "msg": CANARY, "type": CANARY}]}),
    answer(502, f"<html>{CANARY}</html>", headers=HEADERS),
    answer(200, {"success": True, "job_id": CANARY, "status": CANARY}),
    answer(200, {"success": True, "job_id": "half", "x": CANARY * 3}, cut_bytes=20),
    answer(307, headers=HEADERS),
    Fault(payload=f"HTTP/1.1 500 {CANARY}\r\n{CANARY}\r\n\r\n".encode()),
    answer(
        200, {"success": True, "job_id": "j-1", "status": CANARY, "estimated_cost_cents": 130, "n": CANARY}
    ),
    answer(401, ECHOED, headers=HEADERS),
]
STATUSES = [
    answer(500, ECHOED, headers=HEADERS, then="keep"),
    answer(200, {"success": True, "job_id": "j-1", "status": CANARY}, then="keep"),
    answer(200, {"success": True, "job_id": "j-1", "status": "failed", "error": CANARY}, then="keep"),
]


@pytest.fixture
def server() -> Iterator[CodaServer]:
    with coda_in_thread() as running:
        running.next_submits.extend(SUBMITS)
        running.next_statuses.extend(STATUSES)
        running.next_estimates = EveryTime(lambda: answer(200, GOOD, headers=HEADERS, then="keep"))  # type: ignore[assignment]
        running.next_devices.extend([answer(500, ECHOED, headers=HEADERS)] * 10)
        yield running


def config(server: CodaServer) -> str:
    return f"""\
[log]
level = "debug"
format = "json"
[spool]
scan_interval_s = 0.3
[providers.coda]
kind = "coda"
base_url = "{server.base_url}"
[backends."coda:iqm"]
slots = 1
[poll]
min_interval_s = 0.05
max_interval_s = 0.2
[breaker]
doubts = 100
doubt_exposure = "1000.00 USD"
"""


def heard_from(daemon: Daemon, *commands: tuple[str, ...]) -> bytes:
    """Everything these commands print, tracebacks included."""
    told = b""
    for command in commands:
        done = daemon.ask(*command, "--debug")
        told += f"$ {command}\n{done.stdout}{done.stderr}\n".encode()
    return told


COMMANDS = (
    ("status",),
    ("status", "--json"),
    ("jobs", "--all", "--json"),
    ("show", "1.1"),
    ("show", "1.4", "--json"),
    ("results", "1", "--json"),
    ("backends", "list"),
    ("config", "show", "--json"),
    ("doctor",),
    ("show", "99"),
    ("resolve", "1.1", "--as", "accepted", "--reason", "r"),
    ("wait", "99"),
)


@pytest.mark.parametrize("source", ["environment", "credentials file", "token_file"])
def test_the_token_is_nowhere(server: CodaServer, tmp_path: Path, source: str) -> None:
    secrets = tmp_path / "secrets"
    secrets.mkdir(mode=0o700)
    (secrets / "coda-token").write_text(CANARY + "\n")
    environ = {
        "environment": {"CODA_API_TOKEN": CANARY},
        "credentials file": {"CREDENTIALS_DIRECTORY": str(secrets)},
        "token_file": {},
    }[source]
    text = config(server)
    if source == "token_file":
        text = text.replace('kind = "coda"', f'kind = "coda"\ntoken_file = "{secrets}/coda-token"')
    daemon = Daemon(tmp_path / "home", config=text, environ=environ)
    daemon.drop("nine.jsonl", jobs_file(len(SUBMITS)))
    daemon.drop("local.qasm", "OPENQASM 3.0;\nqubit q;\nbit c;\nc = measure q;\n")
    told = heard_from(daemon, ("arm", "--night", "100.00"))
    try:
        daemon.start()
        daemon.until(lambda: server.posts == len(SUBMITS), "every way to echo it was taken")
        daemon.until(lambda: not server.next_statuses, "the statuses were asked for")
        daemon.until(lambda: "running" not in daemon.states(), "nothing runs any more")
        told += heard_from(daemon, *COMMANDS)
        told += json.dumps([daemon.call("show", job=f"1.{n}") for n in range(1, 10)]).encode()
        told += Path(f"/proc/{daemon.pid}/cmdline").read_bytes()
        assert daemon.stop() == 0
    finally:
        daemon.kill()
    told += heard_from(daemon, ("show", "1.4"), ("config", "show"), COMMANDS[-2])

    seen = {request.headers.get("authorization") for request in server.requests}
    assert seen == {f"Bearer {CANARY}"}, "the token went where it belongs, on every request"
    assert "j-1" in told.decode(), "the answers with the token in them were used"
    assert found_in(told) == []
    assert found_in(daemon.log.encode()) == []
    assert found_below(tmp_path / "home") == []


def test_the_search_would_find_it(tmp_path: Path) -> None:
    """In a file, in a database and in a name, in each form."""
    for number, form in enumerate(forms(CANARY).values()):
        (tmp_path / f"{number}.bin").write_bytes(b"x" * 1000 + form + b"y")
    with sqlite3.connect(tmp_path / "some.db") as db:
        db.execute("CREATE TABLE t (x TEXT)")
        db.execute("INSERT INTO t VALUES (?)", (CANARY,))
    hits = found_below(tmp_path)
    for number in range(len(forms(CANARY))):
        assert any(f"/{number}.bin" in hit for hit in hits), number
    assert any("some.db" in hit for hit in hits)


def test_programs_that_run_circuits_do_not_inherit_it(server: CodaServer, tmp_path: Path) -> None:
    daemon = Daemon(tmp_path / "home", config=config(server), environ={"CODA_API_TOKEN": CANARY})
    watched: dict[str, bytes] = {}

    def children_of_it() -> bool:
        for child in descendants(daemon.pid):
            try:
                watched[child] = Path(f"/proc/{child}/environ").read_bytes()
                watched[child] += Path(f"/proc/{child}/cmdline").read_bytes()
            except OSError:
                pass  # it has just ended
        return daemon.states() == {"completed": 1}

    with daemon:
        daemon.drop("local.qasm", "OPENQASM 3.0;\nqubit q;\nbit c;\nc = measure q;\n")
        daemon.until(children_of_it, "it is completed")
        children_of_it()
    assert watched, "no child was seen: the test proves nothing"
    assert [child for child, data in watched.items() if found_in(data)] == []


def descendants(pid: int) -> Iterator[str]:
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield child
            yield from descendants(int(child))


@pytest.mark.parametrize(
    "mistake",
    [
        f"[providers.coda]\nkind = 'coda'\ntoken = {json.dumps(CANARY)}\n",
        f"[providers.coda]\nkind = 'coda'\napi_key = {json.dumps(CANARY)}\n",
        f"[store]\nurl = {json.dumps('postgresql://u:' + CANARY + '@127.0.0.1:1/db')}\n",
        f"[store]\nurl = {json.dumps('postgresql://u:geheim-kanarie@127.0.0.1:1/db')}\n",
        f"[providers.coda]\nkind = 'coda'\nbase_url = {json.dumps('https://u:' + CANARY + '@host/v0')}\n",
    ],
)
def test_a_secret_in_the_wrong_place_is_not_repeated(tmp_path: Path, mistake: str) -> None:
    daemon = Daemon(tmp_path / "home", config=mistake)
    told = heard_from(daemon, ("status",), ("config", "show"), ("doctor",), ("run", "--until-idle"))
    (daemon.home.root / "nightshot.toml").unlink()
    for secret in (CANARY, "geheim-kanarie"):
        assert found_in(told, secret) == [], told.decode()[-2000:]
        assert found_below(tmp_path / "home", secret) == []


def test_a_wrong_token_is_described_and_not_shown(server: CodaServer, tmp_path: Path) -> None:
    daemon = Daemon(
        tmp_path / "home", config=config(server), environ={"CODA_API_TOKEN": CANARY + "\nsecond line"}
    )
    daemon.drop("one.jsonl", jobs_file(1))
    told = heard_from(daemon, ("arm", "--night", "5.00"), ("run", "--until-idle"), ("show", "1"))
    assert b"characters no token has" in told
    assert server.requests == []
    assert found_in(told) == []
    assert found_below(tmp_path / "home") == []
