"""The real daemon against a Coda on loopback: paid once or not at all, whatever server and people do."""

from __future__ import annotations

import json
import sqlite3
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scheduler.replies import ReplySlots
from tests.support import coda_server as coda
from tests.support.coda_server import CodaServer, Fault, answer
from tests.support.coda_thread import EveryTime, coda_in_thread
from tests.support.daemon import Daemon

TOKEN = "coda_of_the_night"
#: The documented example of the Coda API, for a machine that costs money.
BELL = """\
# /// script
# [tool.nightshot]
# backend = "iqm"
# shots = 100
# ///
from qiskit import QuantumCircuit

qc = QuantumCircuit(2, 2)
qc.h(0)
qc.cx(0, 1)
qc.measure([0, 1], [0, 1])
"""
CENTS = 130


def config(server: CodaServer, *, slots: int = 4, breaker: str = "", more: str = "") -> str:
    return f"""\
[spool]
scan_interval_s = 0.3
[providers.coda]
kind = "coda"
base_url = "{server.base_url}"
reply_timeout_s = 2.0
{more}
[backends."coda:iqm"]
slots = {slots}
[poll]
min_interval_s = 0.05
max_interval_s = 0.2
[breaker]
{breaker}
"""


def jobs_file(count: int) -> str:
    lines = [json.dumps({"nightshot": 1, "count": count})]
    for number in range(1, count + 1):
        code = f'OPENQASM 3.0;\ninclude "stdgates.inc";\n// {number}\nqubit q;\nbit c;\nc = measure q;\n'
        lines.append(json.dumps({"name": f"bell {number}", "code": code, "backend": "iqm", "shots": 100}))
    return "\n".join(lines) + "\n"


@pytest.fixture
def server() -> Iterator[CodaServer]:
    with coda_in_thread(token=TOKEN, polls_before_completion=1) as running:
        yield running


@pytest.fixture
def make_daemon(tmp_path: Path, server: CodaServer) -> Iterator[Any]:
    made: list[Daemon] = []

    def make(**options: Any) -> Daemon:
        environ = {"CODA_API_TOKEN": TOKEN} | options.pop("environ", {})
        made.append(Daemon(tmp_path / "home", config=config(server, **options), environ=environ))
        return made[-1]

    yield make
    for daemon in made:
        daemon.kill()


def arm(daemon: Daemon, dollars: str = "5.00") -> None:
    daemon.told("arm", night=dollars, reason="a test")


def gates(daemon: Daemon, job: str) -> dict[str, str]:
    return {gate["code"]: gate["sentence"] for gate in daemon.told("show", job=job)["gates"]}


def rows(daemon: Daemon, sql: str) -> list[tuple[Any, ...]]:
    with sqlite3.connect(daemon.home.database) as db:
        return db.execute(sql).fetchall()


def states(daemon: Daemon) -> dict[str, int]:
    return dict(rows(daemon, "SELECT state, COUNT(*) FROM jobs GROUP BY state"))


def test_the_documented_example_waits_until_it_is_armed_and_then_runs(
    make_daemon: Any, server: CodaServer
) -> None:
    daemon = make_daemon()
    daemon.drop("bell.py", BELL)
    assert daemon.run_until_idle() == 0
    assert (server.posts, states(daemon)) == (0, {"waiting": 1})
    assert set(gates(daemon, "1")) == {"disarmed"}

    armed = daemon.ask("arm", "--night", "5.00", "--reason", "a test")
    assert armed.returncode == 0, armed.stderr
    assert daemon.run_until_idle() == 0
    assert (server.posts, states(daemon)) == (1, {"completed": 1})
    (folder,) = daemon.result_folders()
    document = json.loads((folder / "results.json").read_text())
    assert document["counts"] == [{"11": 52, "00": 48}]
    (reply,) = document["cost"]["replies"]
    assert reply.items() >= {"estimated_cost": "1.30", "credits_applied": "2", "overage": "0.00"}.items()
    sent = server.requests[-1]
    assert TOKEN not in daemon.log
    assert sent.path.endswith("/status")
    (bill,) = server.bills
    assert (bill.backend, bill.shots, bill.cents) == ("iqm", 100, CENTS)


def test_no_more_runs_than_the_cap_can_pay_and_the_rest_says_by_how_much(
    make_daemon: Any, server: CodaServer
) -> None:
    daemon = make_daemon(slots=8)
    daemon.drop("fifty.jsonl", jobs_file(50))
    arm(daemon, "13.00")
    assert daemon.run_until_idle() == 0
    assert len(server.bills) == 10
    assert states(daemon) == {"completed": 10, "waiting": 40}
    last = gates(daemon, "1.50")
    assert last == {"cap:night": "needs $1.30; $0.00 of $13.00 is free, short by $1.30"}

    arm(daemon, "15.65")
    assert daemon.run_until_idle() == 0
    assert len(server.bills) == 12
    assert gates(daemon, "1.50")["cap:night"].endswith("$0.05 of $15.65 is free, short by $1.25")


