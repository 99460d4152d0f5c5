"""`why` on the screen, and its fixes: each is pasted as it stands into a shell's hands and opens its gate."""

from __future__ import annotations

import asyncio
import json
import shlex
import shutil
import time
from collections.abc import Callable
from typing import Any

import pytest

from scheduler.core.admission import Pause
from scheduler.core.audit import AuditReport, Finding
from scheduler.core.breaker import BreakerRules, Trouble
from scheduler.core.lifecycle import AttemptState
from scheduler.core.records import NewGrant, Quote
from scheduler.home import Home, make_folders
from scheduler.store.engine import SqliteStore
from scheduler.store.revision import sqlite_path
from scheduler.store.tx import StoreTx
from tests.cli.conftest import Command, Done
from tests.support.control_server import ControlServer
from tests.support.databases import Databases
from tests.support.stores import BACKEND, COST, attempt_in, make_batch, make_spec
from tests.support.views import AS_OF, job_view

HOUR_US = 3_600_000_000
CODA = """
[providers.coda]
kind = "coda"
"""


# ------------------------------------------------------------------------------------------ on the screen


def check_view(code: str, state: str = "open", sentence: str = "fine", **other: Any) -> dict[str, Any]:
    plain = {"opens_at": None, "fix": None, "fix_by": None}
    return {"code": code, "state": state, "sentence": sentence, **plain, **other}


def why_view(**other: Any) -> dict[str, Any]:
    view: dict[str, Any] = {
        "as_of": AS_OF,
        "daemon": True,
        "job": job_view("12.3", state="waiting", name="bell"),
        "outlook": {"kind": "person", "sentence": "it waits for a person (held)"},
        "checks": [],
        "place": None,
        "attempts": [],
        "events": [],
        "choices": [],
        "result": None,
    }
    return {**view, **other}


def test_closed_checks_come_with_what_opens_them_and_passed_ones_in_a_line(
    nightshot: Command, server: ControlServer
) -> None:
    checks = [
        check_view("held", "closed", "put on hold by ada", fix="nightshot release 12.3", fix_by="ada"),
        check_view("window", "closed", "opens at 2026-11-22T21:00:00.000Z", opens_at=AS_OF),
        check_view("slots", sentence="1 of 4 are taken"),
        check_view("turn", "not asked", "later"),
    ]
    server.answers["why"] = why_view(checks=checks, daemon=False)
    done = nightshot("why", "12.3")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines() == [
        "12.3 bell is WAITING: it waits for a person (held).",
        "  ✗ held    put on hold by ada",
        "      nightshot release 12.3   (ada may)",
        "  ✗ window  opens at 22 Nov 21:00:00 UTC (opens 22 Nov 20:41:07 UTC)",
        "  ✓ slots   1 of 4 are taken",
        "  · turn    later",
        "No daemon runs, so nothing moves: nightshot run",
        "Worked out 22 Nov 20:41:07 UTC.",
    ]
    assert server.args_of("why") == {"job": "12.3"}


def test_a_doubt_shows_what_a_person_can_say(nightshot: Command, server: ControlServer) -> None:
    choice = {"when": "nobody can tell", "command": "nightshot resolve 12.3 --as …", "then": "it is given up"}
    server.answers["why"] = why_view(
        job=job_view("12.3", state="in_doubt", name="bell"),
        outlook={"kind": "in doubt", "sentence": "nobody knows"},
        choices=[choice],
        events=[{"at": AS_OF, "event": "lose sight", "sentence": "the answer was lost"}],
    )
    out = nightshot("why", "12.3").out
    assert out.startswith("12.3 bell is IN DOUBT: nobody knows.\nLook at the provider's pages first.")
    assert "  nobody can tell: it is given up\n      nightshot resolve 12.3 --as …\n" in out
    assert "  22 Nov 20:41:07 UTC  the answer was lost\n" in out


def test_for_scripts_codes_or_the_whole_view(nightshot: Command, server: ControlServer) -> None:
    server.answers["why"] = why_view(checks=[check_view("held", "closed"), check_view("slots")])
    assert nightshot("why", "12.3", "-q").out == "held\n"
    printed = json.loads(nightshot("why", "12.3", "--json").out)
    assert set(printed) == {"schema", *why_view()}
    server.answers["why"] = why_view(job=job_view(state="completed"))
    assert nightshot("why", "12", "-q").out == "completed\n"


def test_a_job_that_does_not_exist_ends_with_3(nightshot: Command, server: ControlServer) -> None:
    assert nightshot("why", "77").code == 3


# ---------------------------------------------------------------------------------------- pasted, one by one

Seed = Callable[[StoreTx, int], object]


