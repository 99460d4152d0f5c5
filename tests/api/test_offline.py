"""With a daemon or without one: the same question gets the same answer."""

from __future__ import annotations

import base64
import json
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scheduler.api.operations import OPERATIONS
from scheduler.daemon import answer_offline
from scheduler.errors import NightshotError
from scheduler.home import Home
from tests.support import coda_server as coda
from tests.support.coda_thread import coda_in_thread
from tests.support.daemon import Daemon

#: What may differ: who answers, and when.
PASSING = {"as_of", "daemon", "pid", "home", "at", "age_s"}
CODE = base64.b64encode(b"OPENQASM 3.0;\nqubit q;\nbit c;\nc = measure q;\n").decode()
QUESTIONS: dict[str, list[dict[str, Any]]] = {
    "status": [{}],
    "jobs": [{}, {"state": "in_doubt"}, {"batch": 1}, {"limit": 1}, {"backend": "coda:iqm"}, {"batch": 77}],
    "show": [{"job": "1.1"}, {"job": "1.2"}, {"job": "latest"}, {"job": "9"}],
    "why": [{"job": "1.1"}, {"job": "1.2"}, {"job": "latest"}, {"job": "9"}],
    "results": [{"job": "1"}, {"job": "1.1"}],
    "backends": [{}],
    "budget": [{}],
    "budget_ledger": [{}, {"account": "none of ours"}, {"limit": 1}],
    "estimate": [{"job": "1.1"}, {"job": "9"}],
    "reconcile": [{"csv": "job_id,cost_cents\nunheard-of,130\n"}, {"csv": "nonsense"}],
}
CHANGES: dict[str, list[dict[str, Any]]] = {
    "arm": [{"night": "7.50", "reason": "r"}, {"night": "7.50", "once": True}, {"night": "x"}],
    "disarm": [{"reason": "r"}],
    "cancel": [{"jobs": ["1.4"]}, {"jobs": ["1.1"]}, {"jobs": ["8"]}],
    "hold": [{"jobs": ["1.4"], "reason": "r"}, {"jobs": ["1.1"], "reason": "r"}, {"jobs": ["1.4"]}],
    "release": [{"jobs": ["1.4"], "reason": "r"}, {"jobs": ["8"]}],
    "resolve": [
        {"job": "1.2", "as": "written-off", "reason": "r"},
        {"job": "1.1", "as": "not-sent", "reason": "r"},
    ],
    "backends_resume": [
        {"backend": "coda:iqm", "reason": "r"},
        {"backend": "coda", "gate": "clock", "reason": "r"},
    ],
    "approve": [{"jobs": ["1.4"], "reason": "r"}, {"jobs": ["1.1"], "reason": "r"}, {"jobs": ["8"]}],
    "audit": [{}, {"resume": True, "reason": "r"}],
    "budget_grant": [
        {"credits": "5", "provider": "coda", "reason": "r"},
        {"credits": "-5", "provider": "coda"},
    ],
    "budget_adjust": [{"credits": "2", "grant": 9, "reason": "r"}, {"credits": "x", "grant": 1}],
    "budget_observe": [
        {"credits": "5", "provider": "coda", "reason": "r"},
        {"credits": "5", "provider": "x"},
    ],
    "budget_cap": [{"name": "night", "limit": "60.00", "reason": "r"}, {"name": "no such", "limit": "1.00"}],
    "budget_refund": [{"job": "1.1", "amount": "0.30", "reason": "r"}, {"job": "1.4", "reason": "r"}],
    "edit": [{"job": "1.4", "shots": 50, "reason": "r"}, {"job": "1.1", "shots": 50}, {"job": "1.4"}],
    "rerun": [{"job": "1.1"}, {"job": "1.4"}, {"job": "8"}],
    "submit": [
        {"documents": [{"name": "a.qasm", "content_base64": CODE}]},
        {"documents": [{"name": "b.qasm", "content_base64": "%"}]},
    ],
}


def jobs_file() -> str:
    codes = [f"OPENQASM 3.0;\n// {n}\nqubit q;\nbit c;\nc = measure q;\n" for n in range(4)]
    lines = [{"nightshot": 1, "count": 4}, *({"code": code, "backend": "iqm"} for code in codes)]
    return "\n".join(json.dumps(line) for line in lines) + "\n"


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A home in which one job completed, one is in doubt and two wait; and its configuration."""
    with coda_in_thread() as server:
        config = f"""\
[providers.coda]
kind = "coda"
base_url = "{server.base_url}"
[backends."coda:iqm"]
slots = 1
[breaker]
doubts = 1
"""
        server.next_submits.extend([coda.Fault(proper=True), coda.BILLED_THEN_502])
        daemon = Daemon(
            tmp_path_factory.mktemp("lived") / "home", config=config, environ={"CODA_API_TOKEN": "coda_token"}
        )
        daemon.drop("four.jsonl", jobs_file())
        assert daemon.ask("arm", "--night", "50.00").returncode == 0
        assert daemon.run_until_idle() == 0, daemon.log
        yield daemon.home.root, config


def stripped(view: object) -> object:
    match view:
        case dict():
            return {key: stripped(value) for key, value in view.items() if key not in PASSING}
        case list():
            return [stripped(entry) for entry in view]
        case str():
            return view.partition("/home")[0]  # of a path only what is the same in every copy
        case _:
            return view


def said_by(ask: Any) -> object:
    try:
        return stripped(ask())
    except NightshotError as refusal:
        return type(refusal).__name__, refusal.message, refusal.hint, refusal.exit_code


def copy_of(lived: tuple[Path, str], place: Path) -> Daemon:
    root, config = lived
    shutil.copytree(root, place / "home", ignore=shutil.ignore_patterns("*.sock", "*.lock"), symlinks=True)
    return Daemon(place / "home", config=config)


def test_every_operation_is_asked_here() -> None:
    assert {*QUESTIONS, *CHANGES} == set(OPERATIONS)


def test_questions_have_one_answer(lived: tuple[Path, str], tmp_path: Path) -> None:
    daemon = copy_of(lived, tmp_path)
    asked = [(op, args) for op, variants in QUESTIONS.items() for args in variants]
    alone = [said_by(lambda o=op, a=args: answer_offline(daemon.home, None, o, a)) for op, args in asked]
    with daemon:
        online = [said_by(lambda o=op, a=args: daemon.call(o, **a)) for op, args in asked]
    for (op, args), with_daemon, without in zip(asked, online, alone, strict=True):
        assert with_daemon == without, (op, args)


@pytest.mark.parametrize("op", CHANGES)
def test_changes_have_one_answer(lived: tuple[Path, str], tmp_path: Path, op: str) -> None:
    for number, args in enumerate(CHANGES[op]):
        places = tmp_path / f"{number}-online", tmp_path / f"{number}-alone"
        for place in places:
            place.mkdir()
        online, alone = (copy_of(lived, place) for place in places)
        without = said_by(lambda h=alone.home, a=args: answer_offline(h, None, op, a))
        online.launch()
        online.until(online.answers, "it answers")
        with_daemon = said_by(lambda d=online, a=args: d.call(op, **a))
        online.process.send_signal(signal.SIGKILL)
        online.process.wait()
        assert with_daemon == without, (op, args)


def test_while_a_daemon_runs_nobody_else_touches_its_store(lived: tuple[Path, str], tmp_path: Path) -> None:
    daemon = copy_of(lived, tmp_path)
    with daemon, pytest.raises(NightshotError, match="is in use by process"):
        answer_offline(Home(daemon.home.root), None, "disarm", {})
