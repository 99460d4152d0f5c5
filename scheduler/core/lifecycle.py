"""States × events as two tables; nothing else knows which arrows exist.

The database CHECK constraints, the diagrams in the docs and the guards of every state write are made from
these tables. A state is only ever changed from the state that was read.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TypeVar

from scheduler.errors import ImpossibleArrow


class JobState(StrEnum):
    WAITING = "waiting"
    ADMITTED = "admitted"
    RUNNING = "running"
    IN_DOUBT = "in_doubt"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    REJECTED = "rejected"


class JobEvent(StrEnum):
    ADMIT = "admit"  # all gates open, a slot taken, an attempt prepared
    SEND_BACK = "send back"  # nothing was sent or it was refused for now: wait again
    ACCEPTED = "accepted"  # the provider took it
    LOSE_SIGHT = "lose sight"  # money may have been spent and nobody knows
    COMPLETE = "complete"
    FAIL = "fail"
    RETRY = "retry"  # failed at the provider, paid, and the job asked for another try
    REJECT = "reject"  # it can never run as it is
    CANCEL = "cancel"
    DOUBT_AGAIN = "doubt again"  # the id that a person gave is not the one
    TAKE_UP = "take up"  # it was thought not sent, and runs at the provider after all


class AttemptState(StrEnum):
    PREPARED = "prepared"
    SUBMITTING = "submitting"
    SUBMITTED = "submitted"
    REFUSED = "refused"
    NOT_SENT = "not_sent"
    IN_DOUBT = "in_doubt"
    FINISHED = "finished"
    SETTLED = "settled"
    FAILED = "failed"  # settled too, but without a result: another attempt may follow
    WRITTEN_OFF = "written_off"


class AttemptEvent(StrEnum):
    COMMIT_INTENT = "commit intent"  # posts = 1, hold taken, on disk before the first byte leaves
    ACCEPT = "accept"
    REFUSE = "refuse"
    NOT_SENT = "not sent"  # provably no byte left this machine
    LOSE_SIGHT = "lose sight"
    FOUND = "found"  # evidence: it was taken
    NEVER_ARRIVED = "never arrived"  # evidence: it was not
    WRITE_OFF = "write off"  # nobody will ever know: the money counts as spent
    FINISH = "finish"
    SETTLE = "settle"
    SETTLE_FAILURE = "settle failure"
    DOUBT_AGAIN = "doubt again"  # a person gave an id that the provider has never confirmed
    # Evidence that contradicts what was said before; the money is corrected in the same transaction.
    TAKEN_AFTER_ALL = "taken after all"
    TAKEN_TOO_LATE = "taken, found too late"
    NEVER_TAKEN_AFTER_ALL = "never taken after all"


_J, _JE = JobState, JobEvent
JOB_ARROWS: dict[tuple[JobState, JobEvent], JobState] = {
    (_J.WAITING, _JE.ADMIT): _J.ADMITTED,
    (_J.WAITING, _JE.REJECT): _J.REJECTED,
    (_J.WAITING, _JE.CANCEL): _J.CANCELLED,
    (_J.WAITING, _JE.TAKE_UP): _J.RUNNING,
    (_J.ADMITTED, _JE.SEND_BACK): _J.WAITING,
    (_J.ADMITTED, _JE.ACCEPTED): _J.RUNNING,
    (_J.ADMITTED, _JE.LOSE_SIGHT): _J.IN_DOUBT,
    (_J.ADMITTED, _JE.REJECT): _J.REJECTED,
    (_J.ADMITTED, _JE.CANCEL): _J.CANCELLED,
    (_J.ADMITTED, _JE.TAKE_UP): _J.RUNNING,
    (_J.RUNNING, _JE.COMPLETE): _J.COMPLETED,
    (_J.RUNNING, _JE.FAIL): _J.FAILED,
    (_J.RUNNING, _JE.RETRY): _J.WAITING,
    (_J.RUNNING, _JE.REJECT): _J.REJECTED,
    (_J.RUNNING, _JE.DOUBT_AGAIN): _J.IN_DOUBT,
    (_J.IN_DOUBT, _JE.ACCEPTED): _J.RUNNING,
    (_J.IN_DOUBT, _JE.SEND_BACK): _J.WAITING,
    (_J.IN_DOUBT, _JE.FAIL): _J.FAILED,
    (_J.IN_DOUBT, _JE.CANCEL): _J.CANCELLED,
}

_A, _AE = AttemptState, AttemptEvent
ATTEMPT_ARROWS: dict[tuple[AttemptState, AttemptEvent], AttemptState] = {
    (_A.PREPARED, _AE.COMMIT_INTENT): _A.SUBMITTING,
    (_A.PREPARED, _AE.NOT_SENT): _A.NOT_SENT,
    (_A.SUBMITTING, _AE.ACCEPT): _A.SUBMITTED,
    (_A.SUBMITTING, _AE.REFUSE): _A.REFUSED,
    (_A.SUBMITTING, _AE.NOT_SENT): _A.NOT_SENT,
    (_A.SUBMITTING, _AE.LOSE_SIGHT): _A.IN_DOUBT,
    (_A.IN_DOUBT, _AE.FOUND): _A.SUBMITTED,
    (_A.IN_DOUBT, _AE.NEVER_ARRIVED): _A.NOT_SENT,
    (_A.IN_DOUBT, _AE.WRITE_OFF): _A.WRITTEN_OFF,
    (_A.SUBMITTED, _AE.DOUBT_AGAIN): _A.IN_DOUBT,
    (_A.SUBMITTED, _AE.FINISH): _A.FINISHED,
    (_A.FINISHED, _AE.SETTLE): _A.SETTLED,
    (_A.FINISHED, _AE.SETTLE_FAILURE): _A.FAILED,
    (_A.NOT_SENT, _AE.TAKEN_AFTER_ALL): _A.SUBMITTED,
    (_A.NOT_SENT, _AE.TAKEN_TOO_LATE): _A.WRITTEN_OFF,
    (_A.WRITTEN_OFF, _AE.NEVER_TAKEN_AFTER_ALL): _A.NOT_SENT,
}

JOB_ENDED = frozenset({_J.COMPLETED, _J.FAILED, _J.CANCELLED, _J.REJECTED})
#: States of an attempt that keep any other attempt for the same part away.
ATTEMPT_LIVE = frozenset({_A.PREPARED, _A.SUBMITTING, _A.SUBMITTED, _A.IN_DOUBT, _A.FINISHED, _A.SETTLED})
#: States that take up one of a backend's slots. One in doubt does not: the doubt limit guards those.
ATTEMPT_IN_FLIGHT = frozenset({_A.PREPARED, _A.SUBMITTING, _A.SUBMITTED})
ATTEMPT_ENDED = frozenset({_A.REFUSED, _A.NOT_SENT, _A.SETTLED, _A.FAILED, _A.WRITTEN_OFF})
#: States in which the one POST of an attempt must have been counted.
ATTEMPT_POSTED = frozenset(
    {_A.SUBMITTING, _A.SUBMITTED, _A.IN_DOUBT, _A.FINISHED, _A.SETTLED, _A.FAILED, _A.WRITTEN_OFF}
)


class HoldState(StrEnum):
    OPEN = "open"
    POSTED = "posted"
    VOIDED = "voided"


S = TypeVar("S", JobState, AttemptState)
E = TypeVar("E", JobEvent, AttemptEvent)


def advance_job(state: JobState, event: JobEvent) -> JobState:
    """Return the state that `event` leads to; raises ImpossibleArrow when there is no such arrow."""
    try:
        return JOB_ARROWS[state, event]
    except KeyError:
        raise ImpossibleArrow(f"no arrow '{event}' leads out of job state '{state}'") from None


def advance_attempt(state: AttemptState, event: AttemptEvent) -> AttemptState:
    """Return the state that `event` leads to; raises ImpossibleArrow when there is no such arrow."""
    try:
        return ATTEMPT_ARROWS[state, event]
    except KeyError:
        raise ImpossibleArrow(f"no arrow '{event}' leads out of attempt state '{state}'") from None


def job_states_before(event: JobEvent) -> frozenset[JobState]:
    """The states from which `event` may be applied: the guard of its write."""
    return frozenset(state for state, e in JOB_ARROWS if e == event)


def attempt_states_before(event: AttemptEvent) -> frozenset[AttemptState]:
    """The states from which `event` may be applied: the guard of its write."""
    return frozenset(state for state, e in ATTEMPT_ARROWS if e == event)


def mermaid(arrows: dict[tuple[S, E], S], start: S, ended: frozenset[S]) -> str:
    """Draw a table as a Mermaid state diagram, one line an arrow, in the table's order."""
    lines = ["stateDiagram-v2", f"    [*] --> {start}"]
    lines += [f"    {a} --> {b} : {event}" for (a, event), b in arrows.items()]
    lines += [f"    {state} --> [*]" for state in sorted(ended)]
    return "\n".join(lines) + "\n"


def job_diagram() -> str:
    return mermaid(JOB_ARROWS, JobState.WAITING, JOB_ENDED)


def attempt_diagram() -> str:
    return mermaid(ATTEMPT_ARROWS, AttemptState.PREPARED, ATTEMPT_ENDED)