#: What may have been taken, and whether it was.
LOST = [
    (coda.BILLED_THEN_502, 1),
    (coda.HANG_BILLED, 1),
    (coda.HANG, 0),
    (coda.RESET_BILLED, 1),
    (coda.HALF_BODY, 1),
    (coda.NO_ID, 1),
    (coda.UNAVAILABLE, 0),
    (coda.REDIRECT_TO_ITSELF, 0),
    (coda.HTML_200, 1),
    (coda.GARBAGE, 0),
]


def test_what_may_have_been_taken_is_in_doubt_and_never_sent_again(
    make_daemon: Any, server: CodaServer
) -> None:
    daemon = make_daemon(slots=len(LOST), breaker='doubts = 1000\ndoubt_exposure = "1000.00 USD"')
    server.next_submits.extend(fault for fault, _ in LOST)
    daemon.drop("lost.jsonl", jobs_file(len(LOST)))
    arm(daemon, "100.00")
    for _ in range(3):
        assert daemon.run_until_idle() == 0
    daemon.start()
    assert states(daemon) == {"in_doubt": len(LOST)}
    assert (server.posts, len(server.bills)) == (len(LOST), sum(billed for _, billed in LOST))
    assert daemon.needs().count("in doubt") == len(LOST)
    assert daemon.status()["night"]["in_doubt_usd"] == "13.00"


def test_a_person_settles_a_doubt_each_way(make_daemon: Any, server: CodaServer) -> None:
    daemon = make_daemon(slots=1, breaker="doubts = 4")
    server.next_submits.extend([coda.UNAVAILABLE, coda.BILLED_THEN_502, coda.BILLED_THEN_502])
    daemon.drop("three.jsonl", jobs_file(3))
    arm(daemon)
    daemon.start()
    daemon.until(lambda: daemon.states() == {"in_doubt": 3}, "all are in doubt")
    for job, outcome, more in (
        ("1.1", "not-sent", []),
        ("1.2", "accepted", ["--provider-job-id", server.bills[0].job_id]),
        ("1.3", "written-off", []),
    ):
        done = daemon.ask("resolve", job, "--as", outcome, "--reason", f"{outcome} says the page", *more)
        assert done.returncode == 0, done.stderr
        assert f"{outcome} says the page" in json.dumps(daemon.told("show", job=job)["events"])
    daemon.until(lambda: daemon.states() == {"completed": 2, "failed": 1}, "all have ended")
    assert (server.posts, len(server.bills)) == (4, 3)
    night = daemon.status()["night"]
    assert (night["posted_usd"], night["held_usd"], night["in_doubt_usd"]) == ("3.90", "0.00", "0.00")
    twice = daemon.ask("resolve", "1.1", "--as", "not-sent", "--reason", "again")
    assert twice.returncode == 6


@pytest.mark.parametrize(
    ("breaker", "sent", "closed"),
    [
        ("doubts = 3", 3, {"breaker", "doubt"}),
        ('doubts = 1000\ndoubt_exposure = "5.00 USD"', 4, {"doubt"}),
    ],
)
def test_doubts_pause_the_backend(
    make_daemon: Any, server: CodaServer, breaker: str, sent: int, closed: set[str]
) -> None:
    daemon = make_daemon(slots=1, breaker=breaker)
    server.next_submits = EveryTime(lambda: coda.BILLED_THEN_502)  # type: ignore[assignment]
    daemon.drop("many.jsonl", jobs_file(12))
    arm(daemon, "100.00")
    assert daemon.run_until_idle() == 0
    assert server.posts == sent
    assert states(daemon) == {"in_doubt": sent, "waiting": 12 - sent}
    assert set(gates(daemon, "1.12")) == closed


def test_with_many_slots_no_more_doubts_arise_than_were_already_on_their_way(
    make_daemon: Any, server: CodaServer
) -> None:
    daemon = make_daemon(slots=500)
    server.next_submits = EveryTime(lambda: coda.BILLED_THEN_502)  # type: ignore[assignment]
    daemon.drop("many.jsonl", jobs_file(100))
    arm(daemon, "1000.00")
    assert daemon.run_until_idle() == 0
    assert 3 <= server.posts <= 2 + 32, "submit.concurrency is 32"


@pytest.mark.parametrize(
    ("fault", "gate"),
    [
        (answer(401, {"detail": "Invalid API key"}), "breaker"),
        (answer(402, {"detail": "Insufficient credits for this run"}), "credits"),
    ],
)
def test_a_refusal_that_only_a_person_can_change_stops_the_provider_until_they_say_so(
    make_daemon: Any, server: CodaServer, fault: Fault, gate: str
) -> None:
    daemon = make_daemon(slots=1)
    server.next_submits.append(fault)
    daemon.drop("three.jsonl", jobs_file(3))
    arm(daemon)
    assert daemon.run_until_idle() == 0
    assert (server.posts, len(server.bills)) == (1, 0)
    assert set(gates(daemon, "1.3")) == {gate}
    daemon.start()
    assert gate in daemon.needs()
    assert daemon.status()["night"]["held_usd"] == "0.00"
    done = daemon.ask("backends", "resume", "coda:iqm", "--reason", "the token is new")
    assert done.returncode == 0, done.stderr
    daemon.until(lambda: daemon.states() == {"completed": 3}, "they run")
    assert len(server.bills) == 3


