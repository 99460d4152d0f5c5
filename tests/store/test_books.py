"""The books of the night under any interleaving of what can happen to attempts."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from scheduler.core.lifecycle import ATTEMPT_ARROWS, AttemptEvent, AttemptState, JobEvent
from scheduler.core.records import ArmingRecord
from scheduler.core.settlement import settle
from scheduler.core.task import Completed
from scheduler.store.engine import SqliteStore
from scheduler.store.open import open_store
from scheduler.store.postgres import PostgresStore
from scheduler.store.tx import StoreTx
from tests.support.stores import (
    DAY_US,
    NIGHT,
    NOW_US,
    Case,
    Refused,
    accepted,
    broken_books,
    night_books,
    plan_and_hold,
    price_jobs,
    query,
    receive_jobs,
    tonight,
)

A, E = AttemptState, AttemptEvent
#: Tonight and tomorrow night, by a moment in each.
NIGHTS = (NOW_US, NOW_US + DAY_US)
GIVES_BACK = {E.REFUSE, E.NOT_SENT, E.NEVER_ARRIVED}

amounts = st.integers(0, 50)
which = st.integers(0, 9)
nothing = st.none()
sending = st.tuples(st.just("send"), which, amounts)
steps = st.one_of(
    sending,
    sending,
    sending,
    st.tuples(st.just("accept"), which, st.one_of(st.none(), amounts)),
    st.tuples(st.just("accept"), which, st.one_of(st.none(), amounts)),
    st.tuples(st.sampled_from(["intend", "settle", "fail"]), which, nothing),
    st.tuples(st.sampled_from(["lose sight", "finish"]), which, nothing),
    st.tuples(st.sampled_from(["lose sight", "write off"]), which, nothing),
    st.tuples(st.sampled_from(sorted(GIVES_BACK)), which, nothing),
    st.one_of(
        st.tuples(st.just("arm"), st.sampled_from([0, 0, 0, 1]), st.integers(0, 200)),
        st.tuples(st.just("arm"), st.just(0), st.integers(100, 200)),
        st.tuples(st.just("night"), st.integers(0, 1), nothing),
        st.tuples(st.just("disarm"), nothing, nothing),
    ),
)
#: Every example starts armed, with one attempt settled and one on its way.
PRELUDE = [
    ("arm", 0, 120),
    *[("admit", 0, 7), ("intend", 0, None), ("accept", 0, 9), ("finish", 0, None), ("settle", 0, None)],
    *[("admit", 0, 20), ("intend", 0, None)],
]
#: What the table calls each step; one that it does not allow is tried as well, now and then.
EVENT_OF = {
    "intend": (E.COMMIT_INTENT,),
    "accept": (E.ACCEPT, E.FOUND),
    "lose sight": (E.LOSE_SIGHT,),
    "write off": (E.WRITE_OFF,),
    "finish": (E.FINISH,),
    "fail": (E.FINISH,),
    **{str(event): (event,) for event in GIVES_BACK},
}


class Undone(Exception):
    """Ends every example, so that the next one starts with an empty database again."""


@dataclass
class Try:
    """What the model knows of an attempt."""

    job_id: int
    attempt_id: str
    amount: int
    #: The price was asked in this night; in the other one it is stale.
    quoted_us: int
    state: AttemptState = A.PREPARED
    night: int | None = None
    cost: int | None = None
    failed: bool = False


@dataclass
class Model:
    """Plain arithmetic beside the database: what must be true after each step."""

    tx: StoreTx
    night: int = NIGHTS[0]
    armed: int | None = None
    once: int | None = None
    #: Limits that were set for one night: a later arming of another night leaves them alone.
    limits: dict[int, int] = field(default_factory=dict)
    held: dict[int, int] = field(default_factory=lambda: dict.fromkeys(NIGHTS, 0))
    posted: dict[int, int] = field(default_factory=lambda: dict.fromkeys(NIGHTS, 0))
    tries: list[Try] = field(default_factory=list)
    waiting: list[int] = field(default_factory=list)

    def step(self, what: str, index: int | None, amount: int | None) -> None:
        match what:
            case "admit":
                self.admit(amount or 0)
            case "arm":
                assert amount is not None
                once = self.night if index else None
                key = None if once is None else {NIGHTS[0]: NIGHT, NIGHTS[1]: "2026-11-23"}[once]
                record = ArmingRecord(amount, key, "ada", "", self.night)
                self.tx.arm(record, tonight(amount, self.night))
                self.armed, self.once = amount, once
                self.limits[self.night] = amount
            case "disarm":
                assert self.tx.disarm("ada", "", NOW_US) == (self.armed is not None)
                self.armed = None
            case "night":
                self.night = NIGHTS[index or 0]
            case "settle":
                self.settle()
            case "send":
                self.admit(amount or 0)
                self.intend(self.tries[-1])
            case _:
                if a := self.pick(what, index or 0):
                    self.change(what, a, amount)
        self.check()

    def pick(self, what: str, index: int) -> Try | None:
        """Mostly an attempt that the step can happen to, now and then just any."""
        fit = [a for a in self.tries if any((a.state, e) in ATTEMPT_ARROWS for e in EVENT_OF[what])]
        among = fit if index else self.tries
        return among[index % len(among)] if among else None

    def admit(self, amount: int) -> None:
        if self.waiting:
            job_id = self.waiting.pop()
            amount = self.tx.candidate_of(job_id).estimate_microusd or 0
        else:
            (job_id,) = receive_jobs(self.tx, 1)
        price_jobs(self.tx, [job_id], amount, self.night)
        attempt_id = f"try-{len(self.tries)}"
        assert self.tx.prepare_attempts([(self.tx.candidate_of(job_id), attempt_id)], NOW_US) == [job_id]
        self.tries.append(Try(job_id, attempt_id, amount, quoted_us=self.night))

    def change(self, what: str, a: Try, amount: int | None) -> None:
        match what:
            case "intend":
                self.intend(a)
            case "accept":
                won = self.tx.attempt_accepted(a.attempt_id, accepted(a.attempt_id, amount), NOW_US)
                event = E.FOUND if a.state is A.IN_DOUBT else E.ACCEPT
                if self.moved(a, event, won):
                    a.cost = amount
                    self.cover(a, amount)
                    assert self.tx.move_job(a.job_id, JobEvent.ACCEPTED, NOW_US, "")
            case "lose sight":
                if self.moved(a, E.LOSE_SIGHT, self.tx.lose_sight(a.attempt_id, NOW_US, "")):
                    assert self.tx.move_job(a.job_id, JobEvent.LOSE_SIGHT, NOW_US, "")
            case "write off":
                if self.moved(a, E.WRITE_OFF, self.tx.write_off(a.attempt_id, NOW_US, "ada", "")):
                    self.close(a, a.amount)
                    assert self.tx.move_job(a.job_id, JobEvent.FAIL, NOW_US, "")
            case "finish":
                task = self.tx.open_task(a.attempt_id)
                won = task is not None and self.tx.finish_completed(task, Completed(({},), ""), NOW_US)
                self.moved(a, E.FINISH, won)
            case "fail":
                a.failed = self.tx.finish_failed(a.attempt_id, "calibration", "{}", False, NOW_US)
                self.moved(a, E.FINISH, a.failed)
            case _:
                event = E(what)
                if self.moved(a, event, self.tx.end_attempt(a.attempt_id, event, NOW_US, "")):
                    self.close(a, None)
                    assert self.tx.move_job(a.job_id, JobEvent.SEND_BACK, NOW_US, "")
                    self.waiting.append(a.job_id)

    def moved(self, a: Try, event: AttemptEvent, won: bool) -> bool:
        """The write won exactly when the table has such an arrow."""
        target = ATTEMPT_ARROWS.get((a.state, event))
        assert won == (target is not None), f"{event} out of {a.state}"
        a.state = target or a.state
        return won

    def intend(self, a: Try) -> None:
        """As the stage does it: an intent whose hold does not fit is rolled back with it."""
        savepoint = self.tx._c.begin_nested()
        if not self.tx.commit_intent(a.attempt_id, NOW_US, NOW_US, False, paid=True):
            savepoint.rollback()
            assert a.state is not A.PREPARED
            return
        assert a.state is A.PREPARED
        # Armed with nothing is not armed.
        in_force = bool(self.armed) and self.once in (None, self.night)
        limit = self.limits.get(self.night, self.armed or 0)
        used = self.held[self.night] + self.posted[self.night]
        has_room = a.amount == 0 or used + a.amount <= limit
        fits = in_force and a.quoted_us == self.night and has_room
        if not self.holds(a):
            savepoint.rollback()
            assert not fits
            return
        assert fits
        savepoint.commit()
        self.limits[self.night] = limit
        a.state, a.night = A.SUBMITTING, self.night
        self.held[self.night] += a.amount

    def holds(self, a: Try) -> bool:
        try:
            plan_and_hold(self.tx, Case(a.job_id, a.attempt_id), a.amount, self.night)
        except Refused:
            return False
        return True

    def cover(self, a: Try, cost: int | None) -> None:
        """What was charged above the quote is held at once, cap or no cap."""
        excess = max(0, (cost or 0) - a.amount)
        assert self.tx.cover_cost(a.attempt_id, cost or 0) == excess
        a.amount += excess
        self.held[a.night or self.night] += excess

    def settle(self) -> None:
        tasks = self.tx.finished_tasks(100)
        ended = [a for a in self.tries if a.state is A.FINISHED]
        assert {task.attempt_id for task in tasks} == {a.attempt_id for a in ended}
        pairs = [(task, settle(task.hold_microusd, task.cost)) for task in tasks]
        for _ in range(2):  # the second time changes nothing
            self.tx.settle_attempts(pairs, NOW_US)
        for a in ended:
            self.moved(a, E.SETTLE_FAILURE if a.failed else E.SETTLE, True)
            self.close(a, a.amount if a.cost is None else a.cost)

    def close(self, a: Try, posted: int | None) -> None:
        if a.night is not None:
            self.held[a.night] -= a.amount
            self.posted[a.night] += posted or 0

    def check(self) -> None:
        assert broken_books(self.tx) == []
        for night in NIGHTS:
            books = night_books(self.tx, night)
            assert (books.held, books.posted) == (self.held[night], self.posted[night])
        states = dict(query("SELECT id, state FROM attempts")(self.tx))
        assert states == {a.attempt_id: a.state for a in self.tries}


@pytest.fixture
def loop_and_store(
    database_url: str,
) -> Iterator[tuple[asyncio.AbstractEventLoop, SqliteStore | PostgresStore]]:
    loop = asyncio.new_event_loop()

    async def open_here() -> SqliteStore | PostgresStore:
        return open_store(database_url)

    store = loop.run_until_complete(open_here())
    yield loop, store
    loop.run_until_complete(store.close())
    loop.close()


@settings(
    max_examples=50,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@example(script=[("send", 1, 92)])  # one micro-dollar more than is free beside what is held and posted
@example(script=[("send", 1, 91)])
@example(script=[("arm", 1, 200), ("night", 1, None), ("send", 1, 5)])  # armed for the other night only
@given(script=st.lists(steps, min_size=30, max_size=60))
def test_the_books_agree_whatever_happens_in_whatever_order(
    loop_and_store: tuple[asyncio.AbstractEventLoop, SqliteStore | PostgresStore],
    script: list[tuple[str, int | None, int | None]],
) -> None:
    loop, store = loop_and_store

    def play(tx: StoreTx) -> None:
        model = Model(tx)
        for step in [*PRELUDE, *script]:
            model.step(*step)
        assert [finding.code for finding in tx.audit(True, NOW_US).findings] == []
        raise Undone

    with pytest.raises(Undone):
        loop.run_until_complete(store.write(play))
