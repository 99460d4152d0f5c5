"""Gates of a job's own terms: which are closed, what they say, and when they open."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, time

import pytest

from scheduler.core.admission import GATE_CODES, BackendLoad, Candidate, DoubtLimits, Purse, closed_gates
from scheduler.core.idle import only_people_can_move
from scheduler.core.lifecycle import JobState
from scheduler.core.timing import to_us
from scheduler.core.waits import (
    ANY_TIME,
    Before,
    Parked,
    Rule,
    Terms,
    deadline_problem,
    last_refusal,
    waits_of,
)
from scheduler.core.windows import Hours


def us(text: str) -> int:
    return to_us(datetime.fromisoformat(f"{text}+00:00"))


NOW = us("2026-11-22T14:00")
HOURS = {"night": Hours("night", time(22), time(6), UTC), "noon": Hours("noon", time(12), time(15), UTC)}
FREE = BackendLoad("local:simulator", paid=False, slots=2)
JOB = Candidate(1, "local:simulator", 0, label="12.3")


#: terms -> code, words of the sentence, when it opens
CLOSED = [
    (
        Terms(on_hold_by="grace", on_hold_reason="look first"),
        "held",
        "put on hold by grace: look first",
        None,
    ),
    (Terms(on_hold_by="grace"), "held", "put on hold by grace", None),
    (Terms(not_before_us=NOW + 1), "not-before", "not before 2026-11-22T14:00:00.000Z", NOW + 1),
    (
        Terms(window="night"),
        "window",
        "night is closed; it opens at 2026-11-22T22:00",
        us("2026-11-22T22:00"),
    ),
    (Terms(window="dawn"), "window", "'dawn', which is not configured (there are: night, noon)", None),
    (Terms(deadline_us=NOW - 1), "deadline", "is over: it is not sent any more", None),
    (Terms(waiting_on=1), "dependency", "another job has to end first", None),
    (Terms(waiting_on=3), "dependency", "3 other jobs have to end first", None),
    (
        Terms(
            waiting_on=2,
            before=(Before("12.1", JobState.RUNNING, Rule.OK), Before("9", JobState.WAITING, Rule.ANY)),
        ),
        "dependency",
        "12.1 is running and has to complete; 9 is waiting and has to end",
        None,
    ),
    (
        Terms(waiting_on=1, before=(Before("12.1", JobState.FAILED, Rule.OK),)),
        "dependency",
        "12.1 is failed, and had to complete: this job is about to be cancelled",
        None,
    ),
]


@pytest.mark.parametrize(("terms", "code", "words", "opens_us"), CLOSED)
def test_a_closed_gate_says_why_and_when_it_opens(
    terms: Terms, code: str, words: str, opens_us: int | None
) -> None:
    (gate,) = closed_gates(replace(JOB, terms=terms), FREE, Purse(False, ()), DoubtLimits(3, 1), NOW, HOURS)
    assert (gate.code, gate.opens_us) == (code, opens_us)
    assert words in gate.sentence
    assert gate.fix == ("nightshot release 12.3" if code == "held" else None)


@pytest.mark.parametrize(
    "terms",
    [
        ANY_TIME,
        Terms(not_before_us=NOW),
        Terms(window="noon"),
        Terms(deadline_us=NOW),
        Terms(window="noon", not_before_us=NOW - 1, deadline_us=NOW + 1),
    ],
)
def test_an_open_gate_is_none(terms: Terms) -> None:
    assert waits_of(terms, "12", HOURS, NOW) == []
    assert last_refusal(terms, HOURS, NOW) is None


def test_every_closed_gate_is_named_in_the_order_in_which_they_are_shown() -> None:
    terms = Terms("night", NOW + 1, NOW - 1, "grace", "", 1)
    gates = closed_gates(replace(JOB, terms=terms), FREE, Purse(False, ()), DoubtLimits(3, 1), NOW, HOURS)
    codes = [gate.code for gate in gates]
    assert codes == ["held", "not-before", "window", "deadline", "dependency"]
    assert codes == [code for code in GATE_CODES if code in codes]


def test_a_caller_who_forgets_the_hours_opens_nothing() -> None:
    job = replace(JOB, terms=Terms(window="noon"))
    assert [gate.code for gate in closed_gates(job, FREE, Purse(True, ()), DoubtLimits(3, 1), NOW)] == [
        "window"
    ]


def test_the_window_opens_for_a_job_at_the_first_time_that_is_late_enough_too() -> None:
    terms = Terms(window="night", not_before_us=us("2026-11-23T07:00"))
    (_, window) = waits_of(terms, "12", HOURS, NOW)
    assert window.opens_us == us("2026-11-23T22:00")


def test_a_window_that_opens_behind_the_deadline_says_that_the_job_will_not_run() -> None:
    terms = Terms(window="night", deadline_us=us("2026-11-22T20:00"))
    (window,) = waits_of(terms, "12", HOURS, NOW)
    assert "after its deadline, 2026-11-22T20:00:00.000Z: it will not run" in window.sentence


@pytest.mark.parametrize(("terms", "code", "words", "opens_us"), CLOSED)
def test_what_was_admitted_is_not_sent_behind_a_closed_gate(
    terms: Terms, code: str, words: str, opens_us: int | None
) -> None:
    refusal = last_refusal(terms, HOURS, NOW)
    if code == "dependency":
        assert refusal is None, "it was met when the job was admitted"
    else:
        assert refusal is not None
        assert words in refusal


@pytest.mark.parametrize(
    ("rule", "state", "met", "broken"),
    [
        (Rule.OK, JobState.COMPLETED, True, False),
        (Rule.OK, JobState.FAILED, False, True),
        (Rule.OK, JobState.CANCELLED, False, True),
        (Rule.OK, JobState.REJECTED, False, True),
        (Rule.OK, JobState.IN_DOUBT, False, False),
        (Rule.OK, JobState.RUNNING, False, False),
        (Rule.ANY, JobState.COMPLETED, True, False),
        (Rule.ANY, JobState.FAILED, True, False),
        (Rule.ANY, JobState.CANCELLED, True, False),
        (Rule.ANY, JobState.REJECTED, True, False),
        (Rule.ANY, JobState.IN_DOUBT, False, False),
        (Rule.ANY, JobState.WAITING, False, False),
    ],
)
def test_an_earlier_job_meets_a_rule_or_breaks_it(
    rule: Rule, state: JobState, met: bool, broken: bool
) -> None:
    assert (rule.is_met_by(state), rule.is_broken_by(state)) == (met, broken)


def test_the_index_of_sleepers_holds_everything_that_is_too_early() -> None:
    assert max(Parked) is Parked.TOO_EARLY
    assert sum(each.value for each in Parked if each is not Parked.TOO_EARLY) < Parked.TOO_EARLY


def test_nobody_sits_up_for_an_appointment_but_for_another_job() -> None:
    def idle(terms: Terms, *others: Terms) -> bool:
        jobs = [replace(JOB, terms=each) for each in (terms, *others)]
        heads = {FREE.name: jobs}
        return only_people_can_move({}, heads, [FREE], Purse(False, ()), DoubtLimits(3, 1), NOW, HOURS)

    assert idle(Terms(window="night"))
    assert idle(Terms(not_before_us=NOW + 1))
    assert idle(Terms(on_hold_by="grace"))
    assert not idle(Terms(window="noon"))
    assert not idle(Terms(window="night"), ANY_TIME)
    assert not idle(Terms(deadline_us=NOW - 1)), "it ends at once"


def test_a_deadline_that_can_be_met_has_no_problem() -> None:
    assert deadline_problem(ANY_TIME, HOURS, NOW) is None
    assert deadline_problem(Terms(window="night", deadline_us=us("2026-11-22T22:00")), HOURS, NOW) is None
    assert deadline_problem(Terms(window="noon", deadline_us=NOW + 1), HOURS, NOW) is None
