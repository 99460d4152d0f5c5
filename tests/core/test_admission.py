"""Who starts: never more than the slots, never more than the money, in order, and every gate is named."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

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
    NightBooks,
    Pause,
    backend_gates,
    closed_gates,
    decide,
)

NOW_US = 1_000_000
LIMITS = DoubtLimits(3, 10_000_000)
PAID = BackendLoad("coda:iqm", paid=True, slots=2)
FREE = BackendLoad("local:simulator", paid=False, slots=2)
NIGHT = NightBooks("2026-11-22", limit_microusd=10_000_000)
JOB = Candidate(1, "coda:iqm", 1_000_000)


def codes(job: Candidate = JOB, load: BackendLoad = PAID, night: NightBooks = NIGHT) -> list[str]:
    return [gate.code for gate in closed_gates(job, load, night, LIMITS, NOW_US)]


def test_with_every_gate_open_a_job_may_start() -> None:
    assert codes() == []


@pytest.mark.parametrize(
    ("closed", "job", "load", "night"),
    [
        ("disarmed", JOB, PAID, NightBooks("n")),
        ("cap:night", replace(JOB, estimate_microusd=10_000_001), PAID, NIGHT),
        ("cap:night", JOB, PAID, replace(NIGHT, held_microusd=4_500_000, posted_microusd=4_500_001)),
        ("cap:night", replace(JOB, estimate_microusd=1), PAID, replace(NIGHT, limit_microusd=0)),
        ("estimate", replace(JOB, estimate_microusd=None), PAID, NIGHT),
        ("slots", JOB, replace(PAID, in_flight=2), NIGHT),
        ("slots", JOB, replace(PAID, slots=0), NIGHT),
        ("doubt", JOB, replace(PAID, in_doubt=3), NIGHT),
        ("doubt", JOB, replace(PAID, in_doubt=1, exposure_microusd=10_000_000), NIGHT),
        ("breaker", JOB, replace(PAID, pause=Pause("breaker", "no token")), NIGHT),
        ("rate", JOB, replace(PAID, pause=Pause("rate", "busy", NOW_US + 1)), NIGHT),
        ("credits", replace(JOB, wait_code="credits", wait_reason="none left"), PAID, NIGHT),
        ("rate", replace(JOB, wait_code="rate", wait_until_us=NOW_US + 1), PAID, NIGHT),
    ],
)
def test_one_closed_gate_is_named(closed: str, job: Candidate, load: BackendLoad, night: NightBooks) -> None:
    assert codes(job, load, night) == [closed]


@pytest.mark.parametrize(
    ("job", "load", "night"),
    [
        (replace(JOB, estimate_microusd=10_000_000), PAID, NIGHT),  # to the last micro-dollar
        (JOB, replace(PAID, in_flight=1), NIGHT),
        (JOB, replace(PAID, in_doubt=2, exposure_microusd=9_999_999), NIGHT),
        (JOB, replace(PAID, pause=Pause("rate", "busy", NOW_US)), NIGHT),
        (replace(JOB, wait_code="rate", wait_until_us=NOW_US), PAID, NIGHT),
        (replace(JOB, estimate_microusd=0), PAID, replace(NIGHT, limit_microusd=0)),
        # Money and doubts are no matter of a free backend.
        (JOB, FREE, NightBooks("n")),
        (JOB, replace(FREE, in_doubt=99), NightBooks("n")),
    ],
)
def test_a_gate_opens_at_its_number_and_its_time(
    job: Candidate, load: BackendLoad, night: NightBooks
) -> None:
    assert codes(job, load, night) == []


def test_all_closed_gates_are_named_the_most_telling_first() -> None:
    load = replace(PAID, in_flight=2, in_doubt=3, pause=Pause("breaker", "no token"))
    found = closed_gates(replace(JOB, estimate_microusd=None), load, NightBooks("n"), LIMITS, NOW_US)
    assert [gate.code for gate in found] == ["disarmed", "breaker", "estimate", "doubt", "slots"]
    assert all(gate.sentence for gate in found)


def test_a_gate_says_the_number_that_opens_it_and_a_command_that_works() -> None:
    night = replace(NIGHT, held_microusd=9_500_000)
    (gate,) = closed_gates(JOB, PAID, night, LIMITS, NOW_US)
    assert gate.sentence == "needs $1.00; $0.50 of $10.00 is free tonight, short by $0.50"
    assert gate.fix == "nightshot arm --night 10.50"
    (gate,) = backend_gates(replace(PAID, pause=Pause("breaker", "no token")), NOW_US)
    assert gate.fix == "nightshot backends resume coda:iqm --reason '…'"
    (gate,) = backend_gates(replace(PAID, pause=Pause("rate", "busy", 5_000_000)), NOW_US)
    assert (gate.opens_us, gate.fix) == (5_000_000, None)
    assert gate.sentence == "busy; tried again at 1970-01-01T00:00:05.000Z"


@given(st.integers(1, 10**9), st.integers(0, 10**9), st.integers(0, 10**9), st.integers(0, 10**9))
def test_the_command_that_a_short_night_names_is_enough(
    estimate: int, limit: int, held: int, posted: int
) -> None:
    night = NightBooks("n", limit, held, posted)
    gates = closed_gates(replace(JOB, estimate_microusd=estimate), PAID, night, LIMITS, NOW_US)
    if gates:
        needed = held + posted + estimate
        assert gates[0].code == "cap:night"
        raised = closed_gates(
            replace(JOB, estimate_microusd=estimate),
            PAID,
            replace(night, limit_microusd=needed),
            LIMITS,
            NOW_US,
        )
        assert raised == ()
        assert f"{needed / 1_000_000:.6f}".rstrip("0") in (gates[0].fix or "") + "0" * 6


def test_gates_that_no_clock_opens_need_a_person() -> None:
    assert set(GATE_CODES) >= NEEDS_PERSON
    for gate in closed_gates(JOB, PAID, NightBooks("n"), LIMITS, NOW_US):
        assert gate.needs_person
    assert not backend_gates(replace(PAID, in_flight=2), NOW_US)[0].needs_person


# ------------------------------------------------------------------------------------------------- decide


def run(loads: list[BackendLoad], jobs: list[Candidate], night: NightBooks = NIGHT) -> Decision:
    heads = {load.name: [job for job in jobs if job.backend == load.name] for load in loads}
    return decide(loads, heads, night, LIMITS, NOW_US)


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
    pause=st.one_of(
        st.none(), st.builds(Pause, st.just("rate"), st.just("busy"), st.integers(0, 2 * NOW_US))
    ),
)
nights = st.builds(
    NightBooks,
    st.just("n"),
    st.one_of(st.none(), st.integers(0, 12_000_000)),
    st.integers(0, 5_000_000),
    st.integers(0, 5_000_000),
)


@given(
    st.lists(loads_of, min_size=3, max_size=3),
    st.lists(candidates, max_size=25, unique_by=lambda job: job.job_id),
    nights,
)
def test_a_decision_spends_neither_slots_nor_money_that_are_not_there(
    found: list[BackendLoad], jobs: list[Candidate], night: NightBooks
) -> None:
    names = ("coda:iqm", "coda:ionq", "local:simulator")
    loads = [replace(load, name=name) for load, name in zip(found, names, strict=True)]
    by_name = {load.name: load for load in loads}
    decision = run(loads, jobs, night)

    started = Counter(job.backend for job in decision.admitted)
    for name, count in started.items():
        assert by_name[name].in_flight + count <= by_name[name].slots
    spent = sum(job.estimate_microusd or 0 for job in decision.admitted if by_name[job.backend].paid)
    assert spent <= max(0, night.free_microusd)
    if night.limit_microusd is None:
        assert all(not by_name[job.backend].paid for job in decision.admitted)

    for load in loads:
        queue = [job for job in jobs if job.backend == load.name]
        admitted = [job for job in decision.admitted if job.backend == load.name]
        assert admitted == [job for job in queue if job in admitted], "the order of the queue is kept"
        if len(admitted) < len(queue):
            assert load.name in decision.closed, "who does not start has a reason"
    for job in decision.admitted:
        assert closed_gates(job, by_name[job.backend], night, LIMITS, NOW_US) == ()
    for gates in decision.closed.values():
        ranks = [GATE_CODES.index(gate.code) for gate in gates]
        assert gates
        assert ranks == sorted(ranks)


@given(st.lists(candidates, max_size=12, unique_by=lambda job: job.job_id), nights)
def test_the_same_question_has_the_same_answer(jobs: list[Candidate], night: NightBooks) -> None:
    loads = [replace(PAID, name=name) for name in ("coda:iqm", "coda:ionq", "local:simulator")]
    assert run(loads, jobs, night) == run(loads, jobs, night)
