"""Caps: how much of a measure may be used, by whom, over which period. Nested caps all hold.

A cap limits a *measure* in a *scope* over a *period*. `limit` None is unlimited and 0 is nothing. What is
used is counted per occurrence: a cap on each user's cost each night has one window for each user and night,
`people/cost/night:2026-11-22/user:alice`. Windows of one cap follow each other without gap or overlap.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from enum import StrEnum
from functools import lru_cache

from scheduler.core.money import LARGEST_MICRO, Credits, Money, NotMoney
from scheduler.core.timing import to_datetime, to_us
from scheduler.core.windows import Hours, night_at

_MIDNIGHT = time(0)
_DAY = timedelta(days=1)


class Measure(StrEnum):
    COST = "cost"  # the provider's own estimate of a run, in micro-dollars
    OVERAGE = "overage"  # spending beyond credits, in micro-dollars
    CREDITS = "credits"  # in micro-credits
    SHOTS = "shots"
    TASKS = "tasks"


class Scope(StrEnum):
    EVERYONE = "everyone"
    USER = "user"
    PROJECT = "project"
    BACKEND = "backend"
    BATCH = "batch"
    JOB = "job"


class Period(StrEnum):
    JOB = "job"
    NIGHT = "night"
    DAY = "day"
    MONTH = "month"
    TOTAL = "total"


@dataclass(frozen=True, slots=True)
class Cap:
    """One rule. `of` names the one it is for (`alice`); None means each of its scope by itself."""

    name: str
    measure: Measure
    scope: Scope
    period: Period
    limit: int | None
    of: str | None = None
    #: The zone its days and months are counted in; Coda's credits reset at 00:00 UTC.
    zone: tzinfo = UTC
    #: The hours its nights go by; None is noon to noon.
    hours: Hours | None = None


@dataclass(frozen=True, slots=True)
class Use:
    """What one attempt may use, at most: micro-dollars, micro-credits, shots, tasks.

    Raises ValueError for a negative amount: reserving it would make room for others.
    """

    cost_microusd: int
    overage_microusd: int = 0
    credits_microcredits: int = 0
    shots: int = 0
    tasks: int = 1

    def __post_init__(self) -> None:
        for measure in Measure:
            if self.of(measure) < 0:
                raise ValueError(f"a use of {self.of(measure)} {measure} is negative")

    def of(self, measure: Measure) -> int:
        match measure:
            case Measure.COST:
                return self.cost_microusd
            case Measure.OVERAGE:
                return self.overage_microusd
            case Measure.CREDITS:
                return self.credits_microcredits
            case Measure.SHOTS:
                return self.shots
            case Measure.TASKS:
                return self.tasks


@dataclass(frozen=True, slots=True)
class Spender:
    """Whose use it is, in every scope a cap can have."""

    user: str
    project: str | None
    backend: str
    batch: int
    job: int

    def named(self, scope: Scope) -> str | None:
        match scope:
            case Scope.EVERYONE:
                return ""
            case Scope.USER:
                return self.user
            case Scope.PROJECT:
                return self.project
            case Scope.BACKEND:
                return self.backend
            case Scope.BATCH:
                return str(self.batch)
            case Scope.JOB:
                return str(self.job)


@dataclass(frozen=True, slots=True)
class Window:
    """One occurrence of a cap: `key` is unique for ever, `resets_us` None never resets."""

    cap: Cap
    key: str
    resets_us: int | None


def _begins_us(day: date, at: time, zone: tzinfo) -> int:
    """The instant of a local time; one that the clock skips is read with the offset from before the skip.

    So a midnight that daylight saving skips is the instant of the change, and a whole day that the calendar
    skips (Apia, 2011-12-30) begins when the next one does.
    """
    return to_us(datetime.combine(day, at, tzinfo=zone).astimezone(UTC))


def _latest_begun(now_us: int, at: time, zone: tzinfo) -> date:
    """The latest local day whose `at` has come.

    It compares instants, because the date on the wall is not enough: where the clock is put back over
    midnight it returns to yesterday, and yesterday's cap must not be open twice.
    """
    day = to_datetime(now_us).astimezone(zone).date() + _DAY
    while _begins_us(day, at, zone) > now_us:
        day -= _DAY
    return day


@lru_cache(maxsize=256)  # every job of a pass asks about the same instant
def period_of(
    period: Period, now_us: int, zone: tzinfo, hours: Hours | None = None
) -> tuple[str, int | None]:
    """The name of the occurrence that `now_us` is in, and the instant when the next one begins.

    A night is as in `windows.night_at`: noon to noon, or from close to close of its hours.
    """
    match period:
        case Period.NIGHT:
            night = night_at(now_us, zone, hours)
            return night.key, night.closes_us
        case Period.DAY:
            day = _latest_begun(now_us, _MIDNIGHT, zone)
            return day.isoformat(), _begins_us(day + _DAY, _MIDNIGHT, zone)
        case Period.MONTH:
            first = _latest_begun(now_us, _MIDNIGHT, zone).replace(day=1)
            # Day 1 and 31 days are always in the next month.
            after = (first + 31 * _DAY).replace(day=1)
            return f"{first:%Y-%m}", _begins_us(after, _MIDNIGHT, zone)
        case Period.JOB | Period.TOTAL:
            return "", None


def window_of(cap: Cap, spender: Spender, now_us: int) -> Window | None:
    """The occurrence of `cap` that this use counts against; None when the cap is not about it."""
    who = spender.named(cap.scope)
    if who is None or (cap.of is not None and cap.of != who):
        return None
    when, resets_us = period_of(cap.period, now_us, cap.zone, cap.hours)
    if cap.period is Period.JOB:
        when = str(spender.job)
    period = f"{cap.period}:{when}" if when else str(cap.period)
    whose = f"{cap.scope}:{who}" if who else str(cap.scope)
    # The measure is part of it: a cap whose measure is changed must not count shots on top of dollars.
    return Window(cap, f"{cap.name}/{cap.measure}/{period}/{whose}", resets_us)


def windows_of(caps: Iterable[Cap], spender: Spender, now_us: int) -> list[Window]:
    """Every occurrence this use counts against, in the order in which they are reserved (by key)."""
    found = [window for cap in caps if (window := window_of(cap, spender, now_us))]
    return sorted(found, key=lambda window: window.key)


@dataclass(frozen=True, slots=True)
class CapBooks:
    """What stands in a window's row; `limit` None is unlimited."""

    key: str
    limit: int | None
    held: int = 0
    posted: int = 0

    @property
    def free(self) -> int | None:
        return None if self.limit is None else self.limit - self.held - self.posted


