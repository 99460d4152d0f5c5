"""Sending: at most once, with the money held before, and the truth written down afterwards."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, time
from functools import partial

import pytest

from scheduler.core.admission import DoubtLimits, Pause
from scheduler.core.caps import Cap, Measure, Period, Scope
from scheduler.core.intents import Intent
from scheduler.core.pricing import Estimate
from scheduler.core.spending import SpendingRules
from scheduler.core.task import NotSent, Outcome, RefusalKind, Refused, Unknown
from scheduler.core.timing import to_datetime
from scheduler.core.windows import Hours
from scheduler.errors import TryAgain
from scheduler.journal import IntentJournal
from scheduler.policies.overage import Overage, OveragePolicy, decide_overage
from scheduler.ports import ReplySlot
from scheduler.replies import ReplySlots
from tests.support.bench import BACKEND, PRICE, Bench, MakeBench, Moody, accepted
from tests.support.books import CREDIT, broken, give_credits


def refused(kind: RefusalKind, **other: float) -> Refused:
    return Refused(kind, "no", **other)


#: outcome, job, attempt, hold, pauses as (backend, code, until a person)
OUTCOMES = [
    (accepted(), "running", "submitted", "open", []),
    (accepted(cost=None), "running", "submitted", "open", []),
    (refused(RefusalKind.INVALID), "rejected", "refused", "voided", []),
    (refused(RefusalKind.CREDENTIALS), "waiting", "refused", "voided", [("coda", "breaker", 1)]),
    (refused(RefusalKind.CREDITS), "waiting", "refused", "voided", [("coda", "credits", 1)]),
    (refused(RefusalKind.BUSY), "waiting", "refused", "voided", [(BACKEND, "rate", 0)]),
    (NotSent("no route"), "waiting", "not_sent", "voided", [(BACKEND, "backend-offline", 0)]),
    (Unknown("502", "<html>"), "in_doubt", "in_doubt", "open", []),
    (RuntimeError("a bug"), "in_doubt", "in_doubt", "open", []),
]


@pytest.mark.parametrize(("outcome", "job", "attempt", "hold", "pauses"), OUTCOMES)
async def test_an_outcome_says_what_becomes_of_job_attempt_and_money(
    bench: Bench, outcome: Outcome, job: str, attempt: str, hold: str, pauses: list[tuple[object, ...]]
) -> None:
    bench.provider.outcomes.append(outcome)
    await bench.running()
    assert await bench.states() == [(job, attempt, hold)]
    assert await bench.pauses() == pauses
    assert len(bench.provider.sent) == 1


async def test_a_provider_that_fails_before_the_gate_has_sent_nothing(bench: Bench) -> None:
    async def fail() -> None:
        raise RuntimeError("a bug before the gate was asked")

    bench.provider.before_gate = fail
    await bench.running()
    assert await bench.states() == [("waiting", "not_sent", "voided")]


async def test_an_attempt_in_doubt_is_never_sent_again(bench: Bench) -> None:
    bench.provider.outcomes.append(Unknown("502"))
    await bench.running()
    for _ in range(3):
        bench.again()
        await bench.reconcile.at_start()
        bench.pass_s(3600)
        await bench.admit.step()
        await bench.send()
    assert len(bench.provider.sent) == 1


async def test_without_room_for_a_reply_nothing_is_sent(bench: Bench) -> None:
    class Full(ReplySlots):
        def reserve(self) -> ReplySlot:  # type: ignore[override]
            raise TryAgain("no room for a reply")

    bench.replies = Full(bench.folder / "full")
    bench.again()
    await bench.admitted()
    await bench.send()
    assert bench.provider.sent == []
    assert await bench.states() == [("admitted", "prepared", None)]


@pytest.mark.parametrize(
    ("what", "job"),
    [("disarm", "waiting"), ("cancel", "cancelled"), ("pause", "waiting"), ("late", "waiting")],
)
async def test_the_send_gate_looks_again_before_the_first_byte(bench: Bench, what: str, job: str) -> None:
    (number,) = await bench.admitted()

    async def change_your_mind() -> None:
        now_us = bench.clock.now_us()
        match what:
            case "disarm":
                await bench.disarm()
            case "cancel":
                await bench.store.write(lambda tx: tx.ask_cancel(number, now_us))
            case "pause":
                pause = Pause("breaker", "401", None)
                await bench.store.write(lambda tx: tx.pause_backend("coda", pause, now_us))
            case "late":
                bench.pass_s(3601)

    bench.provider.before_gate = change_your_mind
    await bench.send()
    assert bench.provider.sent == []
    assert len(bench.provider.vetoes) == 1
    assert await bench.states() == [(job, "not_sent", "voided")]
    assert not await bench.rows("SELECT * FROM pauses WHERE code = 'backend-offline'")


async def test_the_store_that_cannot_be_asked_is_a_no(bench: Bench) -> None:
    moody = Moody(bench.store)
    bench.kit.store = moody

    async def away() -> None:
        async def refuse(work: object) -> object:
            raise TryAgain("the database is away")

        moody.read = refuse  # type: ignore[method-assign, assignment]

    await bench.admitted()
    bench.provider.before_gate = away
    await bench.send()
    assert bench.provider.sent == []
    assert bench.provider.vetoes == ["the store could not be asked: the database is away"]


async def test_doubts_that_came_meanwhile_stop_those_already_admitted(make_bench: MakeBench) -> None:
    bench = make_bench(slots=10, concurrency=1, doubts=DoubtLimits(2, 10**12))
    await bench.arm()
    bench.provider.outcomes.extend(Unknown("502") for _ in range(10))
    await bench.admitted(6)
    for _ in range(6):
        await bench.send()
    assert len(bench.provider.sent) == 2
    assert [job for job, _, _ in await bench.states()] == ["in_doubt"] * 2 + ["waiting"] * 4


async def test_a_cap_that_was_lowered_meanwhile_takes_no_new_hold(bench: Bench) -> None:
    await bench.admitted(3)
    await bench.arm(2 * PRICE)
    await bench.send()
    assert sorted(await bench.states()) == sorted(
        [("running", "submitted", "open")] * 2 + [("waiting", "not_sent", None)]
    )
    assert await bench.night() == (2 * PRICE, 0)


async def test_a_limit_of_nothing_sends_nothing_though_the_price_is_zero(bench: Bench) -> None:
    bench.provider.estimates.extend(Estimate(0, "coda") for _ in range(2))
    await bench.arm(0)
    await bench.receive()
    await bench.estimate.step()
    assert await bench.admit.step() == 0
    await bench.arm()
    await bench.admit.step()
    await bench.arm(0)
    await bench.send()
    assert bench.provider.sent == []
    assert await bench.states() == [("waiting", "not_sent", None)]


async def test_a_quote_that_ran_out_meanwhile_is_asked_for_again(bench: Bench) -> None:
    await bench.admitted()
    bench.pass_s(3601)
    await bench.send()
    assert bench.provider.sent == []
    assert await bench.states() == [("waiting", "not_sent", None)]
    await bench.admit.step()
    assert await bench.states() == [("waiting", "not_sent", None)]
    await bench.estimate.step()
    await bench.admit.step()
    await bench.send()
    assert len(bench.provider.asked) == 2
    assert await bench.states() == [("running", "submitted", "open")]


async def test_a_charge_above_the_quote_is_held_at_once_and_stops_the_backend(bench: Bench) -> None:
    bench.provider.outcomes.append(accepted(cost=3 * PRICE))
    await bench.running()
    assert await bench.rows("SELECT amount_microusd, overrun_microusd FROM holds") == [(3 * PRICE, 2 * PRICE)]
    assert await bench.night() == (3 * PRICE, 0)
    assert await bench.pauses() == [(BACKEND, "breaker", 1)]
    told = await bench.rows("SELECT sentence FROM job_events WHERE event = 'overrun'")
    assert told == [(f"{BACKEND} charged $3.90 where $1.30 was quoted",)]


async def test_an_overrun_may_break_the_cap_and_nothing_more_fits_before_it_is_settled(bench: Bench) -> None:
    await bench.arm(2 * PRICE)
    bench.provider.outcomes.append(accepted(cost=2 * PRICE))
    await bench.running()
    await bench.store.write(lambda tx: tx.clear_pause(BACKEND))
    await bench.receive()
    await bench.estimate.step()
    assert await bench.admit.step() == 0


CREDITS_CAP = Cap("credits", Measure.CREDITS, Scope.EVERYONE, Period.TOTAL, 50_000_000)


async def test_more_credits_than_were_reserved_stop_the_backend_and_fill_their_cap(
    make_bench: MakeBench,
) -> None:
    bench = make_bench(spending=SpendingRules(caps=(CREDITS_CAP,)))
    await bench.arm()
    bench.provider.outcomes.append(accepted(credit=90))
    await bench.running()
    told = await bench.rows("SELECT sentence FROM job_events WHERE event = 'overrun'")
    assert told == [(f"{BACKEND} took 90 credits where 2 were reserved",)]
    assert await bench.pauses() == [(BACKEND, "breaker", 1)]
    window = "SELECT held, excused FROM cap_windows WHERE cap = 'credits'"
    assert await bench.rows(window) == [(90_000_000, 40_000_000)]
    assert await bench.store.read(broken) == []


async def test_overage_that_nobody_accepted_stops_the_backend(bench: Bench) -> None:
    taken = accepted()
    cost = replace(taken.cost, overage_microusd=500_000)
    bench.provider.outcomes.append(replace(taken, cost=cost))
    await bench.running()
    told = await bench.rows("SELECT sentence FROM job_events WHERE event = 'overrun'")
    assert told == [(f"{BACKEND} charged $0.50 of overage where $0.00 were reserved for it",)]
    assert await bench.pauses() == [(BACKEND, "breaker", 1)]


async def test_a_rounded_cent_is_no_reason_to_stop(bench: Bench) -> None:
    bench.provider.outcomes.append(accepted(cost=PRICE + 10_000))
    await bench.running()
    assert await bench.rows("SELECT amount_microusd, overrun_microusd FROM holds") == [
        (PRICE + 10_000, 10_000)
    ]
    assert await bench.pauses() == []


async def test_a_busy_answer_does_not_lift_what_a_person_must_lift(bench: Bench) -> None:
    bench.provider.outcomes.extend([accepted(cost=3 * PRICE), refused(RefusalKind.BUSY)])
    await bench.running(2)
    assert (BACKEND, "breaker", 1) in await bench.pauses()


async def test_an_outcome_is_written_however_long_the_store_is_away(bench: Bench) -> None:
    moody = Moody(bench.store)
    bench.kit.store = moody

    async def break_the_disk() -> None:
        moody.refusals = deque([TryAgain("disk full")] * 50)

    await bench.admitted()
    bench.provider.during_call = break_the_disk
    await bench.send()
    assert len(bench.provider.sent) == 1
    assert await bench.states() == [("running", "submitted", "open")]


async def test_a_reply_file_that_cannot_be_written_does_not_lose_the_outcome(bench: Bench) -> None:
    await bench.admitted()

    async def lose_the_folder() -> None:
        for path in (bench.folder / "replies").iterdir():
            path.unlink()

    bench.provider.during_call = lose_the_folder
    await bench.send()
    assert await bench.states() == [("running", "submitted", "open")]
    assert "reply file failed" in [event for event, _ in bench.said]


async def test_an_id_that_another_attempt_has_is_a_doubt(bench: Bench) -> None:
    bench.provider.outcomes.extend([accepted("same"), accepted("same", raw="the second")])
    await bench.running(2)
    assert sorted(await bench.states()) == [
        ("in_doubt", "in_doubt", "open"),
        ("running", "submitted", "open"),
    ]
    (raw,) = await bench.rows("SELECT raw_reply FROM attempts WHERE state = 'in_doubt'")
    assert raw[0].startswith(("the second", '{"job_id"'))


async def test_no_more_are_under_way_than_configured(make_bench: MakeBench) -> None:
    bench = make_bench(concurrency=2)
    await bench.arm()
    await bench.admitted(4)
    assert await bench.submit.step() == 2
    assert await bench.submit.step() == 0
    await bench.sent_all()
    assert await bench.submit.step() == 2
    await bench.sent_all()


async def test_without_its_journal_line_nothing_paid_leaves(bench: Bench) -> None:
    class Full(IntentJournal):
        def append(self, intent: Intent) -> None:
            raise TryAgain(f"no room for intent {intent.sequence}")

    bench.journal = Full(bench.folder / "full")
    bench.again()
    await bench.running()
    assert bench.provider.sent == []
    assert await bench.states() == [("waiting", "not_sent", "voided")]
    assert await bench.night() == (0, 0)


async def test_a_request_waits_for_a_journal_line_that_takes_its_time(bench: Bench) -> None:
    written: list[str] = []
    connected = threading.Event()

    class Slow(IntentJournal):
        def append(self, intent: Intent) -> None:
            assert connected.wait(30)  # the connection stands before the line does
            super().append(intent)
            written.append(intent.attempt_id)

    async def connect() -> None:
        connected.set()

    async def look() -> None:
        assert written == ["attempt-1"]

    bench.journal = Slow(bench.folder / "slow")
    bench.again()
    bench.provider.before_gate, bench.provider.during_call = connect, look
    await bench.running()
    assert await bench.states() == [("running", "submitted", "open")]


async def test_every_paid_request_has_its_line_in_the_journal_before_it_leaves(bench: Bench) -> None:
    journal = IntentJournal(bench.folder / "journal")
    seen: list[list[str]] = []

    async def look() -> None:
        seen.append([intent.attempt_id for intent in journal.newest().intents])

    bench.provider.during_call = look
    for _ in range(2):
        await bench.running()
    assert seen == [["attempt-1"], ["attempt-1", "attempt-2"]]


#: what the job accepts, credits granted; what leaves
OVERAGE = [
    (False, 100, [False]),
    (False, 1, []),
    (True, 100, [True]),
    (True, 1, [True]),
]


@pytest.mark.parametrize(("accepts", "granted", "sent"), OVERAGE)
async def test_overage_is_accepted_on_the_wire_only_with_a_hold_for_all_of_it(
    make_bench: MakeBench, accepts: bool, granted: int, sent: list[bool]
) -> None:
    policy = OveragePolicy(Overage.UP_TO, 2 * PRICE)
    bench = make_bench(spending=SpendingRules(overage=partial(decide_overage, (policy,))))
    await bench.arm()
    await bench.store.write(lambda tx: give_credits(tx, granted * CREDIT))  # type: ignore[arg-type]
    await bench.receive(accept_overage=accepts)
    await bench.estimate.step()
    await bench.admit.step()
    await bench.send()
    assert [request.accept_overage for request in bench.provider.sent] == sent
    held = await bench.rows("SELECT overage_microusd FROM holds")
    assert held == [(PRICE if accepts else 0,) for accepts in sent]


async def test_a_free_backend_needs_neither_arming_nor_a_hold(make_bench: MakeBench) -> None:
    bench = make_bench()
    bench.provider.paid = False
    bench.__post_init__()
    await bench.running()
    assert await bench.states() == [("running", "submitted", None)]


async def test_an_intent_whose_commit_was_not_answered_leaves_nothing_half_sent(bench: Bench) -> None:
    """A database that dies after its COMMIT and before its answer: the attempt is ours to end, unsent."""
    await bench.admitted()
    real = bench.store.write

    async def commit_and_say_nothing(work: Callable[..., object]) -> object:
        bench.store.write = real  # type: ignore[method-assign]
        await real(work)  # type: ignore[arg-type]
        raise TryAgain("the connection was lost")

    bench.store.write = commit_and_say_nothing  # type: ignore[method-assign, assignment]
    await bench.send()
    assert bench.provider.sent == []
    assert await bench.states() == [("waiting", "not_sent", "voided")]
    assert await bench.admit.step() == 1
    await bench.send()
    assert await bench.states() == [("running", "submitted", "open")]


async def test_a_backend_that_was_switched_off_is_sent_nothing_that_was_admitted_before(
    bench: Bench,
) -> None:
    await bench.admitted()
    off = replace(bench.rules.backend(BACKEND), enabled=False)  # type: ignore[type-var]
    bench.kit.rules = replace(bench.rules, backend={BACKEND: off}.get)
    await bench.send()
    assert bench.provider.sent == []
    assert await bench.states() == [("waiting", "not_sent", None)]


async def test_a_backend_that_works_again_starts_counting_failures_anew(bench: Bench) -> None:
    busy = refused(RefusalKind.BUSY)
    bench.provider.outcomes.extend([busy] * 6)
    await bench.receive()
    await bench.estimate.step()
    pauses_s = []
    for _ in range(8):
        await bench.admit.step()
        await bench.send()
        for (until_us,) in await bench.rows("SELECT until_us FROM pauses"):
            pauses_s.append((until_us - bench.clock.now_us()) / 1e6)
            bench.clock.advance_to(until_us)
    assert await bench.states() == [("running", "submitted", "open")]
    assert pauses_s[5] > 30
    assert await bench.pauses() == []
    bench.provider.outcomes.append(busy)
    await bench.running()
    ((until_us,),) = await bench.rows("SELECT until_us FROM pauses")
    assert until_us - bench.clock.now_us() < 3_000_000


async def test_an_acceptance_does_not_lift_a_pause_that_stands(bench: Bench) -> None:
    bench.provider.outcomes.extend([refused(RefusalKind.BUSY, retry_after_s=500), accepted()])
    await bench.running(2)
    assert await bench.pauses() == [(BACKEND, "rate", 0)]


# --------------------------------------------------------------------------------- when it may be sent


def _night(opens: str, closes: str) -> dict[str, Hours]:
    return {"night": Hours("night", time.fromisoformat(opens), time.fromisoformat(closes), UTC)}


def _at_gate(bench: Bench, minutes: int) -> None:
    """Let so much time pass between the intent and the first byte; the send gate must not mind that alone."""
    bench.kit.rules = replace(bench.kit.rules, send_within_us=86_400_000_000)

    async def wait() -> None:
        bench.pass_s(minutes * 60)

    bench.provider.before_gate = wait


async def test_a_job_whose_window_closes_behind_the_intent_is_not_sent(bench: Bench) -> None:
    bench.kit.rules = replace(bench.kit.rules, hours=_night("14:00", "14:30"))
    assert to_datetime(bench.clock.now_us()).strftime("%H:%M") == "14:00"
    await bench.admitted(window="night")
    _at_gate(bench, 31)
    await bench.send()
    assert bench.provider.sent == []
    assert await bench.states() == [("waiting", "not_sent", "voided")]
    assert "window night is closed" in bench.provider.vetoes[0]
    assert await bench.pauses() == [], "a shut window is no trouble of the backend"


async def test_a_job_whose_deadline_passes_behind_the_intent_is_not_sent(bench: Bench) -> None:
    await bench.admitted(deadline_us=bench.clock.now_us() + 60_000_000)
    _at_gate(bench, 2)
    await bench.send()
    assert bench.provider.sent == []
    assert await bench.states() == [("waiting", "not_sent", "voided")]
    assert "deadline" in bench.provider.vetoes[0]


async def test_a_job_whose_window_closed_since_it_was_admitted_costs_no_intent(bench: Bench) -> None:
    bench.kit.rules = replace(bench.kit.rules, hours=_night("14:00", "14:30"))
    await bench.admitted(window="night")
    bench.pass_s(31 * 60)
    await bench.send()
    assert bench.provider.sent == []
    assert bench.provider.vetoes == [], "the provider was not even called"
    assert await bench.states() == [("waiting", "not_sent", None)]


async def test_a_job_put_on_hold_behind_the_intent_is_not_sent(bench: Bench) -> None:
    (job,) = await bench.admitted()

    async def hold() -> None:
        await bench.store.write(
            lambda tx: tx.put_on_hold(job, "grace", "look first", bench.clock.now_us()) and None
        )

    bench.provider.before_gate = hold
    await bench.send()
    assert bench.provider.sent == []
    assert await bench.states() == [("waiting", "not_sent", "voided")]
    assert "put on hold" in bench.provider.vetoes[0]
    assert await bench.admit.step() == 0, "and it is not admitted again"
