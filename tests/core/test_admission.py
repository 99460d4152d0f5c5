"""Who starts: never more than the slots, never more than the money, in order, and every gate is named."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.admission import (
    GATE_CODES,
    NEEDS_PERSON,
    BackendLoad,
    Candidate,
    Decision,
    DoubtLimits,
    Gate,
    Pause,
    Purse,
    backend_gates,
    closed_gates,
    decide,
    gate_rank,
)
from scheduler.core.audit import AuditStop
from scheduler.core.breaker import BreakerState, Phase, Trouble
from scheduler.core.caps import Cap, CapBooks, Measure, Period, Scope
from scheduler.core.money import Money
from scheduler.core.spending import Funds, SpendingRules

NOW_US = 1_000_000
LIMITS = DoubtLimits(3, 10_000_000)
PAID = BackendLoad("coda:iqm", paid=True, slots=2)
FREE = BackendLoad("local:simulator", paid=False, slots=2)
#: Its pause is over: one probe may go.
PROBED = replace(PAID, breaker=BreakerState(Phase.OPEN, Trouble.DOUBT, 1, NOW_US))
ASKING = SpendingRules(approval_above_microusd=999_999)
NIGHT_KEY = "night/cost/night:1969-12-31/everyone"
JOB = Candidate(1, "coda:iqm", 1_000_000, label="3.1")
QUOTED = replace(JOB, accepted_microusd=1_000_000, quoted_us=0, quote_valid_until_us=2 * NOW_US)


def purse_with(
    limit: int | None, held: int = 0, posted: int = 0, *, armed: bool = True, **other: Any
) -> Purse:
    """Tonight's cap alone, with something used of it."""
    cap = Cap("night", Measure.COST, Scope.EVERYONE, Period.NIGHT, limit)
    return Purse(armed, (cap,), Funds({NIGHT_KEY: CapBooks(NIGHT_KEY, limit, held, posted)}), **other)


#: A person disarmed: the night keeps its limit and its books, and nothing is sent.
ARMED, DISARMED = purse_with(10_000_000), purse_with(10_000_000, armed=False)


def codes(job: Candidate = JOB, load: BackendLoad = PAID, purse: Purse = ARMED) -> list[str]:
    return [gate.code for gate in closed_gates(job, load, purse, LIMITS, NOW_US)]


def test_with_every_gate_open_a_job_may_start() -> None:
    assert codes() == []


@pytest.mark.parametrize(
    ("closed", "job", "load", "purse"),
    [
        ("disarmed", JOB, PAID, DISARMED),
        ("disarmed", JOB, PAID, purse_with(0, armed=False)),
        ("cap:night", replace(JOB, estimate_microusd=10_000_001), PAID, ARMED),
        ("cap:night", JOB, PAID, purse_with(10_000_000, 4_500_000, 4_500_001)),
        ("cap:night", replace(JOB, estimate_microusd=1), PAID, purse_with(0)),
        ("estimate", replace(JOB, estimate_microusd=None), PAID, ARMED),
        ("slots", JOB, replace(PAID, in_flight=2), ARMED),
        ("slots", JOB, replace(PAID, slots=0), ARMED),
        ("doubt", JOB, replace(PAID, in_doubt=3), ARMED),
        ("doubt", JOB, replace(PAID, in_doubt=1, exposure_microusd=10_000_000), ARMED),
        ("audit", JOB, PAID, replace(ARMED, stop=AuditStop("audit", "the books are wrong", "look"))),
        ("approval", JOB, PAID, replace(ARMED, rules=ASKING)),
        ("estimate", replace(QUOTED, quote_valid_until_us=NOW_US), PAID, ARMED),
        ("drift", replace(QUOTED, accepted_microusd=952_380), PAID, ARMED),
        ("cap:job", replace(JOB, cap_microusd=999_999), PAID, ARMED),
        (
            "breaker",
            JOB,
            replace(PAID, breaker=BreakerState(Phase.OPEN, Trouble.DOUBT, 1, NOW_US + 1)),
            ARMED,
        ),
        ("breaker", JOB, replace(PAID, breaker=BreakerState(Phase.OPEN, Trouble.OVERRUN)), ARMED),
        ("slots", JOB, replace(PROBED, in_flight=1), ARMED),
        ("breaker", JOB, replace(PAID, pauses=(Pause("breaker", "no token"),)), ARMED),
        ("rate", JOB, replace(PAID, pauses=(Pause("rate", "busy", NOW_US + 1),)), ARMED),
        ("credits", replace(JOB, wait_code="credits", wait_reason="none left"), PAID, ARMED),
        ("rate", replace(JOB, wait_code="rate", wait_until_us=NOW_US + 1), PAID, ARMED),
    ],
)
def test_one_closed_gate_is_named(closed: str, job: Candidate, load: BackendLoad, purse: Purse) -> None:
    assert codes(job, load, purse) == [closed]


