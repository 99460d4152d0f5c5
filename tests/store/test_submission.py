"""Intent, hold, outcome: every guard, from every state it must refuse."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from sqlalchemy.exc import IntegrityError

from scheduler.core.admission import Pause
from scheduler.core.audit import AuditReport, Finding
from scheduler.core.breaker import BreakerRules, Move, Phase, Trouble
from scheduler.core.ledger import Account, AccountKind, HoldPart
from scheduler.core.lifecycle import AttemptEvent, AttemptState, JobEvent, JobState
from scheduler.core.records import OpenTask
from scheduler.core.task import BIT_0_FIRST, Accepted, Completed, CostFacts
from scheduler.errors import ImpossibleArrow
from scheduler.ports_store import Store
from scheduler.store.open import open_store
from scheduler.store.tx import StoreTx
from tests.support.stores import (
    BACKEND,
    COST,
    NIGHT_KEY,
    NOW_US,
    SECOND_US,
    Case,
    Refused,
    accept,
    accepted,
    arm,
    attempt_in,
    attempt_state,
    broken_books,
    commit_intent,
    finish,
    hold,
    intend,
    lose_sight,
    night_books,
    plan_and_hold,
    prepare,
    priced_jobs,
    query,
    settle_all,
    spending_of,
)

A = AttemptState
LATER_US = NOW_US + 60 * SECOND_US


async def books(store: Store) -> tuple[int, int]:
    found = await store.read(night_books)
    assert await store.read(broken_books) == []
    return found.held, found.posted


async def hold_of(store: Store, case: Case) -> tuple[int | None, str | None]:
    (attempt,) = await store.read(lambda tx: tx.attempts_of(case.job_id))
    return attempt.hold_microusd, attempt.hold_state


# ---------------------------------------------------------------------- every write, from every state

Change = Callable[[StoreTx, Case], bool]


def _finish_completed(tx: StoreTx, case: Case) -> bool:
    known = tx.open_task(case.attempt_id)
    request = known.request if known else None
    task = known or OpenTask(case.attempt_id, case.job_id, BACKEND, "p", NOW_US, 0, 0, request)  # type: ignore[arg-type]
    return tx.finish_completed(task, Completed(({"0": 1},), BIT_0_FIRST), NOW_US)


#: method -> the only states it may leave, and where it leads.
CHANGES: dict[str, tuple[Change, dict[AttemptState, AttemptState]]] = {
    "commit_intent": (
        lambda tx, case: commit_intent(tx, case, paid=False),
        {A.PREPARED: A.SUBMITTING},
    ),
    "attempt_accepted": (
        lambda tx, case: tx.attempt_accepted(case.attempt_id, accepted(case.attempt_id), NOW_US),
        {A.SUBMITTING: A.SUBMITTED, A.IN_DOUBT: A.SUBMITTED},
    ),
    "refuse": (
        lambda tx, case: tx.end_attempt(case.attempt_id, AttemptEvent.REFUSE, NOW_US, "422"),
        {A.SUBMITTING: A.REFUSED},
    ),
    "not sent": (
        lambda tx, case: tx.end_attempt(case.attempt_id, AttemptEvent.NOT_SENT, NOW_US, "no route"),
        {A.PREPARED: A.NOT_SENT, A.SUBMITTING: A.NOT_SENT},
    ),
    "never arrived": (
        lambda tx, case: tx.end_attempt(case.attempt_id, AttemptEvent.NEVER_ARRIVED, NOW_US, "not listed"),
        {A.IN_DOUBT: A.NOT_SENT},
    ),
    "lose_sight": (
        lambda tx, case: tx.lose_sight(case.attempt_id, NOW_US, "reset"),
        {A.SUBMITTING: A.IN_DOUBT},
    ),
    "write_off": (
        lambda tx, case: tx.write_off(case.attempt_id, NOW_US, "ada", "nobody knows"),
        {A.IN_DOUBT: A.WRITTEN_OFF},
    ),
    "finish_completed": (_finish_completed, {A.SUBMITTED: A.FINISHED}),
    "finish_failed": (
        lambda tx, case: tx.finish_failed(case.attempt_id, "calibration", "{}", False, NOW_US),
        {A.SUBMITTED: A.FINISHED},
    ),
}


@pytest.mark.parametrize("state", list(AttemptState))
async def test_every_guarded_update_leaves_only_the_states_it_may(store: Store, state: AttemptState) -> None:
    for method, (change, arrows) in CHANGES.items():
        case = await store.write(lambda tx: attempt_in(tx, state))
        before = await store.read(query("SELECT * FROM attempts WHERE id = :id", id=case.attempt_id))
        money = await books(store)
        won = await store.write(lambda tx, c=change, k=case: c(tx, k))
        assert won == (state in arrows), f"{method} out of {state}"
        assert await store.read(attempt_state(case.attempt_id)) == arrows.get(state, state), method
        if not won:
            after = await store.read(query("SELECT * FROM attempts WHERE id = :id", id=case.attempt_id))
            assert (after, await books(store)) == (before, money), f"{method} touched a row it lost"


@pytest.mark.parametrize(
    "event",
    [e for e in AttemptEvent if e not in {AttemptEvent.REFUSE, AttemptEvent.NOT_SENT, "never arrived"}],
)
async def test_an_attempt_that_may_cost_something_cannot_be_ended_for_nothing(
    store: Store, event: AttemptEvent
) -> None:
    case = await store.write(lambda tx: attempt_in(tx, A.IN_DOUBT))
    with pytest.raises(ImpossibleArrow):
        await store.write(lambda tx: tx.end_attempt(case.attempt_id, event, NOW_US, "a mistake"))
    assert await hold_of(store, case) == (COST, "open")


async def test_an_attempt_nobody_knows_is_nobodys_to_change(store: Store) -> None:
    ghost = Case(1, "ghost")
    for method, (change, _) in CHANGES.items():
        assert not await store.write(lambda tx, c=change: c(tx, ghost)), method


# ----------------------------------------------------------------------------------------------- intent


async def test_an_intent_is_committed_once_whoever_races_for_it(store: Store) -> None:
    case = await store.write(lambda tx: attempt_in(tx, A.PREPARED))
    won = await asyncio.gather(*(store.write(lambda tx: commit_intent(tx, case)) for _ in range(50)))
    assert sum(won) == 1
    posts = await store.read(query("SELECT posts FROM attempts WHERE id = :id", id=case.attempt_id))
    assert posts == [(1,)]


@pytest.mark.parametrize("why", ["disarmed", "no room", "no credits"])
async def test_an_intent_without_its_hold_is_no_intent(store: Store, why: str) -> None:
    case = await store.write(lambda tx: attempt_in(tx, A.PREPARED))
    if why == "disarmed":
        await store.write(lambda tx: tx.disarm("ada", "enough", NOW_US))
    if why == "no room":
        await store.write(lambda tx: arm(tx, COST - 1))
    parts = (HoldPart(Account(AccountKind.GRANT, "7"), 1),) if why == "no credits" else ()

    def intend_paid(tx: StoreTx) -> None:
        assert commit_intent(tx, case)
        if why == "disarmed":
            plan_and_hold(tx, case)
        elif tx.take_hold(case.attempt_id, replace(spending_of(COST), credit_parts=parts), NOW_US):
            raise Refused

    with pytest.raises(Refused):
        await store.write(intend_paid)
    assert await store.read(attempt_state(case.attempt_id)) == A.PREPARED
    assert await books(store) == (0, 0)
    assert await store.read(query("SELECT count(*) FROM holds")) == [(0,)]


# ------------------------------------------------------------------------------------------------ holds


async def many_prepared(store: Store, count: int, cost: int = COST) -> list[Case]:
    return await store.write(lambda tx: prepare(tx, priced_jobs(tx, count, cost)))


async def race(stores: Sequence[Store], cases: list[Case]) -> int:
    """How many of the holds were taken; each was planned before any of them."""
    outcomes = await asyncio.gather(
        *(stores[n % len(stores)].write(lambda tx, c=c: hold(tx, c)) for n, c in enumerate(cases)),
        return_exceptions=True,
    )
    assert [o for o in outcomes if o is not None and not isinstance(o, Refused)] == []
    return outcomes.count(None)


async def test_four_hundred_racing_holds_never_exceed_the_limit(store: Store) -> None:
    cases = await many_prepared(store, 400)
    await store.write(lambda tx: arm(tx, 100 * COST))
    assert await race([store], cases) == 100
    found = await store.read(night_books)
    assert (found.held, found.free) == (100 * COST, 0)


async def test_racing_holds_on_connections_of_their_own_never_exceed_the_limit(
    store: Store, database_url: str
) -> None:
    cases = await many_prepared(store, 80)
    await store.write(lambda tx: arm(tx, 20 * COST))
    others = [open_store(database_url) for _ in range(4)]
    try:
        assert await race(others, cases) == 20
    finally:
        for other in others:
            await other.close()
    found = await store.read(night_books)
    assert (found.held, found.free) == (20 * COST, 0)


async def taken(store: Store, case: Case, amount: int = COST) -> bool:
    """Decide and hold in one transaction, as the stage does."""
    try:
        await store.write(lambda tx: plan_and_hold(tx, case, amount))
    except Refused:
        return False
    return True


@pytest.mark.parametrize(("asked", "fits"), [(COST, True), (COST + 1, False), (0, True)])
async def test_a_hold_fits_up_to_the_last_micro_dollar(store: Store, asked: int, fits: bool) -> None:
    planned, plain = await many_prepared(store, 2)
    await store.write(lambda tx: arm(tx, COST))
    assert await taken(store, planned, asked) == fits
    await store.write(lambda tx: tx.end_attempt(planned.attempt_id, AttemptEvent.NOT_SENT, NOW_US, "no"))
    assert await held(store, plain, asked) == fits, "the row decides as the plan did"


async def held(store: Store, case: Case, amount: int) -> bool:
    """Hold what was planned before the books became what they are."""
    try:
        await store.write(lambda tx: hold(tx, case, amount))
    except Refused:
        return False
    return True


async def test_disarmed_nothing_is_held(store: Store) -> None:
    (case,) = await many_prepared(store, 1)
    assert not await taken(store, case)
    await store.write(lambda tx: arm(tx, once="2026-11-23"))
    assert not await taken(store, case)
    await store.write(arm)
    await store.write(lambda tx: tx.disarm("ada", "enough", NOW_US))
    assert not await taken(store, case)
    assert await store.read(query("SELECT count(*) FROM holds")) == [(0,)]


async def test_a_zero_limit_allows_nothing_that_costs(store: Store) -> None:
    (case,) = await many_prepared(store, 1)
    await store.write(lambda tx: arm(tx, 0))
    assert not await taken(store, case, 1)
    assert not await held(store, case, 1)


async def test_a_lowered_limit_keeps_what_is_held_and_refuses_more(store: Store) -> None:
    first, second = await many_prepared(store, 2)
    await store.write(lambda tx: arm(tx, 10 * COST))
    await store.write(lambda tx: intend(tx, first))
    await store.write(lambda tx: arm(tx, COST - 1))
    assert await books(store) == (COST, 0)
    assert not await held(store, second, 1)
    await store.write(lambda tx: tx.end_attempt(first.attempt_id, AttemptEvent.REFUSE, NOW_US, "no"))
    assert await held(store, second, 1)


async def test_an_attempt_has_one_hold_at_most(store: Store) -> None:
    case = await store.write(lambda tx: attempt_in(tx, A.SUBMITTING))
    with pytest.raises(IntegrityError):
        await store.write(lambda tx: hold(tx, case))
    assert await books(store) == (COST, 0), "the money went back with the transaction"


@pytest.mark.parametrize(
    ("state", "event"),
    [
        (A.SUBMITTING, AttemptEvent.REFUSE),
        (A.SUBMITTING, AttemptEvent.NOT_SENT),
        (A.IN_DOUBT, AttemptEvent.NEVER_ARRIVED),
    ],
)
async def test_a_hold_is_given_back_exactly_once(
    store: Store, state: AttemptState, event: AttemptEvent
) -> None:
    case = await store.write(lambda tx: attempt_in(tx, state))
    ended = await asyncio.gather(
        *(store.write(lambda tx: tx.end_attempt(case.attempt_id, event, NOW_US, "no")) for _ in range(10))
    )
    assert sum(ended) == 1
    assert await books(store) == (0, 0)
    assert await hold_of(store, case) == (COST, "voided")


async def test_an_attempt_on_a_free_backend_ends_without_a_hold(store: Store) -> None:
    case = await store.write(lambda tx: attempt_in(tx, A.SUBMITTING, hold=None))
    assert await store.write(lambda tx: tx.end_attempt(case.attempt_id, AttemptEvent.REFUSE, NOW_US, "no"))
    doubt = await store.write(lambda tx: attempt_in(tx, A.IN_DOUBT, hold=None))
    assert await store.write(lambda tx: tx.write_off(doubt.attempt_id, NOW_US, "ada", "never mind"))
    assert await hold_of(store, doubt) == (None, None)


async def test_in_doubt_keeps_the_hold_and_a_write_off_posts_all_of_it(store: Store) -> None:
    case = await store.write(lambda tx: attempt_in(tx, A.IN_DOUBT))
    assert await books(store) == (COST, 0)
    assert await store.read(lambda tx: tx.in_doubt_use(NIGHT_KEY)) == COST
    assert await store.write(lambda tx: tx.write_off(case.attempt_id, NOW_US, "ada", "nobody knows"))
    assert not await store.write(lambda tx: tx.write_off(case.attempt_id, NOW_US, "ada", "nobody knows"))
    assert await books(store) == (0, COST)
    assert await store.read(lambda tx: tx.in_doubt_use(NIGHT_KEY)) == 0


@pytest.mark.parametrize(("charged", "excess"), [(COST - 1, 0), (COST, 0), (COST + 7, 7)])
async def test_a_hold_is_raised_to_what_was_charged_and_never_lowered(
    store: Store, charged: int, excess: int
) -> None:
    await store.write(lambda tx: arm(tx, COST))
    case = await store.write(lambda tx: attempt_in(tx, A.SUBMITTED, cost=charged))
    assert await store.write(lambda tx: tx.cover_cost(case.attempt_id, charged)) == excess
    assert await store.write(lambda tx: tx.cover_cost(case.attempt_id, charged)) == 0, "once is enough"
    assert await books(store) == (COST + excess, 0)
    await store.write(lambda tx: (finish(tx, case), settle_all(tx)))
    assert await books(store) == (0, charged)
    assert await store.read(query("SELECT overrun_microusd FROM holds")) == [(excess,)]


@pytest.mark.parametrize("state", [A.PREPARED, A.REFUSED, A.NOT_SENT, A.SETTLED, A.FAILED, A.WRITTEN_OFF])
async def test_a_hold_that_is_closed_or_was_never_taken_is_not_raised(
    store: Store, state: AttemptState
) -> None:
    case = await store.write(lambda tx: attempt_in(tx, state))
    before = await books(store)
    assert await store.write(lambda tx: tx.cover_cost(case.attempt_id, 9 * COST)) == 0
    assert await books(store) == before


# --------------------------------------------------------------------------------------------- outcomes


async def test_an_id_that_another_attempt_has_is_not_taken(store: Store) -> None:
    await store.write(lambda tx: attempt_in(tx, A.SUBMITTED))
    (known,) = await store.read(query("SELECT provider_job_id FROM attempts"))
    case = await store.write(lambda tx: attempt_in(tx, A.SUBMITTING))
    same = accepted(case.attempt_id, provider_job_id=known[0])
    assert not await store.write(lambda tx: tx.attempt_accepted(case.attempt_id, same, NOW_US))
    assert await store.read(attempt_state(case.attempt_id)) == A.SUBMITTING, (
        "it is lost sight of, not dropped"
    )


async def test_the_same_id_at_another_provider_is_another_task(store: Store) -> None:
    first = await store.write(lambda tx: attempt_in(tx, A.SUBMITTED))
    (known,) = await store.read(
        query("SELECT provider_job_id FROM attempts WHERE id = :id", id=first.attempt_id)
    )
    case = await store.write(lambda tx: attempt_in(tx, A.SUBMITTING, backend="other:iqm"))
    same = accepted(case.attempt_id, provider_job_id=known[0])
    assert await store.write(lambda tx: tx.attempt_accepted(case.attempt_id, same, NOW_US))


async def test_a_late_acceptance_is_never_dropped(store: Store) -> None:
    case = await store.write(lambda tx: attempt_in(tx, A.IN_DOUBT))
    await store.write(lambda tx: accept(tx, case))
    assert await store.read(attempt_state(case.attempt_id)) == A.SUBMITTED
    assert (await store.read(lambda tx: tx.job_record(case.job_id))).state is JobState.RUNNING
    assert await hold_of(store, case) == (COST, "open")
    assert await store.read(lambda tx: tx.open_task(case.attempt_id)) is not None


async def test_an_answer_without_a_body_keeps_the_one_that_came_before(store: Store) -> None:
    case = await store.write(lambda tx: attempt_in(tx, A.SUBMITTING))
    await store.write(lambda tx: tx.lose_sight(case.attempt_id, NOW_US, "502", "<html>"))
    found = Accepted("p-1", "found", CostFacts(), "")
    assert await store.write(lambda tx: tx.attempt_accepted(case.attempt_id, found, NOW_US))
    (attempt,) = await store.read(lambda tx: tx.attempts_of(case.job_id))
    assert (attempt.raw_reply, attempt.reason, attempt.provider_job_id) == ("<html>", None, "p-1")


async def test_losing_sight_keeps_the_raw_reply_that_came_before(store: Store) -> None:
    case = await store.write(lambda tx: attempt_in(tx, A.SUBMITTING))
    await store.write(lambda tx: tx.lose_sight(case.attempt_id, NOW_US, "half a body", '{"job_'))
    await store.write(lambda tx: tx.write_off(case.attempt_id, NOW_US, "ada", "nobody knows"))
    (attempt,) = await store.read(lambda tx: tx.attempts_of(case.job_id))
    assert (attempt.raw_reply, attempt.reason) == ('{"job_', "nobody knows")


@pytest.mark.parametrize("words", ["a\x00b", "a\udcffb"])
async def test_words_of_a_provider_that_no_database_takes_are_kept_readable(store: Store, words: str) -> None:
    case = await store.write(lambda tx: attempt_in(tx, A.SUBMITTING))
    await store.write(lambda tx: tx.lose_sight(case.attempt_id, NOW_US, words, words))
    await store.write(lambda tx: tx.note((case.job_id,), NOW_US, "in doubt", words))
    (attempt,) = await store.read(lambda tx: tx.attempts_of(case.job_id))
    assert (attempt.raw_reply, attempt.reason) == ("a\ufffdb", "a\ufffdb")


async def test_lost_attempts_are_those_being_sent_and_those_in_doubt(store: Store) -> None:
    cases = await store.write(lambda tx: {state: attempt_in(tx, state) for state in AttemptState})
    lost = await store.read(lambda tx: tx.lost_attempts())
    wanted = {cases[s].attempt_id: s for s in (A.SUBMITTING, A.IN_DOUBT)}
    assert {attempt.attempt_id: attempt.state for attempt in lost} == wanted
    assert len(await store.read(lambda tx: tx.lost_attempts(1))) == 1


# ---------------------------------------------------------------------------------------- the send gate


BROKEN_BOOKS = AuditReport(True, (), (Finding("caps-kept", "caps are kept", ({"key": "night"},)),), None)


def break_down(tx: StoreTx, trouble: Trouble) -> None:
    tx.record_breaker(BACKEND, trouble, NOW_US, BreakerRules())


async def gate(store: Store, case: Case, now_us: int = NOW_US, paid: bool = True) -> str | None:
    return await store.read(lambda tx: tx.send_refusal(case.attempt_id, now_us, paid))


async def test_an_attempt_with_its_intent_may_be_sent(store: Store) -> None:
    case = await store.write(lambda tx: attempt_in(tx, A.SUBMITTING))
    assert await gate(store, case) is None
    assert await gate(store, case, LATER_US) is None, "the last moment still counts"


@pytest.mark.parametrize("state", [s for s in AttemptState if s is not A.SUBMITTING])
async def test_only_an_attempt_being_sent_may_be_sent(store: Store, state: AttemptState) -> None:
    case = await store.write(lambda tx: attempt_in(tx, state))
    assert "no longer ours" in (await gate(store, case) or "")


async def test_an_unknown_attempt_is_not_sent(store: Store) -> None:
    assert "no longer ours" in (await gate(store, Case(1, "ghost")) or "")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda tx, case: tx.ask_cancel(case.job_id, NOW_US), "cancelled"),
        (lambda tx, case: tx.disarm("ada", "enough", NOW_US), "disarmed"),
        (lambda tx, case: tx.pause_backend(BACKEND, Pause("breaker", "broken"), NOW_US), "broken"),
        (lambda tx, case: tx.pause_backend("coda", Pause("breaker", "no token"), NOW_US), "no token"),
        (lambda tx, case: break_down(tx, Trouble.OVERRUN), "the breaker of coda:iqm opened"),
        (lambda tx, case: break_down(tx, Trouble.CREDENTIALS), "refused our credentials"),
        (lambda tx, case: tx.record_audit(BROKEN_BOOKS, "nightshot", NOW_US), "books"),
        (lambda tx, case: tx.begin_audit(NOW_US), "audit"),
        (lambda tx, case: tx.pause_backend(BACKEND, Pause("rate", "busy", LATER_US), NOW_US), "busy"),
    ],
)
async def test_what_changed_since_the_intent_stops_the_first_byte(
    store: Store, change: Callable[[StoreTx, Case], object], told: str
) -> None:
    case = await store.write(lambda tx: attempt_in(tx, A.SUBMITTING))
    await store.write(lambda tx: change(tx, case))
    assert told in (await gate(store, case) or "")


async def test_the_one_probe_of_an_open_breaker_may_go(store: Store) -> None:
    case = await store.write(lambda tx: attempt_in(tx, A.SUBMITTING))
    rules = BreakerRules(failures=1)
    await store.write(lambda tx: tx.record_breaker(BACKEND, Trouble.FAILURE, NOW_US - 2 * 10**9, rules))
    assert await gate(store, case) is None, "its time has come"
    probing = await store.write(lambda tx: tx.record_breaker(BACKEND, Move.PROBE, NOW_US, rules))
    assert probing.phase is Phase.HALF_OPEN
    assert await gate(store, case) is None


async def test_a_machine_that_woke_up_too_late_sends_nothing(store: Store) -> None:
    case = await store.write(lambda tx: attempt_in(tx, A.SUBMITTING))
    assert "later than that" in (await gate(store, case, LATER_US + 1) or "")


async def test_a_pause_that_is_over_stops_nothing_and_hides_no_other(store: Store) -> None:
    case = await store.write(lambda tx: attempt_in(tx, A.SUBMITTING))
    for name in ("coda", BACKEND):
        for code in ("clock", "rate", "suspended"):
            over = Pause(code, "over", NOW_US)
            await store.write(lambda tx, n=name, p=over: tx.pause_backend(n, p, NOW_US))
    assert await gate(store, case) is None
    for name in ("coda", BACKEND):
        for until_us in (LATER_US, None):
            still = Pause("rate", "still", until_us)
            await store.write(lambda tx, n=name, p=still: tx.pause_backend(n, p, NOW_US))
            assert "still" in (await gate(store, case) or "")
        assert await store.write(lambda tx, n=name: tx.clear_pause(n, "rate"))
        assert await gate(store, case) is None


async def test_a_free_attempt_needs_nobody_to_arm(store: Store) -> None:
    case = await store.write(lambda tx: attempt_in(tx, A.SUBMITTING, hold=None))
    assert await gate(store, case, paid=False) is None
    assert "disarmed" in (await gate(store, case, paid=True) or "")


async def test_a_cancel_that_was_asked_is_remembered(store: Store) -> None:
    case = await store.write(lambda tx: attempt_in(tx, A.SUBMITTING))
    assert not await store.read(lambda tx: tx.cancel_asked(case.job_id))
    await store.write(lambda tx: tx.ask_cancel(case.job_id, NOW_US))
    assert await store.read(lambda tx: tx.cancel_asked(case.job_id))


async def test_a_new_try_after_a_doubt_that_ended_has_a_hold_of_its_own(store: Store) -> None:
    case = await store.write(lambda tx: attempt_in(tx, A.SUBMITTING))
    await store.write(lambda tx: lose_sight(tx, case))
    await store.write(lambda tx: tx.end_attempt(case.attempt_id, AttemptEvent.NEVER_ARRIVED, NOW_US, "no"))
    await store.write(lambda tx: tx.move_job(case.job_id, JobEvent.SEND_BACK, NOW_US, "again"))
    (second,) = await store.write(lambda tx: prepare(tx, [case.job_id]))
    await store.write(lambda tx: intend(tx, second))
    assert await books(store) == (COST, 0)
    holds = await store.read(query("SELECT state FROM holds ORDER BY state"))
    assert holds == [("open",), ("voided",)]
