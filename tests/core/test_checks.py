"""All checks in words, and the one sentence that comes first: nothing here decides, it repeats decisions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from scheduler.core.admission import (
    GATE_CODES,
    BackendLoad,
    Candidate,
    DoubtLimits,
    Gate,
    Purse,
    closed_gates,
    doubt_gate,
)
from scheduler.core.breaker import BreakerState, Phase, Trouble
from scheduler.core.caps import Cap, CapBooks, Measure, Period, Scope
from scheduler.core.checks import Asked, Place, Verdict, all_checks, turn_gate
from scheduler.core.lifecycle import JobState
from scheduler.core.outlook import Hope, outlook
from scheduler.core.spending import Funds
from scheduler.core.waits import Before, Rule, Terms

NOW_US = 1_000_000
LIMITS = DoubtLimits(3, 10_000_000)
PAID = BackendLoad("coda:iqm", paid=True, slots=2)
FREE = BackendLoad("local:simulator", paid=False, slots=2)
JOB = Candidate(
    1,
    "coda:iqm",
    1_000_000,
    label="3.1",
    accepted_microusd=1_000_000,
    quoted_us=0,
    quote_valid_until_us=2 * NOW_US,
)
NIGHT_KEY, EVER_KEY = "night/cost/night:1969-12-31/everyone", "ever/cost/total/everyone"
NIGHT = Cap("night", Measure.COST, Scope.EVERYONE, Period.NIGHT, 10_000_000)
EVER = Cap("ever", Measure.COST, Scope.EVERYONE, Period.TOTAL, 10_000_000)


def purse(*books: CapBooks, armed: bool = True, caps: tuple[Cap, ...] = (NIGHT, EVER), **other: Any) -> Purse:
    return Purse(armed, caps, Funds({book.key: book for book in books}), **other)


def asked_of(job: Candidate = JOB, load: BackendLoad = PAID, money: Purse | None = None) -> Asked:
    return Asked(job, load, purse() if money is None else money, LIMITS, {}, NOW_US)


def closed_of(asked: Asked) -> tuple[Gate, ...]:
    return closed_gates(asked.job, asked.load, asked.purse, asked.limits, asked.now_us, asked.hours)


HELD = replace(JOB, terms=Terms(on_hold_by="ada"))
EVERY_CASE = [
    asked_of(),
    asked_of(HELD),
    asked_of(replace(JOB, estimate_microusd=None)),
    asked_of(load=FREE),
    asked_of(load=replace(PAID, in_flight=2, in_doubt=3)),
    asked_of(load=replace(PAID, breaker=BreakerState(Phase.OPEN, Trouble.OVERRUN))),
    asked_of(money=purse(armed=False)),
    asked_of(replace(JOB, estimate_microusd=50_000_000)),
    asked_of(replace(JOB, wait_code="rate", wait_until_us=2 * NOW_US)),
    asked_of(replace(JOB, cap_microusd=500_000)),
]


@pytest.mark.parametrize("asked", EVERY_CASE)
def test_what_is_closed_is_what_admission_says_and_everything_else_is_there_once(asked: Asked) -> None:
    closed = closed_of(asked)
    checks = all_checks(asked, closed, None)
    assert [c.code for c in checks if c.verdict is Verdict.CLOSED] == [gate.code for gate in closed]
    families = [c.code if not c.code.startswith("cap:") else "cap:" for c in checks]
    assert set(families) == set(GATE_CODES)
    passed = [c.code for c in checks if c.verdict is not Verdict.CLOSED]
    assert len(passed) == len(set(passed))
    assert not set(passed) & {gate.code for gate in closed}


def test_every_cap_that_has_room_is_named_with_it() -> None:
    asked = asked_of(money=purse(CapBooks(EVER_KEY, 10_000_000, 2_000_000, 7_500_000)))
    said = {check.code: check.sentence for check in all_checks(asked, closed_of(asked), None)}
    assert said["cap:ever"] == "needs $1.00; $0.50 of $10.00 is free, short by $0.50"
    assert said["cap:night"] == "$10.00 of $10.00 is free"


@pytest.mark.parametrize(
    ("place", "says"),
    [
        (Place(0), "it is the first in the queue of b"),
        (Place(1, first=(("4", "ada"),)), "1 job is before it in the queue of b: 4 (ada)"),
        (Place(3, first=(("4", "ada"),)), "3 jobs are before it in the queue of b: 4 (ada) …"),
        (Place(10_000, more=True), "more than 10000 jobs are before it in the queue of b"),
    ],
)
def test_a_place_in_words(place: Place, says: str) -> None:
    assert place.text("b") == says
    assert says in turn_gate(place, "b").sentence


def test_only_what_has_a_price_and_nothing_of_its_own_in_the_way_is_queued() -> None:
    assert asked_of().is_queued
    assert asked_of(load=replace(PAID, in_flight=2)).is_queued, "slots are everybody's"
    assert asked_of(replace(JOB, wait_code="rate", wait_until_us=NOW_US)).is_queued
    assert not asked_of(replace(JOB, wait_code="rate", wait_until_us=NOW_US + 1)).is_queued
    assert not asked_of(replace(JOB, wait_code="credits")).is_queued
    assert not asked_of(replace(JOB, estimate_microusd=None)).is_queued
    assert not asked_of(HELD).is_queued


def test_a_doubt_gate_names_the_job_that_has_to_be_looked_at() -> None:
    load = replace(PAID, in_doubt=3, first_in_doubt="7.2")
    gate = doubt_gate(load, LIMITS)
    assert gate is not None
    assert gate.fix == "nightshot why 7.2"


BROKEN = replace(JOB, terms=Terms(waiting_on=1, before=(Before("2", JobState.FAILED, Rule.OK),)))


@pytest.mark.parametrize(
    ("asked", "hope", "says"),
    [
        (asked_of(), Hope.TURN, "every gate is open"),
        (asked_of(HELD), Hope.PERSON, "it waits for a person (held)"),
        (asked_of(load=replace(PAID, in_flight=2)), Hope.OTHERS, "it waits for slots, which nobody"),
        (
            asked_of(replace(JOB, wait_code="rate", wait_until_us=2 * NOW_US)),
            Hope.TIME,
            "it waits until 1970-01-01T00:00:02.000Z",
        ),
        # Tomorrow's night has room again: a time, not never.
        (asked_of(money=purse(CapBooks(NIGHT_KEY, 10_000_000, 0, 9_500_000))), Hope.TIME, "it waits until"),
        # What is reserved may come back; what is spent will not.
        (asked_of(money=purse(CapBooks(EVER_KEY, 10_000_000, 9_500_000, 0))), Hope.PERSON, "(cap:ever)"),
        (
            asked_of(money=purse(CapBooks(EVER_KEY, 10_000_000, 0, 9_500_000))),
            Hope.NEVER,
            "it needs $1.00, and cap ever allows $10.00 in all, $9.50 of which are spent for good",
        ),
        (
            asked_of(replace(JOB, estimate_microusd=10_000_001, accepted_microusd=10_000_001)),
            Hope.NEVER,
            "it needs $10.000001, and cap ever allows $10.00 in all; "
            "it needs $10.000001, and cap night allows $10.00 in all",
        ),
        # Raised for tonight alone, or lowered for tonight alone: neither is for ever.
        (asked_of(money=purse(CapBooks(NIGHT_KEY, 500_000))), Hope.TIME, "it waits until"),
        (
            asked_of(money=purse(CapBooks(NIGHT_KEY, 0), armed=False)),
            Hope.PERSON,
            "it waits for a person (disarmed)",
        ),
        (asked_of(BROKEN), Hope.NEVER, "2 is failed, and had to complete"),
        (
            asked_of(
                replace(
                    JOB, terms=Terms(deadline_us=2 * NOW_US), wait_code="rate", wait_until_us=2 * NOW_US + 1
                )
            ),
            Hope.NEVER,
            "gate rate opens by itself at 1970-01-01T00:00:02.000Z, after its deadline",
        ),
    ],
)
def test_the_outlook_is_said_in_one_sentence(asked: Asked, hope: Hope, says: str) -> None:
    found = outlook(asked, closed_of(asked))
    assert found.hope is hope
    assert says in found.sentence


def test_what_is_known_elsewhere_to_last_is_never() -> None:
    found = outlook(asked_of(), (), ["no provider is configured"])
    assert found.sentence == "it will not run unless something is changed: no provider is configured"
