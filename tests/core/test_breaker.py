"""The breaker: when it opens, when one probe may go, what closes it, and what only a person closes."""

from __future__ import annotations

from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.breaker import (
    NEEDS_PERSON,
    BreakerRules,
    BreakerState,
    Event,
    Move,
    Phase,
    Relief,
    Trouble,
    gate,
    record,
)
from scheduler.core.timing import SECOND_US

RULES = BreakerRules(
    failures=3,
    refusals=2,
    doubts=2,
    suspicious_results=2,
    first_pause_us=10 * SECOND_US,
    last_pause_us=60 * SECOND_US,
)
F, R, D, S = Trouble.FAILURE, Trouble.REFUSAL, Trouble.DOUBT, Trouble.SUSPICIOUS_RESULT


def after(*events: Event, start: BreakerState | None = None, now_us: int = 0) -> BreakerState:
    return reduce(lambda state, event: record(state, event, now_us, RULES), events, start or BreakerState())


@pytest.mark.parametrize(
    ("events", "phase"),
    [
        ((), Phase.CLOSED),
        ((F, F), Phase.CLOSED),
        ((F, F, F), Phase.OPEN),
        ((R,), Phase.CLOSED),
        ((R, R), Phase.OPEN),
        ((D, D), Phase.OPEN),
        ((S, S), Phase.OPEN),
        ((F, F, R, D, S), Phase.CLOSED),  # each kind is counted by itself
        ((F, F, Relief.ACCEPTED, F, F), Phase.CLOSED),
        ((D, Relief.ACCEPTED, D), Phase.CLOSED),
        ((S, Relief.GOOD_RESULT, S), Phase.CLOSED),
        ((S, Relief.ACCEPTED, S), Phase.OPEN),  # being taken says nothing about results
        ((F, F, Relief.GOOD_RESULT, F), Phase.OPEN),
        ((Trouble.OVERRUN,), Phase.OPEN),
        ((Trouble.CREDENTIALS,), Phase.OPEN),
        ((F, F, F, Relief.ACCEPTED), Phase.OPEN),  # the late answer to something sent before
        ((F, F, F, Move.RESUME), Phase.CLOSED),
        ((Move.PROBE,), Phase.CLOSED),
    ],
)
def test_it_opens_after_enough_of_one_trouble_in_a_row(events: tuple[Event, ...], phase: Phase) -> None:
    state = after(*events)
    assert state.phase is phase
    assert (gate(state, 0) is None) == (phase is Phase.CLOSED)


def opened() -> BreakerState:
    return after(F, F, F)


def probing() -> BreakerState:
    return after(Move.PROBE, start=opened(), now_us=10 * SECOND_US)


def test_nothing_passes_before_the_time_of_the_probe_and_one_does_then() -> None:
    state = opened()
    assert state.probe_us == 10 * SECOND_US
    assert gate(state, 10 * SECOND_US - 1) == "3 failures in a row; tried again at 1970-01-01T00:00:10.000Z"
    assert gate(state, 10 * SECOND_US) is None
    assert gate(probing(), 10 * SECOND_US) == (
        "3 failures in a row; a probe is under way, another may follow at 1970-01-01T00:00:20.000Z"
    )


def test_a_probe_before_its_time_changes_nothing() -> None:
    assert after(Move.PROBE, start=opened(), now_us=10 * SECOND_US - 1) == opened()


def test_a_probe_that_nobody_heard_of_again_is_followed_by_another() -> None:
    assert gate(probing(), 20 * SECOND_US) is None
    second = after(Move.PROBE, start=probing(), now_us=20 * SECOND_US)
    assert (second.probe_us, second.openings) == (30 * SECOND_US, 1)


def test_a_probe_that_went_well_closes_it_and_forgets_the_pauses() -> None:
    assert after(Relief.ACCEPTED, start=probing()) == BreakerState()


def test_what_a_probe_does_not_speak_about_is_remembered() -> None:
    state = after(F, F, S, F)
    probed = record(state, Move.PROBE, 10 * SECOND_US, RULES)
    closed = record(probed, Relief.ACCEPTED, 11 * SECOND_US, RULES)
    assert closed == BreakerState(in_a_row={S: 1})
    assert record(closed, S, 12 * SECOND_US, RULES).phase is Phase.OPEN


def test_after_suspicious_results_only_a_good_result_closes_it() -> None:
    probed = after(Move.PROBE, start=after(S, S), now_us=10 * SECOND_US)
    accepted = after(Relief.ACCEPTED, start=probed, now_us=11 * SECOND_US)
    assert accepted.phase is Phase.HALF_OPEN
    assert after(Relief.GOOD_RESULT, start=accepted).phase is Phase.CLOSED


def test_each_failed_probe_doubles_the_pause_up_to_the_longest() -> None:
    state, pauses_s = opened(), []
    for _ in range(6):
        assert state.probe_us is not None
        now_us = state.probe_us
        state = record(record(state, Move.PROBE, now_us, RULES), F, now_us, RULES)
        assert state.probe_us is not None
        pauses_s.append((state.probe_us - now_us) // SECOND_US)
    assert pauses_s == [20, 40, 60, 60, 60, 60]


def test_a_pause_stays_a_number_that_fits_however_often_it_opened() -> None:
    assert RULES.pause_us(10**9) == RULES.last_pause_us


def test_runs_that_were_under_way_do_not_lengthen_the_pause() -> None:
    state = after(F, F, start=opened(), now_us=5 * SECOND_US)
    assert (state.probe_us, state.openings, state.in_a_row) == (10 * SECOND_US, 1, {F: 5})


@pytest.mark.parametrize(
    ("trouble", "sentence"),
    [
        (Trouble.OVERRUN, "a task cost more than was held for it; a person has to look and resume"),
        (Trouble.CREDENTIALS, "the provider refused our credentials; a person has to look and resume"),
    ],
)
@pytest.mark.parametrize("start", [BreakerState(), opened(), probing()])
def test_what_needs_a_person_no_time_and_no_success_ends(
    trouble: Trouble, sentence: str, start: BreakerState
) -> None:
    state = after(trouble, Relief.ACCEPTED, Relief.GOOD_RESULT, Move.PROBE, F, start=start, now_us=10**15)
    assert gate(state, 10**18) == sentence
    assert after(Move.RESUME, start=state) == BreakerState()


def test_one_trouble_is_told_in_the_singular() -> None:
    state = record(BreakerState(), D, 0, BreakerRules(doubts=1))
    assert gate(state, 0) == "a doubt; tried again at 1970-01-01T00:00:30.000Z"


@given(
    st.lists(
        st.tuples(st.sampled_from([*Trouble, *Relief, *Move]), st.integers(0, 100 * SECOND_US)), max_size=40
    )
)
def test_after_any_story_the_state_says_one_thing(story: list[tuple[Event, int]]) -> None:
    state, now_us = BreakerState(), 0
    for event, step_us in story:
        now_us += step_us
        before = state
        state = record(state, event, now_us, RULES)
        assert (state.cause is None) == (state.phase is Phase.CLOSED)
        if state.phase is Phase.CLOSED:
            assert (state.openings, state.probe_us) == (0, None)
            assert gate(state, now_us) is None
        else:
            assert (state.probe_us is None) == (state.cause in NEEDS_PERSON)
        if state.probe_us is not None:
            assert state.probe_us - now_us <= RULES.last_pause_us
        if event in NEEDS_PERSON:
            assert gate(state, 10**18) is not None
        if before.cause in NEEDS_PERSON and event is not Move.RESUME:
            assert gate(state, 10**18) is not None
