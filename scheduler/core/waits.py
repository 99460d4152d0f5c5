"""When a job may be sent, apart from money and slots: on hold, too early, outside its window, after others.

Asked at admission, shown by `show`, and asked once more immediately before the first byte: a job that was put
on hold, or whose window closed, after it was admitted is not sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import IntFlag, StrEnum

from scheduler.core.lifecycle import JOB_ENDED, JobState
from scheduler.core.timing import iso
from scheduler.core.windows import Hours


class Parked(IntFlag):
    """Why a waiting job is not in the queue at all, so that no pass has to look at it; 0 is in the queue."""

    ON_HOLD = 1
    AFTER_OTHERS = 2
    #: The largest: an index holds the jobs that are parked with at least so much.
    TOO_EARLY = 4


class Rule(StrEnum):
    """How a job that another one comes after has to end."""

    OK = "ok"
    ANY = "any"

    def is_met_by(self, state: JobState) -> bool:
        return state is JobState.COMPLETED or (self is Rule.ANY and state in JOB_ENDED)

    def is_broken_by(self, state: JobState) -> bool:
        """It has ended, and not as was asked: that will never be met."""
        return state in JOB_ENDED and not self.is_met_by(state)


class Need(StrEnum):
    """What has become of one entry of `after`."""

    OPEN = "open"  # the earlier job has not ended
    MET = "met"
    BROKEN = "broken"  # it ended otherwise than asked: the later job can never start
    CLOSED = "closed"  # and the later job has been told


@dataclass(frozen=True, slots=True)
class Before:
    """A job that has to end before this one may start."""

    label: str
    state: JobState
    rule: Rule

    @property
    def sentence(self) -> str:
        wanted = "complete" if self.rule is Rule.OK else "end"
        return f"{self.label} is {self.word} and has to {wanted}"

    @property
    def word(self) -> str:
        return self.state.value.replace("_", " ")


@dataclass(frozen=True, slots=True)
class Terms:
    """What a job, or a person, says about when it may be sent; `window` "" is any time."""

    window: str = ""
    not_before_us: int | None = None
    #: It is not sent after this.
    deadline_us: int | None = None
    on_hold_by: str | None = None
    on_hold_reason: str = ""
    waiting_on: int = 0
    #: Filled in where somebody asks; the number alone decides.
    before: tuple[Before, ...] = ()


#: What is not bound to anything; most jobs.
ANY_TIME = Terms()


@dataclass(frozen=True, slots=True)
class Wait:
    """A closed gate of a job's terms, in the words of `admission.Gate`."""

    code: str
    sentence: str
    fix: str | None = None
    opens_us: int | None = None


def waits_of(terms: Terms, label: str, hours: Mapping[str, Hours], now_us: int) -> list[Wait]:
    """Everything about its terms that keeps a job from being sent now."""
    if terms == ANY_TIME:
        return []
    found = []
    if terms.on_hold_by is not None:
        because = f": {terms.on_hold_reason}" if terms.on_hold_reason else ""
        found.append(
            Wait("held", f"put on hold by {terms.on_hold_by}{because}", f"nightshot release {label}")
        )
    if terms.not_before_us is not None and now_us < terms.not_before_us:
        found.append(
            Wait("not-before", f"not before {iso(terms.not_before_us)}", opens_us=terms.not_before_us)
        )
    found += _window_waits(terms, hours, now_us)
    if terms.deadline_us is not None and now_us > terms.deadline_us:
        sentence = f"its deadline, {iso(terms.deadline_us)}, is over: it is not sent any more"
        found.append(Wait("deadline", sentence))
    if terms.waiting_on > 0:
        found.append(_dependency(terms))
    return found


def _window_waits(terms: Terms, hours: Mapping[str, Hours], now_us: int) -> list[Wait]:
    if not terms.window:
        return []
    window = hours.get(terms.window)
    if window is None:
        known = f"there are: {', '.join(hours)}" if hours else "there is none"
        return [Wait("window", f"it waits for window {terms.window!r}, which is not configured ({known})")]
    if window.is_open(now_us):
        return []
    # What opens it is the first time that is also late enough.
    opens_us = window.opens_us(max(now_us, terms.not_before_us or now_us))
    if opens_us is None:
        return [Wait("window", f"window {terms.window} does not open any more")]
    sentence = f"window {terms.window} is closed; it opens at {iso(opens_us)}"
    if terms.deadline_us is not None and opens_us > terms.deadline_us:
        sentence += f", which is after its deadline, {iso(terms.deadline_us)}: it will not run"
    return [Wait("window", sentence, opens_us=opens_us)]


def _dependency(terms: Terms) -> Wait:
    broken = [each for each in terms.before if each.rule.is_broken_by(each.state)]
    if broken:
        named = ", ".join(f"{each.label} is {each.word}" for each in broken)
        return Wait("dependency", f"{named}, and had to complete: this job is about to be cancelled")
    if terms.before:
        named = "; ".join(each.sentence for each in terms.before)
        more = terms.waiting_on - len(terms.before)
        return Wait("dependency", f"{named}; and {more} more" if more > 0 else named)
    others = "another job has" if terms.waiting_on == 1 else f"{terms.waiting_on} other jobs have"
    return Wait("dependency", f"{others} to end first")


def last_refusal(terms: Terms, hours: Mapping[str, Hours], now_us: int) -> str | None:
    """Why a job that was admitted is not sent after all; None to send. Others have ended long before."""
    found = waits_of(replace(terms, waiting_on=0), "", hours, now_us)
    return "; ".join(wait.sentence for wait in found) or None


def deadline_problem(terms: Terms, hours: Mapping[str, Hours], now_us: int) -> str | None:
    """Why a job can never be sent before its deadline; None when it can."""
    if terms.deadline_us is None:
        return None
    if terms.deadline_us <= now_us:
        return f"{iso(terms.deadline_us)} is over (it is {iso(now_us)})"
    if terms.not_before_us is not None and terms.not_before_us >= terms.deadline_us:
        return f"{iso(terms.deadline_us)} is not after not_before, {iso(terms.not_before_us)}"
    window = hours.get(terms.window) if terms.window else None
    if window is None:
        return None
    opens_us = window.opens_us(max(now_us, terms.not_before_us or now_us))
    if opens_us is None or opens_us > terms.deadline_us:
        when = "does not open any more" if opens_us is None else f"opens at {iso(opens_us)}"
        return f"{iso(terms.deadline_us)} is too early: window {terms.window} {when}"
    return None
