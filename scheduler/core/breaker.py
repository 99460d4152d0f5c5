"""The breaker of one backend: after too much trouble in a row nothing is sent until a probe went well.

Closed lets all through, open none until `probe_us`, then one probe at a time. Some trouble no probe may
answer: an overrun and refused credentials stay open until a person resumes. Pure: somebody else keeps it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import assert_never

from scheduler.core.timing import SECOND_US, iso


class Phase(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class Trouble(StrEnum):
    FAILURE = "failure"  # nothing was sent, or the provider did not answer a question
    REFUSAL = "refusal"
    DOUBT = "doubt"
    SUSPICIOUS_RESULT = "suspicious result"
    OVERRUN = "overrun"
    CREDENTIALS = "credentials"  # 401, 403


class Relief(StrEnum):
    ACCEPTED = "accepted"
    GOOD_RESULT = "good result"


class Move(StrEnum):
    PROBE = "probe"  # an attempt is about to be sent although it was open
    RESUME = "resume"  # by a person, whose name and reason are kept elsewhere


Event = Trouble | Relief | Move

#: Asking again costs money or locks the account out, and nothing changes until somebody looks.
NEEDS_PERSON = frozenset({Trouble.OVERRUN, Trouble.CREDENTIALS})
#: An accepted submission says nothing about results, and a good result nothing about submissions.
_RELIEVES = {
    Relief.ACCEPTED: frozenset({Trouble.FAILURE, Trouble.REFUSAL, Trouble.DOUBT}),
    Relief.GOOD_RESULT: frozenset({Trouble.SUSPICIOUS_RESULT}),
}


@dataclass(frozen=True, slots=True)
class BreakerRules:
    """How many in a row open it; the first pause, which doubles with each failed probe, and the longest."""

    failures: int = 5
    refusals: int = 5
    doubts: int = 3
    suspicious_results: int = 3
    first_pause_us: int = 30 * SECOND_US
    last_pause_us: int = 3600 * SECOND_US

    def opens_at(self, trouble: Trouble) -> int:
        match trouble:
            case Trouble.FAILURE:
                return self.failures
            case Trouble.REFUSAL:
                return self.refusals
            case Trouble.DOUBT:
                return self.doubts
            case Trouble.SUSPICIOUS_RESULT:
                return self.suspicious_results
            case Trouble.OVERRUN | Trouble.CREDENTIALS:
                return 1
            case _:
                assert_never(trouble)

    def pause_us(self, openings: int) -> int:
        # The exponent is bounded: after a month of failures 2**openings would be a number of many pages.
        return min(self.last_pause_us, self.first_pause_us << min(openings - 1, 40))


@dataclass(frozen=True, slots=True)
class BreakerState:
    """Everything that has to be kept. No `cause` is closed; a cause and no `probe_us` needs a person.

    `in_a_row` counts troubles since the last relief of their kind.
    """

    phase: Phase = Phase.CLOSED
    cause: Trouble | None = None
    openings: int = 0
    probe_us: int | None = None
    in_a_row: Mapping[Trouble, int] = field(default_factory=dict)


def record(state: BreakerState, event: Event, now_us: int, rules: BreakerRules) -> BreakerState:
    """The state after an event."""
    match event:
        case Trouble():
            return _worsen(state, event, now_us, rules)
        case Relief():
            return _relieve(state, event)
        case Move.PROBE:
            if gate(state, now_us) is not None or state.phase is Phase.CLOSED:
                return state
            # It has a time as well: a probe whose end nobody recorded must not close the backend for ever.
            return replace(state, phase=Phase.HALF_OPEN, probe_us=now_us + rules.pause_us(state.openings))
        case Move.RESUME:
            return BreakerState()
        case _:
            assert_never(event)


def _worsen(state: BreakerState, trouble: Trouble, now_us: int, rules: BreakerRules) -> BreakerState:
    count = state.in_a_row.get(trouble, 0) + 1
    state = replace(state, in_a_row={**state.in_a_row, trouble: count})
    if trouble in NEEDS_PERSON:
        return replace(state, phase=Phase.OPEN, cause=trouble, probe_us=None)
    if state.phase is Phase.OPEN:
        # Runs that were under way when it opened end badly too; they must not double the pause each.
        return state
    if state.phase is Phase.CLOSED and count < rules.opens_at(trouble):
        return state
    openings = state.openings + 1
    probe_us = now_us + rules.pause_us(openings)
    return replace(state, phase=Phase.OPEN, cause=trouble, openings=openings, probe_us=probe_us)


def _relieve(state: BreakerState, relief: Relief) -> BreakerState:
    relieved = _RELIEVES[relief]
    counts = {trouble: count for trouble, count in state.in_a_row.items() if trouble not in relieved}
    if state.phase is Phase.HALF_OPEN and state.cause in relieved:
        return BreakerState(in_a_row=counts)
    # While it is open this is the late answer to something sent before: only a probe closes it.
    return replace(state, in_a_row=counts)


def gate(state: BreakerState, now_us: int) -> str | None:
    """Why nothing may be sent now; None when it may. Whoever then sends while not closed records a PROBE."""
    if state.cause is None or (state.probe_us is not None and now_us >= state.probe_us):
        return None
    if state.probe_us is None:
        what = (
            "the provider refused our credentials"
            if state.cause is Trouble.CREDENTIALS
            else "a task cost more than was held for it"
        )
        return f"{what}; a person has to look and resume"
    # A relief may have come since; the trouble that opened it did happen at least once.
    count = max(1, state.in_a_row.get(state.cause, 0))
    why = f"{count} {state.cause}s in a row" if count > 1 else f"a {state.cause}"
    if state.phase is Phase.HALF_OPEN:
        return f"{why}; a probe is under way, another may follow at {iso(state.probe_us)}"
    return f"{why}; tried again at {iso(state.probe_us)}"
