"""`window`, `not_before` and `deadline`: what a job file says about when, or what is wrong with it.

A time with an offset is an instant. One without is a time on the wall of the configured zone, read by the one
rule of core.windows: the first instant at which the clock shows it or a later one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo

from scheduler.core.timing import to_us
from scheduler.core.waits import ANY_TIME, Terms, deadline_problem
from scheduler.core.windows import Hours, first_instant_us
from scheduler.intake.problems import did_you_mean, shown

FORM = "write it like '2026-11-30T06:00', or with an offset, '2026-11-30T06:00+01:00'"


@dataclass(frozen=True, slots=True)
class Calendar:
    """What the times of a document are read against; `now_us` None judges nothing as past."""

    hours: Mapping[str, Hours] = field(default_factory=dict)
    zone: tzinfo = UTC
    now_us: int | None = None


class WrongTime(Exception):
    """A field whose time cannot be meant, and a sentence that says why."""

    def __init__(self, place: str, sentence: str) -> None:
        super().__init__(sentence)
        self.place = place
        self.sentence = f"{place}: {sentence}"


def read_terms(window: str, not_before: str, deadline: str, calendar: Calendar) -> Terms:
    """Return when a job may be sent. Raises WrongTime for the first thing that is wrong."""
    if not (window or not_before or deadline):
        return ANY_TIME
    if window and window not in calendar.hours:
        raise WrongTime("window", _no_such_window(window, calendar.hours))
    terms = Terms(
        window=window,
        not_before_us=_instant_us("not_before", not_before, calendar.zone) if not_before else None,
        deadline_us=_instant_us("deadline", deadline, calendar.zone) if deadline else None,
    )
    if terms.deadline_us is not None:
        # Without a clock only what contradicts itself is found.
        now_us = terms.deadline_us - 1 if calendar.now_us is None else calendar.now_us
        hours = {} if calendar.now_us is None else calendar.hours
        problem = deadline_problem(terms, hours, now_us)
        if problem is not None:
            raise WrongTime("deadline", problem)
    return terms


def _instant_us(place: str, text: str, zone: tzinfo) -> int:
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
        if moment.tzinfo is not None:
            return to_us(moment.astimezone(UTC))
        return first_instant_us(moment, zone)
    except ValueError:
        raise WrongTime(place, f"{shown(text)} is no date and time that exists; {FORM}") from None
    except OverflowError:
        raise WrongTime(place, f"{shown(text)} is beyond every calendar") from None


def _no_such_window(name: str, hours: Mapping[str, Hours]) -> str:
    if not hours:
        return (
            f"no window is configured, so none is called {shown(name)}: add [windows.NAME] to nightshot.toml"
        )
    close = did_you_mean(name, hours)
    guess = f", did you mean '{close}'?" if close else f"; there are: {', '.join(hours)}"
    return f"no window is called {shown(name)}{guess}"