def test_a_busy_server_is_given_the_time_it_asks_for(make_daemon: Any, server: CodaServer) -> None:
    daemon = make_daemon(slots=1)
    asked_s: list[float] = []

    def busy_twice() -> Fault:
        asked_s.append(time.monotonic())
        if len(asked_s) <= 2:
            return answer(429, {"detail": "slow down"}, headers={"Retry-After": "3"})
        return Fault(proper=True)

    server.next_submits = EveryTime(busy_twice)  # type: ignore[assignment]
    daemon.drop("two.jsonl", jobs_file(2))
    arm(daemon)
    assert daemon.run_until_idle() == 0
    assert states(daemon) == {"completed": 2}
    assert (server.posts, len(server.bills)) == (4, 2)
    assert asked_s[1] - asked_s[0] >= 3
    assert asked_s[2] - asked_s[1] >= 3


def test_a_charge_above_the_quote_stops_the_backend_before_the_next_one(
    make_daemon: Any, server: CodaServer
) -> None:
    daemon = make_daemon(slots=1)
    server.next_estimates = EveryTime(  # type: ignore[assignment]
        lambda: answer(200, {"success": True, "estimated_cost_cents": 10}, then="keep")
    )
    daemon.drop("five.jsonl", jobs_file(5))
    arm(daemon)
    assert daemon.run_until_idle() == 0
    assert len(server.bills) == 1
    assert set(gates(daemon, "1.5")) == {"breaker"}
    assert "charged $1.30 where $0.10 was quoted" in gates(daemon, "1.5")["breaker"]
    assert rows(daemon, "SELECT posted, held FROM cap_windows WHERE cap = 'night'") == [(1_300_000, 0)]
    assert rows(daemon, "SELECT overrun_microusd FROM holds") == [(1_200_000,)]


def test_a_wrong_token_sends_nothing_and_a_right_one_goes_on(make_daemon: Any, server: CodaServer) -> None:
    daemon = make_daemon(environ={"CODA_API_TOKEN": "coda_of_somebody_else"})
    daemon.drop("bell.py", BELL)
    arm(daemon)
    assert daemon.run_until_idle() == 0
    assert (server.posts, states(daemon)) == (0, {"waiting": 1})
    assert "401" in gates(daemon, "1")["breaker"]


def test_a_reply_that_was_on_disk_when_the_daemon_was_killed_is_found_again(
    make_daemon: Any, server: CodaServer
) -> None:
    """The database is locked by somebody else, so the reply gets to its file and no further."""
    daemon = make_daemon()
    server.next_submits.append(Fault(proper=True, delay_s=1.0))
    daemon.drop("bell.py", BELL)
    arm(daemon)
    daemon.start()
    daemon.until(lambda: server.posts == 1, "the request arrived")
    lock = sqlite3.connect(daemon.home.database, isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    daemon.until(lambda: ReplySlots(daemon.home.replies).kept(), "the reply is on disk")
    daemon.kill()
    lock.execute("ROLLBACK")
    lock.close()
    assert rows(daemon, "SELECT state FROM attempts") == [("submitting",)]
    assert daemon.run_until_idle() == 0
    assert states(daemon) == {"completed": 1}
    assert (server.posts, len(server.bills)) == (1, 1)
    assert "its reply file" in daemon.log


def test_a_stop_waits_for_the_call_that_is_on_its_way(make_daemon: Any, server: CodaServer) -> None:
    daemon = make_daemon()
    server.next_submits.append(Fault(proper=True, delay_s=1.0))
    daemon.drop("bell.py", BELL)
    arm(daemon)
    daemon.start()
    daemon.until(lambda: server.posts == 1, "the request arrived")
    assert daemon.stop() == 0
    assert states(daemon) == {"running": 1}
    assert daemon.run_until_idle() == 0
    assert (server.posts, states(daemon)) == (1, {"completed": 1})


def test_a_cancelled_job_that_is_not_sent_yet_costs_nothing(make_daemon: Any, server: CodaServer) -> None:
    daemon = make_daemon(slots=1)
    server.next_submits = deque([Fault(proper=True, delay_s=1.0)])
    daemon.drop("three.jsonl", jobs_file(3))
    arm(daemon)
    daemon.start()
    daemon.until(lambda: server.posts == 1, "the first is on its way")
    done = daemon.ask("cancel", "1")
    assert done.returncode == 0, done.stderr
    daemon.until(lambda: daemon.states().get("completed") == 1, "the first is kept")
    assert daemon.states() == {"completed": 1, "cancelled": 2}
    assert len(server.bills) == 1