@pytest.mark.parametrize(
    ("job", "load", "purse"),
    [
        (replace(JOB, estimate_microusd=10_000_000), PAID, ARMED),  # to the last micro-dollar
        (JOB, replace(PAID, in_flight=1), ARMED),
        (JOB, replace(PAID, in_doubt=2, exposure_microusd=9_999_999), ARMED),
        (JOB, replace(PAID, pauses=(Pause("rate", "busy", NOW_US),)), ARMED),
        (replace(JOB, wait_code="rate", wait_until_us=NOW_US), PAID, ARMED),
        (replace(QUOTED, quote_valid_until_us=NOW_US + 1), PAID, ARMED),
        (replace(QUOTED, accepted_microusd=952_381), PAID, ARMED),  # 5 % and not a micro-dollar more
        (replace(JOB, approved_microusd=1_000_000), PAID, replace(ARMED, rules=ASKING)),
        (replace(JOB, cap_microusd=1_000_000), PAID, ARMED),
        (JOB, PROBED, ARMED),
        (replace(JOB, estimate_microusd=0), PAID, purse_with(0)),
        # Money and doubts are no matter of a free backend.
        (JOB, FREE, DISARMED),
        (JOB, replace(FREE, in_doubt=99), DISARMED),
    ],
)
def test_a_gate_opens_at_its_number_and_its_time(job: Candidate, load: BackendLoad, purse: Purse) -> None:
    assert codes(job, load, purse) == []


def test_all_closed_gates_are_named_the_most_telling_first() -> None:
    load = replace(PAID, in_flight=2, in_doubt=3, pauses=(Pause("breaker", "no token"),))
    found = closed_gates(replace(JOB, estimate_microusd=None), load, DISARMED, LIMITS, NOW_US)
    assert [gate.code for gate in found] == ["disarmed", "breaker", "estimate", "doubt", "slots"]
    assert all(gate.sentence for gate in found)


def test_a_gate_says_the_number_that_opens_it_and_a_command_that_works() -> None:
    (gate,) = closed_gates(JOB, PAID, purse_with(10_000_000, 9_500_000), LIMITS, NOW_US)
    assert gate.sentence == "needs $1.00; $0.50 of $10.00 is free, short by $0.50"
    assert gate.fix == "nightshot budget cap night 10.50 --reason '…'"
    assert gate.opens_us == 43_200_000_000, "tomorrow's noon opens a new window"
    (gate,) = closed_gates(replace(JOB, cap_microusd=1), PAID, ARMED, LIMITS, NOW_US)
    assert (gate.code, gate.fix) == ("cap:job", "nightshot edit 3.1 --cap 1.00")
    (gate,) = backend_gates(replace(PAID, pauses=(Pause("breaker", "no token"),)), NOW_US)
    assert gate.fix == "nightshot backends resume coda:iqm --reason '…'"
    for code in ("journal", "clock"):
        (gate,) = backend_gates(replace(PAID, pauses=(Pause(code, "look at it"),)), NOW_US)
        assert gate.fix == f"nightshot backends resume coda --gate {code} --reason '…'"
    (gate,) = backend_gates(replace(PAID, pauses=(Pause("rate", "busy", 5_000_000),)), NOW_US)
    assert (gate.opens_us, gate.fix) == (5_000_000, None)
    assert gate.sentence == "busy; tried again at 1970-01-01T00:00:05.000Z"