def first_blocking(books: Sequence[tuple[Window, CapBooks]], use: Use) -> tuple[Window, CapBooks, int] | None:
    """The first window that has no room, its books and what is needed; None when all have."""
    for window, book in books:
        needed = use.of(window.cap.measure)
        if needed and book.free is not None and needed > book.free:
            return window, book, needed
    return None


def amount_text(measure: Measure, amount: int) -> str:
    """An amount with its unit, for people: `$1.30`, `2 credits`, `100 shots`, `1 task`."""
    match measure:
        case Measure.COST | Measure.OVERAGE:
            return str(Money(amount))
        case Measure.CREDITS:
            sign = "-" if amount < 0 else ""
            number = f"{sign}{Credits(abs(amount))}"
        case Measure.SHOTS | Measure.TASKS:
            number = str(amount)
    return f"{number} {measure.removesuffix('s') if number == '1' else measure}"


UNLIMITED = "unlimited"
#: At most as many digits as an amount can have: Python refuses to read numbers of thousands of digits.
_NUMBER = re.compile(r"(?P<number>[0-9]{1,20}(?:\.[0-9]{1,20})?)\s*(?P<unit>[a-z]*)")


def read_limit(measure: Measure, text: str) -> int | None:
    """Read a limit as people write it: `40.00 USD`, `12.5`, `10000`; `unlimited` is None and 0 is nothing.

    Raises NotMoney with the form that this measure needs.
    """
    if text.strip() == UNLIMITED:
        return None
    return read_amount(measure, text)


