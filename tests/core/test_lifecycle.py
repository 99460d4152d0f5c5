"""Every arrow there is, and none else."""

from __future__ import annotations

from itertools import product

import pytest

from scheduler.core import lifecycle
from scheduler.core.lifecycle import (
    ATTEMPT_ARROWS,
    ATTEMPT_ENDED,
    ATTEMPT_IN_FLIGHT,
    ATTEMPT_LIVE,
    ATTEMPT_POSTED,
    JOB_ARROWS,
    JOB_ENDED,
    AttemptEvent,
    AttemptState,
    JobEvent,
    JobState,
    advance_attempt,
    advance_job,
    attempt_states_before,
    job_states_before,
)
from scheduler.errors import ImpossibleArrow

JOBS = """
    waiting   admit       admitted
    waiting   reject      rejected
    waiting   cancel      cancelled
    waiting   take up     running
    admitted  send back   waiting
    admitted  accepted    running
    admitted  lose sight  in_doubt
    admitted  reject      rejected
    admitted  cancel      cancelled
    admitted  take up     running
    running   complete    completed
    running   fail        failed
    running   retry       waiting
    running   reject      rejected
    running   doubt again  in_doubt
    in_doubt  accepted    running
    in_doubt  send back   waiting
    in_doubt  fail        failed
    in_doubt  cancel      cancelled
"""
ATTEMPTS = """
    prepared    commit intent  submitting
    prepared    not sent       not_sent
    submitting  accept         submitted
    submitting  refuse         refused
    submitting  not sent       not_sent
    submitting  lose sight     in_doubt
    in_doubt    found          submitted
    in_doubt    never arrived  not_sent
    in_doubt    write off      written_off
    submitted   doubt again    in_doubt
    submitted   finish         finished
    finished    settle         settled
    finished    settle failure  failed
    not_sent    taken after all  submitted
    not_sent    taken, found too late  written_off
    written_off  never taken after all  not_sent
"""


def rows(table: str) -> set[tuple[str, str, str]]:
    cut = [line.split() for line in table.strip().splitlines()]
    return {(words[0], " ".join(words[1:-1]), words[-1]) for words in cut}


def test_the_jobs_arrows_are_these_and_none_else() -> None:
    assert {(str(a), str(e), str(b)) for (a, e), b in JOB_ARROWS.items()} == rows(JOBS)


def test_the_attempts_arrows_are_these_and_none_else() -> None:
    assert {(str(a), str(e), str(b)) for (a, e), b in ATTEMPT_ARROWS.items()} == rows(ATTEMPTS)


@pytest.mark.parametrize(("state", "event"), list(product(JobState, JobEvent)))
def test_a_job_advances_along_an_arrow_or_says_why_not(state: JobState, event: JobEvent) -> None:
    if (state, event) in JOB_ARROWS:
        assert advance_job(state, event) is JOB_ARROWS[state, event]
    else:
        with pytest.raises(ImpossibleArrow, match=f"'{event}' leads out of job state '{state}'"):
            advance_job(state, event)


@pytest.mark.parametrize(("state", "event"), list(product(AttemptState, AttemptEvent)))
def test_an_attempt_advances_along_an_arrow_or_says_why_not(state: AttemptState, event: AttemptEvent) -> None:
    if (state, event) in ATTEMPT_ARROWS:
        assert advance_attempt(state, event) is ATTEMPT_ARROWS[state, event]
    else:
        with pytest.raises(ImpossibleArrow, match=f"'{event}' leads out of attempt state '{state}'"):
            advance_attempt(state, event)


@pytest.mark.parametrize("event", list(JobEvent))
def test_the_guard_of_a_jobs_event_is_where_it_may_come_from(event: JobEvent) -> None:
    assert job_states_before(event) == {a for a, e, _ in rows(JOBS) if e == event} != set()


@pytest.mark.parametrize("event", list(AttemptEvent))
def test_the_guard_of_an_attempts_event_is_where_it_may_come_from(event: AttemptEvent) -> None:
    assert attempt_states_before(event) == {a for a, e, _ in rows(ATTEMPTS) if e == event} != set()