@given(st.integers(1, 10**9), st.integers(0, 10**9), st.integers(0, 10**9), st.integers(0, 10**9))
def test_the_command_that_a_short_night_names_is_enough(
    estimate: int, limit: int, held: int, posted: int
) -> None:
    job = replace(JOB, estimate_microusd=estimate)
    gates = closed_gates(job, PAID, purse_with(limit, held, posted), LIMITS, NOW_US)
    if gates:
        needed = held + posted + estimate
        assert [gate.code for gate in gates] == ["cap:night"]
        assert closed_gates(job, PAID, purse_with(needed, held, posted), LIMITS, NOW_US) == ()
        assert f" {Money(needed).decimal_text()} " in (gates[0].fix or "")


def test_gates_that_no_clock_opens_need_a_person() -> None:
    assert set(GATE_CODES) >= NEEDS_PERSON
    assert Gate("cap:people", "nothing left").needs_person
    assert not Gate("breaker", "tried again", opens_us=5).needs_person, "a probe will tell"
    assert Gate("breaker", "an overrun").needs_person
    for gate in closed_gates(JOB, PAID, DISARMED, LIMITS, NOW_US):
        assert gate.needs_person
    assert not backend_gates(replace(PAID, in_flight=2), NOW_US)[0].needs_person


# ------------------------------------------------------------------------------------------------- decide


def run(loads: list[BackendLoad], jobs: list[Candidate], purse: Purse = ARMED) -> Decision:
    heads = {load.name: [job for job in jobs if job.backend == load.name] for load in loads}
    return decide(loads, heads, purse, LIMITS, NOW_US)


def test_two_jobs_cannot_both_take_the_last_money() -> None:
    jobs = [Candidate(1, "coda:iqm", 6_000_000), Candidate(2, "coda:ionq", 6_000_000)]
    decision = run([PAID, replace(PAID, name="coda:ionq")], jobs)
    assert [job.job_id for job in decision.admitted] == [1]
    assert [gate.code for gate in decision.closed["coda:ionq"]] == ["cap:night"]


def test_two_jobs_cannot_both_take_the_last_slot() -> None:
    jobs = [Candidate(n, "coda:iqm", 1) for n in (1, 2, 3)]
    decision = run([replace(PAID, in_flight=1)], jobs)
    assert [job.job_id for job in decision.admitted] == [1]
    assert [gate.code for gate in decision.closed["coda:iqm"]] == ["slots"]


def test_a_cheaper_job_may_pass_one_that_tonights_money_does_not_reach() -> None:
    jobs = [Candidate(1, "coda:iqm", 99_000_000), Candidate(2, "coda:iqm", 1)]
    assert [job.job_id for job in run([PAID], jobs).admitted] == [2]


def test_the_money_of_one_cap_is_not_the_money_of_another() -> None:
    """Each user's own window is spent by that user alone, and everybody's by all."""
    each = Cap("people", Measure.COST, Scope.USER, Period.NIGHT, 6_000_000)
    purse = replace(ARMED, caps=(*ARMED.caps, each))
    jobs = [
        replace(JOB, job_id=n, user=user, estimate_microusd=4_000_000)
        for n, user in enumerate(("ada", "ada", "bob", "eve"), 1)
    ]
    decision = run([replace(PAID, slots=9)], jobs, purse)
    assert [job.job_id for job in decision.admitted] == [1, 3]
    assert [gate.code for gate in decision.closed["coda:iqm"]] == ["cap:people"]