def read_amount(measure: Measure, text: str) -> int:
    """Read an amount of a measure in its own unit. Raises NotMoney with the form that it needs."""
    if measure in (Measure.COST, Measure.OVERAGE):
        return Money.parse(text).microusd
    found = _NUMBER.fullmatch(text.strip())
    if not found or found["unit"] not in ("", measure, measure.removesuffix("s")):
        raise NotMoney(f"{text!r} is not a number of {measure}: write it like '100 {measure}'")
    if measure is Measure.CREDITS:
        return Credits.from_number(found["number"]).microcredits
    if "." in found["number"]:
        raise NotMoney(f"{text!r}: there are no fractions of {measure}: write a whole number")
    if int(found["number"]) > LARGEST_MICRO:
        raise NotMoney(f"{text!r} is more {measure} than anybody has")
    return int(found["number"])


#: Whoever these name is not chosen in a configuration: numbers are given later, and everyone is everyone.
_NAMELESS = frozenset({Scope.EVERYONE, Scope.BATCH, Scope.JOB})


def problems_of(caps: Sequence[Cap]) -> list[str]:
    """Why a set of caps is refused, the fix in each sentence; none when it can be read in one way only."""
    found = [problem for cap in caps for problem in _problems_alone(cap)]
    for index, cap in enumerate(caps):
        for other in caps[:index]:
            problem = _problem_beside(other, cap)
            if problem:
                found.append(problem)
    return found


def _problems_alone(cap: Cap) -> Iterator[str]:
    if not cap.name.strip() or "/" in cap.name:
        yield f"cap {cap.name!r}: its name is part of the books' keys: it must not be blank or contain '/'"
    if cap.limit is not None and cap.limit < 0:
        yield f"cap {cap.name!r}: limit {cap.limit} is negative; 0 is nothing, null is unlimited"
    if cap.limit is not None and cap.limit > LARGEST_MICRO:
        yield f"cap {cap.name!r}: limit {cap.limit} is larger than any bill; null is unlimited"
    if cap.of is None:
        return
    if cap.scope in _NAMELESS:
        yield f"cap {cap.name!r}: of = {cap.of!r} means nothing for scope {cap.scope}: remove it"
    elif not cap.of.strip():
        yield f"cap {cap.name!r}: of is blank: name a {cap.scope}, or remove it for each {cap.scope}"
    elif cap.scope is Scope.BACKEND and not all(cap.of.partition(":")):
        # It would never match: the books know backends by their full names only.
        yield f"cap {cap.name!r}: of = {cap.of!r} is no full name of a backend: write 'provider:device'"


def _problem_beside(first: Cap, second: Cap) -> str | None:
    if first.name == second.name:
        return f"cap {first.name!r} is there twice: give the second another name"
    if _subject(first) != _subject(second):
        return None
    if first.of == second.of:
        if first.limit == second.limit:
            return None
        return (
            f"caps {first.name!r} and {second.name!r} limit the same thing to {_limit_text(first)} and to "
            f"{_limit_text(second)}: keep one"
        )
    if first.of is not None and second.of is not None:
        return None
    each, one = (first, second) if first.of is None else (second, first)
    if each.limit is None or (one.limit is not None and one.limit <= each.limit):
        return None
    # All caps hold, so what looks like an exception would be none; its author has to see that now.
    return (
        f"cap {one.name!r} would let {one.of} use {_limit_text(one)}, but {each.name!r} stops each "
        f"{one.scope} at {_limit_text(each)}: lower it, or raise {each.name!r}"
    )


def _subject(cap: Cap) -> tuple[str, ...]:
    """What a cap counts, without whose it is: every way to say `each job by itself` is one."""
    scope, period = cap.scope, cap.period
    by_job = period is Period.JOB or (scope is Scope.JOB and period is Period.TOTAL)
    if by_job and scope in _NAMELESS:
        return cap.measure, "each job"
    zone = () if period in (Period.JOB, Period.TOTAL) else (str(cap.zone),)
    return cap.measure, scope, period, *zone


def _limit_text(cap: Cap) -> str:
    return "unlimited" if cap.limit is None else amount_text(cap.measure, cap.limit)