def test_an_event_leads_to_one_state_whatever_it_left() -> None:
    for arrows in (JOB_ARROWS, ATTEMPT_ARROWS):
        for event in {e for _, e in arrows}:
            assert len({b for (_, e), b in arrows.items() if e == event}) == 1, event


#: What only evidence may do that contradicts what was said before; the money is corrected with it.
CORRECTIONS = {
    AttemptEvent.TAKEN_AFTER_ALL,
    AttemptEvent.TAKEN_TOO_LATE,
    AttemptEvent.NEVER_TAKEN_AFTER_ALL,
}


def test_ended_is_where_no_arrow_leads_out_but_a_correction() -> None:
    assert set(JobState) - {a for a, _ in JOB_ARROWS} == JOB_ENDED
    usual = {a for a, e in ATTEMPT_ARROWS if e not in CORRECTIONS}
    assert set(AttemptState) - usual == ATTEMPT_ENDED
    assert {a for a, e in ATTEMPT_ARROWS if e in CORRECTIONS} <= ATTEMPT_ENDED


def test_what_was_settled_or_refused_is_never_corrected() -> None:
    """Both are the provider's own answers; nothing that comes later knows better."""
    left = {a for a, _ in ATTEMPT_ARROWS}
    assert left.isdisjoint({AttemptState.SETTLED, AttemptState.FAILED, AttemptState.REFUSED})


def test_every_state_can_be_reached() -> None:
    assert set(JobState) == {JobState.WAITING} | set(JOB_ARROWS.values())
    assert set(AttemptState) == {AttemptState.PREPARED} | set(ATTEMPT_ARROWS.values())


def test_nothing_leads_from_posted_back_to_unposted_but_an_answer() -> None:
    """Only a refusal, a proof that nothing was sent, or evidence may say that nothing was spent."""
    answers = {
        AttemptEvent.REFUSE,
        AttemptEvent.NOT_SENT,
        AttemptEvent.NEVER_ARRIVED,
        AttemptEvent.NEVER_TAKEN_AFTER_ALL,
    }
    back = {e for (a, e), b in ATTEMPT_ARROWS.items() if a in ATTEMPT_POSTED and b not in ATTEMPT_POSTED}
    assert back == answers


def test_a_part_may_be_tried_again_only_after_an_end_without_a_result() -> None:
    assert set(AttemptState) - ATTEMPT_LIVE == {
        AttemptState.REFUSED,
        AttemptState.NOT_SENT,
        AttemptState.FAILED,
        AttemptState.WRITTEN_OFF,
    }
    assert ATTEMPT_IN_FLIGHT < ATTEMPT_LIVE


def test_nothing_is_ever_sent_out_of_doubt() -> None:
    assert AttemptState.SUBMITTING not in {
        b for (a, _), b in ATTEMPT_ARROWS.items() if a is not AttemptState.PREPARED
    }


JOB_DIAGRAM = """\
stateDiagram-v2
    [*] --> waiting
    waiting --> admitted : admit
    waiting --> rejected : reject
    waiting --> cancelled : cancel
    waiting --> running : take up
    admitted --> waiting : send back
    admitted --> running : accepted
    admitted --> in_doubt : lose sight
    admitted --> rejected : reject
    admitted --> cancelled : cancel
    admitted --> running : take up
    running --> completed : complete
    running --> failed : fail
    running --> waiting : retry
    running --> rejected : reject
    running --> in_doubt : doubt again
    in_doubt --> running : accepted
    in_doubt --> waiting : send back
    in_doubt --> failed : fail
    in_doubt --> cancelled : cancel
    cancelled --> [*]
    completed --> [*]
    failed --> [*]
    rejected --> [*]
"""


def test_the_diagram_says_what_the_table_says() -> None:
    assert lifecycle.job_diagram() == JOB_DIAGRAM
    drawn = lifecycle.attempt_diagram()
    assert drawn.startswith("stateDiagram-v2\n    [*] --> prepared\n")
    for before, event, after in rows(ATTEMPTS):
        assert f"    {before} --> {after} : {event}\n" in drawn
    assert drawn.count("\n") == 2 + len(ATTEMPT_ARROWS) + len(ATTEMPT_ENDED)