def now_us() -> int:
    return time.time_ns() // 1000


def store_of(home: Home, work: Callable[[StoreTx], object]) -> None:
    async def main() -> None:
        store = SqliteStore(str(home.database))
        try:
            await store.write(lambda tx: work(tx) and None)  # type: ignore[arg-type]
        finally:
            await store.close()

    asyncio.run(main())


def quote(tx: StoreTx, job_id: int, cost_microusd: int, at_us: int) -> None:
    valid_us = at_us + 24 * HOUR_US
    tx.record_quotes([Quote(job_id, cost_microusd, "price list", "", "{}", at_us, valid_us)])


def waiting(tx: StoreTx, at_us: int, cost_microusd: int = COST, **spec: Any) -> int:
    (received,) = tx.receive([make_batch(make_spec("asked about", **spec), user="ada", received_us=at_us)])
    (job_id,) = [row.id for row in tx._c.exec_driver_sql("SELECT MAX(id) AS id FROM jobs")]
    assert received.is_new
    quote(tx, job_id, cost_microusd, at_us)
    return int(job_id)


def one_credit(tx: StoreTx, at_us: int) -> None:
    waiting(tx, at_us)
    tx.add_grant(NewGrant("coda", "a little", 1_000_000, 0, at_us - 1, None), "ada", "r", at_us)


def risen(tx: StoreTx, at_us: int) -> None:
    quote(tx, waiting(tx, at_us), 2 * COST, at_us)


def held(tx: StoreTx, at_us: int) -> None:
    tx.put_on_hold(waiting(tx, at_us), "bob", "not yet", at_us)


def broken(trouble: Trouble) -> Seed:
    def seed(tx: StoreTx, at_us: int) -> None:
        waiting(tx, at_us)
        tx.record_breaker(BACKEND, trouble, at_us, BreakerRules())

    return seed


def paused(name: str, code: str) -> Seed:
    def seed(tx: StoreTx, at_us: int) -> None:
        waiting(tx, at_us)
        tx.pause_backend(name, Pause(code, "somebody has to look"), at_us)

    return seed


def unsound(tx: StoreTx, at_us: int) -> None:
    waiting(tx, at_us)
    found = Finding("held", "what is held is the sum of its parts", ({"key": "x"},))
    tx.record_audit(AuditReport(True, (), (found,), None), "nightshot", at_us)


def cap(name: str, limit: str, measure: str = "cost", scope: str = "everyone", period: str = "month") -> str:
    return (
        f'[caps.{name}]\nmeasure = "{measure}"\nscope = "{scope}"\nperiod = "{period}"\nlimit = "{limit}"\n'
    )


#: gate -> configuration, and what has happened; every gate is armed but the first.
CASES: dict[str, tuple[str, str, Seed]] = {
    "disarmed": ("disarmed", "", waiting),
    "held": ("held", "", held),
    "approval": ("approval", '[approval]\nabove = "1.00 USD"\n', waiting),
    "overage": (
        "overage",
        '[overage]\npolicy = "ask"\n',
        lambda tx, at_us: waiting(tx, at_us, accept_overage=True),
    ),
    "drift": ("drift", "", risen),
    "the night": ("cap:night", "", lambda tx, at_us: waiting(tx, at_us, 60_000_000)),
    "a month": ("cap:month", cap("month", "1.00 USD"), waiting),
    "shots of each user": (
        "cap:each",
        cap("each", "10", "shots", "user", "day"),
        waiting,
    ),
    "credits of all": (
        "cap:credits",
        cap("credits", "1", "credits", period="total"),
        waiting,
    ),
    "its own cap": ("cap:job", "", lambda tx, at_us: waiting(tx, at_us, cap_microusd=COST - 1)),
    "credits": ("credits", "", one_credit),
    "credits refused": ("credits", "", paused("coda", "credits")),
    "an overrun": ("breaker", "", broken(Trouble.OVERRUN)),
    "credentials": ("breaker", "", broken(Trouble.CREDENTIALS)),
    "a paused account": ("breaker", "", paused("coda", "breaker")),
    "the journal": ("journal", "", paused("coda", "journal")),
    "the clock": ("clock", "", paused("coda", "clock")),
    "an audit": ("audit", "", unsound),
}


@pytest.fixture
def paste(nightshot: Command) -> Callable[[str], Done]:
    """What a shell makes of a printed command, given to the real command."""

    def run(command: str) -> Done:
        program, *words = shlex.split(command)
        assert program == "nightshot"
        return nightshot(*words)

    return run


def closed_checks(nightshot: Command, job: str = "latest") -> dict[str, dict[str, Any]]:
    done = nightshot("why", job, "--json")
    assert done.code == 0, done.err
    checks = json.loads(done.out)["checks"]
    return {check["code"]: check for check in checks if check["state"] == "closed"}


