"""The journal books once, balances are its sums, and no race gets more than there is."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy.exc import DBAPIError

from scheduler.core.caps import Cap, Measure, Period, Scope, Spender
from scheduler.core.corrections import Refund
from scheduler.core.ledger import Account, AccountKind, Entry, Kind, Posting, Shortage, burn_down, transfer
from scheduler.core.lifecycle import AttemptEvent, JobEvent
from scheduler.core.task import NeverArrived
from scheduler.errors import ImpossibleArrow, UsageError
from scheduler.ports_store import Store
from scheduler.store.engine import run_transaction, sqlite_engine
from scheduler.store.tx import StoreTx
from tests.support.books import (
    CREDIT,
    PROVIDER,
    NoRoom,
    Paid,
    accept,
    broken,
    finish,
    give_credits,
    intend_paid,
    lose,
    prepare_again,
    prepare_paid,
    reply,
    say_not_sent,
    settle_all,
    spending,
    write_off,
)
from tests.support.databases import Databases
from tests.support.stores import BACKEND, COST, NOW_US, query

T = TypeVar("T")
GRANT, OUTSIDE, SPENT = (
    Account(AccountKind.GRANT, "1"),
    Account(AccountKind.OUTSIDE, PROVIDER),
    Account(AccountKind.SPENT, PROVIDER),
)


def posting(amount: int = 5, key: str = "one") -> Posting:
    return Posting(key, Kind.GRANT, transfer(OUTSIDE, GRANT, amount), "the contract", "ada")


async def test_the_same_key_is_booked_once(store: Store) -> None:
    first = await store.write(lambda tx: tx.book(posting(), NOW_US))
    again = await store.write(lambda tx: tx.book(posting(7), NOW_US))
    assert first == again
    assert await store.read(lambda tx: tx.balance(GRANT)) == (5, 0)
    assert await store.read(query("SELECT count(*) FROM entries")) == [(2,)]


async def test_balances_are_the_sums_of_their_lines(store: Store) -> None:
    for number in range(1, 4):
        await store.write(lambda tx, n=number: tx.book(posting(n, f"key {n}"), NOW_US))
    assert await store.read(lambda tx: tx.balance(GRANT)) == (6, 0)
    assert await store.read(lambda tx: tx.balance(OUTSIDE)) == (-6, 0)
    assert await store.read(lambda tx: tx.balance(SPENT)) == (0, 0), "nothing was ever booked on it"
    assert await store.read(broken) == []


async def test_what_does_not_balance_is_not_booked(store: Store) -> None:
    lone = Posting("lone", Kind.ADJUST, (Entry(GRANT, 5),), "a typo", "ada")
    with pytest.raises(ImpossibleArrow, match="does not balance"):
        await store.write(lambda tx: tx.book(lone, NOW_US))
    assert await store.read(query("SELECT count(*) FROM txns")) == [(0,)]


async def test_a_grant_cannot_be_booked_below_zero(store: Store) -> None:
    await store.write(lambda tx: tx.book(posting(), NOW_US))
    back = Posting("back", Kind.ADJUST, transfer(GRANT, OUTSIDE, 6), "too much", "ada")
    with pytest.raises(DBAPIError, match="not_below_zero"):
        await store.write(lambda tx: tx.book(back, NOW_US))
    assert await store.read(lambda tx: tx.balance(GRANT)) == (5, 0)


async def test_400_racing_reservations_over_three_caps_and_two_grants_never_exceed_any(store: Store) -> None:
    caps = (
        Cap("night", Measure.COST, Scope.EVERYONE, Period.NIGHT, 150 * COST),
        Cap("people", Measure.COST, Scope.USER, Period.MONTH, 40 * COST),
        Cap("runs", Measure.TASKS, Scope.EVERYONE, Period.TOTAL, 100),
    )
    users = ("ada", "bob", "eve")

    def begin(tx: StoreTx) -> list[Paid]:
        give_credits(tx, 50 * CREDIT, users=("ada", "bob"))
        give_credits(tx, 30 * CREDIT, users=("eve",))
        return [prepare_paid(tx) for _ in range(400)]

    paid = await store.write(begin)

    async def reserve(number: int) -> str:
        user = users[number % 3]
        # Planned on a snapshot that is old by the time it is reserved, as in two daemons or one suspended.
        plan = await store.read(
            lambda tx: spending(job_id=paid[number].job_id, microcredits=CREDIT, tx=tx, caps=caps, user=user)
        )
        await store.write(lambda tx: intend_paid(tx, paid[number], plan))
        return user

    outcomes = await asyncio.gather(*(reserve(number) for number in range(400)), return_exceptions=True)
    unforeseen = [o for o in outcomes if not isinstance(o, (str, NoRoom))]
    assert unforeseen == []
    won = [o for o in outcomes if isinstance(o, str)]
    # Eve's grant has 30; ada and bob may have 40 each but their grant has 50: 80 of the 100 tasks.
    assert len(won) == 80
    assert won.count("eve") == 30
    rows = await store.read(query("SELECT cap, held, limit_amount FROM cap_windows"))
    assert all(held <= limit for _, held, limit in rows)
    assert await store.read(lambda tx: tx.balance(GRANT)) == (50 * CREDIT, 50 * CREDIT)
    assert await store.read(query("SELECT count(*) FROM holds")) == [(80,)], "a refused one leaves nothing"
    assert await store.read(broken) == []


@pytest.mark.parametrize(
    ("limits", "expected"), [((3, 50, 50), 3), ((50, 2, 50), 6), ((50, 50, 7), 7), ((0, 50, 50), 0)]
)
async def test_whichever_cap_is_the_lowest_decides(
    store: Store, limits: tuple[int, int, int], expected: int
) -> None:
    night, person, runs = limits
    caps = (
        Cap("night", Measure.COST, Scope.EVERYONE, Period.NIGHT, night * COST),
        Cap("people", Measure.COST, Scope.USER, Period.MONTH, person * COST),
        Cap("runs", Measure.TASKS, Scope.EVERYONE, Period.TOTAL, runs),
    )
    paid = await store.write(lambda tx: [prepare_paid(tx) for _ in range(30)])

    async def reserve(number: int) -> None:
        plan = spending(job_id=paid[number].job_id, caps=caps, user=f"user {number % 3}")
        await store.write(lambda tx: intend_paid(tx, paid[number], plan))

    outcomes = await asyncio.gather(*(reserve(number) for number in range(30)), return_exceptions=True)
    assert outcomes.count(None) == expected
    assert all(o is None or isinstance(o, NoRoom) for o in outcomes)
    assert await store.read(broken) == []


# ------------------------------------------------------------------------ any order keeps every invariant

CAP_COST, CAP_CREDITS = 20 * COST, 15 * CREDIT
MACHINE_CAPS = (
    Cap("night", Measure.COST, Scope.EVERYONE, Period.NIGHT, CAP_COST),
    Cap("people", Measure.CREDITS, Scope.USER, Period.MONTH, CAP_CREDITS),
    Cap("beyond", Measure.OVERAGE, Scope.EVERYONE, Period.DAY, 10 * COST),
)
FATES = ("submitting", "submitted", "settled", "failed", "not sent", "written off")
_amounts = st.integers(1, 6).map(lambda n: n * CREDIT)
_applied = st.one_of(st.none(), st.just(0), _amounts)
REFUNDS = {
    "refund all": Refund(),
    "refund dollars": Refund(microusd=COST // 2),
    "refund credits": Refund(microcredits=CREDIT),
}
EVENTS = (
    *REFUNDS,
    *("accepted", "refused", "lost", "not sent", "written off", "ended", "failed", "taken", "never arrived"),
)
_costs = st.one_of(st.none(), st.integers(0, 4 * COST))


def state_in(tx: StoreTx, paid: Paid) -> str:
    return str(query("SELECT state FROM attempts WHERE id = :id", id=paid.attempt_id)(tx)[0][0])


class LedgerMachine(RuleBasedStateMachine):
    """Everything that money can do, in any order, on the real store; the audit follows every step."""

    template: Path
    folder: Path
    databases = 0
    attempts = Bundle("attempts")

    def __init__(self) -> None:
        super().__init__()
        type(self).databases += 1
        path = self.folder / f"machine-{self.databases}.db"
        shutil.copyfile(self.template, path)
        self.path = path
        self.engine = sqlite_engine(str(path))
        self.connection = self.engine.connect()
        self.now_us = NOW_US
        self.granted = 0

    def write(self, work: Callable[[StoreTx], T]) -> T:
        """One transaction, rolled back whole when the work raises."""
        ((value, error),) = run_transaction(self.connection, [work])
        if error is not None:
            raise error
        result: T = value
        return result

    @initialize(target=attempts)
    def one_of_each(self) -> Any:
        """A beginning from which every rule has something to do."""

        def begin(tx: StoreTx) -> list[Paid]:
            give_credits(tx, 20 * CREDIT, expires_us=self.now_us + 4 * 3_600_000_000)
            found = []
            for fate in FATES:
                paid = prepare_paid(tx)
                plan = spending(
                    job_id=paid.job_id, microcredits=CREDIT, overage_microusd=COST, tx=tx, caps=MACHINE_CAPS
                )
                intend_paid(tx, paid, plan)
                self._bring(tx, paid, fate)
                found.append(paid)
            return found

        return multiple(*self.write(begin))

    @rule(
        amount=_amounts, hours=st.one_of(st.none(), st.integers(1, 5)), users=st.sampled_from([(), ("bob",)])
    )
    def grant(self, amount: int, hours: int | None, users: tuple[str, ...]) -> None:
        expires_us = None if hours is None else self.now_us + hours * 3_600_000_000
        self.write(lambda tx: give_credits(tx, amount, expires_us=expires_us, users=users))

    @rule(
        target=attempts,
        cost=st.integers(1, 3 * COST),
        wanted=st.one_of(st.just(0), _amounts),
        overage=st.booleans(),
        user=st.sampled_from(["ada", "bob"]),
        fate=st.sampled_from(FATES),
    )
    def reserve(self, cost: int, wanted: int, overage: bool, user: str, fate: str) -> Any:
        def work(tx: StoreTx) -> Paid:
            paid = prepare_paid(tx, cost_microusd=cost)
            plan = spending(
                job_id=paid.job_id,
                cost_microusd=cost,
                overage_microusd=cost if overage else 0,
                microcredits=wanted,
                tx=tx,
                caps=MACHINE_CAPS,
                user=user,
                now_us=self.now_us,
            )
            intend_paid(tx, paid, plan)
            self._bring(tx, paid, fate)
            return paid

        before = self.write(query("SELECT cap, held + posted, limit_amount FROM cap_windows"))
        refused = ""
        try:
            return self.write(work)
        except NoRoom as no_room:
            refused = str(no_room)
        self._had_no_room(before, cost, wanted, overage, user, refused)
        return multiple()

    def _bring(self, tx: StoreTx, paid: Paid, fate: str) -> None:
        """Some way along at once: a machine of single steps hardly ever gets to a refund."""
        match fate:
            case "not sent" | "written off":
                lose(tx, paid)
                (say_not_sent if fate == "not sent" else write_off)(tx, paid)
            case "submitted" | "settled" | "failed":
                accept(tx, paid, reply(paid.attempt_id, COST, CREDIT, 0))
        if fate in ("settled", "failed"):
            finish(tx, paid, failure="it broke" if fate == "failed" else None)
            settle_all(tx)

    def _had_no_room(
        self, before: list[tuple[Any, ...]], cost: int, wanted: int, overage: bool, user: str, refused: str
    ) -> None:
        """A reservation is refused only when one of its caps or its grants really is too small."""
        used = {cap: n for cap, n, _ in before}
        grants = self.write(lambda tx: tx.grants_of(PROVIDER))
        spender = Spender(user, None, BACKEND, 1, 1)
        full = [
            used.get("night", 0) + cost > CAP_COST,
            overage and used.get("beyond", 0) + cost > 10 * COST,
            wanted > 0 and isinstance(burn_down(grants, spender, wanted, self.now_us), Shortage),
            wanted > 0 and "people" in refused,
        ]
        assert any(full), f"refused with room: {refused}"

    @rule(
        hours=st.integers(0, 3),
        night=st.one_of(st.none(), st.integers(0, 2 * CAP_COST)),
    )
    def time_passes(self, hours: int, night: int | None) -> None:
        """Something at the house: hours, finished tasks settled, a cap set and set back."""
        self.now_us += hours * 3_600_000_000
        self.write(settle_all)
        for limit in (night, CAP_COST):
            self.write(
                lambda tx, n=limit: tx.set_cap_limit(MACHINE_CAPS[0], None, n, "ada", "x", self.now_us)
            )

    @rule(
        paid=attempts,
        second=attempts,
        event=st.sampled_from(EVENTS),
        again=st.sampled_from(EVENTS),
        taken=st.builds(lambda cost, applied, overage: (cost, applied, overage), _costs, _applied, _costs),
    )
    def happens(self, paid: Paid, second: Paid, event: str, again: str, taken: Any) -> None:
        """Two things at once: a machine of single steps hardly ever gets to a refund."""
        for whose, what in ((paid, event), (second, again)):
            self.write(lambda tx, w=whose, e=what: self._event(tx, w, e, taken))

    def _event(self, tx: StoreTx, paid: Paid, event: str, taken: Any) -> None:
        state = state_in(tx, paid)
        match event, state:
            case "accepted", "submitting":
                accept(tx, paid, reply(paid.attempt_id, *taken))
            case "refused", "submitting":
                assert tx.end_attempt(paid.attempt_id, AttemptEvent.REFUSE, self.now_us, "no")
                assert tx.move_job(paid.job_id, JobEvent.SEND_BACK, self.now_us, "back")
            case "lost", "submitting":
                lose(tx, paid)
            case "not sent", "in_doubt":
                say_not_sent(tx, paid)
            case "written off", "in_doubt":
                write_off(tx, paid)
            case (("ended" | "failed"), "submitted"):
                finish(tx, paid, failure=None if event == "ended" else "it broke")
            case "taken", _:
                evidence = reply(paid.attempt_id, *taken)
                tx.correct_attempt(paid.attempt_id, evidence, "x", self.now_us, self.now_us)
            case "never arrived", _:
                gone = NeverArrived("no such job")
                tx.correct_attempt(paid.attempt_id, gone, "x", self.now_us, self.now_us)
            case (
                ("refund all" | "refund dollars" | "refund credits"),
                ("settled" | "failed" | "written_off"),
            ):
                self._refund(tx, paid, REFUNDS[event])

    def _refund(self, tx: StoreTx, paid: Paid, refund: Refund) -> None:
        less = ""
        try:
            tx.refund_attempt(paid.attempt_id, refund, "ada", "x", self.now_us)
        except UsageError as error:
            less = str(error)
        assert not less or "left" in less or "already" in less

    @rule(target=attempts, paid=attempts)
    def sent_again(self, paid: Paid) -> Any:
        def work(tx: StoreTx) -> Paid:
            again = prepare_again(tx, paid.job_id)
            intend_paid(tx, again, spending(job_id=paid.job_id, caps=MACHINE_CAPS, now_us=self.now_us))
            return again

        waits = self.write(query("SELECT state FROM jobs WHERE id = :id", id=paid.job_id)) == [("waiting",)]
        if not waits:
            return multiple()
        try:
            return self.write(work)
        except NoRoom:
            return multiple()

    @invariant()
    def the_books_agree(self) -> None:
        self.write(lambda tx: tx.expire_grants(self.now_us))
        assert self.write(lambda tx: broken(tx, now_us=self.now_us)) == []

    def teardown(self) -> None:
        self.connection.close()
        self.engine.dispose()
        self.path.unlink()


def test_any_order_of_everything_keeps_every_invariant(databases: Databases, tmp_path: Path) -> None:
    url = databases.make("sqlite", tmp_path)

    class Machine(LedgerMachine):
        template = Path(url.removeprefix("sqlite:///"))
        folder = tmp_path

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=60,
            stateful_step_count=30,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
