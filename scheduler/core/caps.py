"""Caps: how much of a measure may be used, by whom, over which period. Nested caps all hold.

A cap limits a *measure* in a *scope* over a *period*. `limit` None is unlimited and 0 is nothing. What is used
is counted per occurrence: one alice-cap each night is one window `night:2026-11-22/user:alice`.
"""

from __future__ import annotations

import calendar
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from enum import StrEnum

from scheduler.core.money import Credits, Money
from scheduler.core.timing import night_of, to_datetime, to_us


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


@dataclass(frozen=True, slots=True)
class Use:
    """What one attempt may use, at most: micro-dollars, micro-credits, shots, tasks."""

    cost_microusd: int
    overage_microusd: int = 0
    credits_microcredits: int = 0
    shots: int = 0
    tasks: int = 1

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


def _midnight(day: date, zone: tzinfo) -> int:
    """The first instant of a local day; on a day whose midnight does not exist, the first that does."""
    return to_us(datetime.combine(day, time(0), tzinfo=zone).astimezone(UTC))


def period_of(period: Period, now_us: int, zone: tzinfo) -> tuple[str, int | None]:
    """The name of the occurrence that `now_us` is in, and when it ends."""
    today = to_datetime(now_us).astimezone(zone).date()
    match period:
        case Period.NIGHT:
            night = night_of(now_us, zone)
            return night.key, night.closes_us
        case Period.DAY:
            return today.isoformat(), _midnight(today + timedelta(days=1), zone)
        case Period.MONTH:
            after = today.replace(day=1) + timedelta(days=calendar.monthrange(today.year, today.month)[1])
            return f"{today:%Y-%m}", _midnight(after, zone)
        case Period.JOB | Period.TOTAL:
            return "", None


def window_of(cap: Cap, spender: Spender, now_us: int) -> Window | None:
    """The occurrence of `cap` that this use counts against; None when the cap is not about it."""
    who = spender.named(cap.scope)
    if who is None or (cap.of is not None and cap.of != who):
        return None
    when, resets_us = period_of(cap.period, now_us, cap.zone)
    if cap.period is Period.JOB:
        when = str(spender.job)
    parts = [
        f"{cap.period}:{when}" if when else str(cap.period),
        f"{cap.scope}:{who}" if who else str(cap.scope),
    ]
    return Window(cap, f"{cap.name}/{'/'.join(parts)}", resets_us)


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
            return f"{Credits(amount)} credits"
        case Measure.SHOTS:
            return f"{amount} shots"
        case Measure.TASKS:
            return f"{amount} tasks"