def test_nothing_waiting_admits_nothing() -> None:
    assert run([PAID, FREE], []) == Decision((), {})


backends = st.sampled_from(["coda:iqm", "coda:ionq", "local:simulator"])
candidates = st.builds(
    Candidate,
    st.integers(1, 10**6),
    backends,
    st.one_of(st.none(), st.integers(0, 5_000_000)),
    wait_until_us=st.one_of(st.none(), st.integers(0, 2 * NOW_US)),
    wait_code=st.sampled_from([None, None, "credits", "rate", "estimate"]),
)
loads_of = st.builds(
    BackendLoad,
    st.just(""),
    st.booleans(),
    st.integers(0, 4),
    in_flight=st.integers(0, 6),
    in_doubt=st.integers(0, 4),
    exposure_microusd=st.integers(0, 12_000_000),
    pauses=st.lists(
        st.builds(Pause, st.just("rate"), st.just("busy"), st.integers(0, 2 * NOW_US)), max_size=2
    ).map(tuple),
    breaker=st.one_of(
        st.just(BreakerState()),
        st.builds(
            BreakerState,
            st.sampled_from([Phase.OPEN, Phase.HALF_OPEN]),
            st.sampled_from(Trouble),
            st.integers(1, 3),
            st.one_of(st.none(), st.integers(0, 2 * NOW_US)),
        ),
    ),
)
purses = st.builds(
    purse_with,
    st.one_of(st.none(), st.integers(0, 12_000_000)),
    st.integers(0, 5_000_000),
    st.integers(0, 5_000_000),
    armed=st.booleans(),
)


@given(
    st.lists(loads_of, min_size=3, max_size=3),
    st.lists(candidates, max_size=25, unique_by=lambda job: job.job_id),
    purses,
)
def test_a_decision_spends_neither_slots_nor_money_that_are_not_there(
    found: list[BackendLoad], jobs: list[Candidate], purse: Purse
) -> None:
    names = ("coda:iqm", "coda:ionq", "local:simulator")
    loads = [replace(load, name=name) for load, name in zip(found, names, strict=True)]
    by_name = {load.name: load for load in loads}
    decision = run(loads, jobs, purse)

    started = Counter(job.backend for job in decision.admitted)
    for name, count in started.items():
        assert by_name[name].in_flight + count <= by_name[name].slots
        if by_name[name].breaker.phase is not Phase.CLOSED:
            assert by_name[name].in_flight + count == 1, "one probe at a time"
    spent = sum(job.estimate_microusd or 0 for job in decision.admitted if by_name[job.backend].paid)
    free = purse.funds.books[NIGHT_KEY].free
    assert free is None or spent <= max(0, free)
    if not purse.armed:
        assert all(not by_name[job.backend].paid for job in decision.admitted)

    for load in loads:
        queue = [job for job in jobs if job.backend == load.name]
        admitted = [job for job in decision.admitted if job.backend == load.name]
        assert admitted == [job for job in queue if job in admitted], "the order of the queue is kept"
        if len(admitted) < len(queue):
            assert load.name in decision.closed, "who does not start has a reason"
    for job in decision.admitted:
        assert closed_gates(job, by_name[job.backend], purse, LIMITS, NOW_US) == ()
    for gates in decision.closed.values():
        ranks = [gate_rank(gate.code) for gate in gates]
        assert gates
        assert ranks == sorted(ranks)


@given(st.lists(candidates, max_size=12, unique_by=lambda job: job.job_id), purses)
def test_the_same_question_has_the_same_answer(jobs: list[Candidate], purse: Purse) -> None:
    loads = [replace(PAID, name=name) for name in ("coda:iqm", "coda:ionq", "local:simulator")]
    assert run(loads, jobs, purse) == run(loads, jobs, purse)