House = Callable[..., None]


@pytest.fixture
def house(nightshot: Command, home: Home, databases: Databases) -> House:
    """A home without a daemon in which something has happened."""

    def build(config: str, seed: Seed, *, armed: bool = True) -> None:
        make_folders(home)
        (home.root / "nightshot.toml").write_text(CODA + config)
        upgraded = sqlite_path(databases.make("sqlite", home.root))
        assert upgraded is not None
        shutil.move(upgraded, home.database)
        if armed:
            assert nightshot("arm", "--night", "50.00").code == 0
        store_of(home, lambda tx: seed(tx, now_us()))

    return build


@pytest.mark.parametrize("case", CASES)
def test_a_fix_works_when_it_is_pasted(
    nightshot: Command, house: House, paste: Callable[[str], Done], case: str
) -> None:
    code, config, seed = CASES[case]
    house(config, seed, armed=code != "disarmed")
    before = closed_checks(nightshot)
    assert list(before) == [code]
    done = paste(before[code]["fix"])
    assert done.code == 0, (before[code]["fix"], done.err)
    assert list(closed_checks(nightshot)) == ["turn"], "it was the only one"


def test_several_fixes_one_after_the_other_leave_nothing_closed(
    nightshot: Command, house: House, paste: Callable[[str], Done]
) -> None:
    def seed(tx: StoreTx, at_us: int) -> None:
        risen(tx, at_us)
        tx.put_on_hold(1, "bob", "not yet", at_us)
        tx.record_breaker(BACKEND, Trouble.CREDENTIALS, at_us, BreakerRules())

    house(cap("month", "1.00 USD"), seed, armed=False)
    assert list(closed_checks(nightshot)) == ["disarmed", "held", "breaker", "drift", "cap:month"]
    pasted = []
    while True:
        checks = closed_checks(nightshot)
        fixable = next((check for check in checks.values() if check["fix"]), None)
        if fixable is None:
            break
        assert fixable["code"] not in pasted, "it opened nothing"
        pasted.append(fixable["code"])
        assert paste(fixable["fix"]).code == 0
    assert list(checks) == ["turn"]


@pytest.fixture
def doubted(house: House) -> None:
    def seed(tx: StoreTx, at_us: int) -> None:
        attempt_in(tx, AttemptState.IN_DOUBT)
        waiting(tx, at_us)

    house("[breaker]\ndoubts = 1\n", seed)


def test_the_fix_of_a_doubt_leads_to_the_verdict_and_that_opens_it(
    nightshot: Command, doubted: None, paste: Callable[[str], Done]
) -> None:
    (doubt,) = closed_checks(nightshot, "2").values()
    assert doubt["code"] == "doubt"
    told = paste(doubt["fix"])
    assert told.code == 0
    commands = [line.strip() for line in told.out.splitlines() if line.strip().startswith("nightshot")]
    assert [shlex.split(line)[:5] for line in commands] == [
        ["nightshot", "resolve", "1", "--as", verdict] for verdict in ("accepted", "not-sent", "written-off")
    ]
    assert paste(commands[2]).code == 0
    assert list(closed_checks(nightshot, "2")) == ["turn"]


def test_a_verdict_that_could_pay_twice_does_nothing_before_the_person_wrote_what_they_know(
    nightshot: Command, doubted: None, paste: Callable[[str], Done]
) -> None:
    view = json.loads(nightshot("why", "1", "--json").out)
    accepted, not_sent, _ = (choice["command"] for choice in view["choices"])
    assert (paste(accepted).code, paste(not_sent).code) == (2, 2)
    assert json.loads(nightshot("why", "1", "--json").out)["job"]["state"] == "in_doubt"
    assert paste(f"{not_sent} 'the pages do not list it'").code == 0
    assert json.loads(nightshot("why", "1", "--json").out)["job"]["state"] == "waiting"


def test_an_accepted_doubt_needs_only_its_id(
    nightshot: Command, doubted: None, paste: Callable[[str], Done]
) -> None:
    view = json.loads(nightshot("why", "1", "--json").out)
    assert paste(f"{view['choices'][0]['command']} p-4711").code == 0
    view = json.loads(nightshot("why", "1", "--json").out)
    assert view["outlook"]["kind"] == "running"
    assert "it runs as p-4711 at coda:iqm" in view["outlook"]["sentence"]


def test_without_a_daemon_it_says_that_nothing_moves(nightshot: Command, house: House) -> None:
    house("", waiting)
    assert "No daemon runs, so nothing moves: nightshot run\n" in nightshot("why", "1").out
