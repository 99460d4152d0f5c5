"""Opening hours as instants: whether a window is open, when it opens next, and which occurrence it is.

A window is a predicate that is asked at each pass, never an event, so a restart, a suspended machine or a
night of 23 hours changes nothing. One rule turns what the wall clock says into an instant: *the first instant
at which the clock shows that time or a later one*. So what daylight saving skips is the instant of the jump,
and what it shows twice is meant once, the first time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache

from scheduler.core.timing import Night, night_name, night_of, to_datetime, to_us

#: As they are written in `days`, Monday first as Python counts.
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY = timedelta(days=1)
#: No window that opens at all stays closed for longer: a week, and a clock that skips the one day it has.
_LOOK_AHEAD_DAYS = 30


def first_instant_us(wall: datetime, zone: tzinfo) -> int:
    """The first instant at which clocks in `zone` show `wall` (without a zone) or later."""
    late = to_us(wall.replace(tzinfo=zone, fold=0).astimezone(UTC))
    if to_datetime(late).astimezone(zone).replace(tzinfo=None) == wall:
        return late  # fold 0 is the first of two
    # Skipped: read with the offset from before the jump it is an instant behind the jump, and the other way.
    early = to_us(wall.replace(tzinfo=zone, fold=1).astimezone(UTC))
    while late - early > 1:
        middle = (early + late) // 2
        if to_datetime(middle).astimezone(zone).replace(tzinfo=None) >= wall:
            late = middle
        else:
            early = middle
    return late


def _is_skipped(day: date, opens_us: int, zone: tzinfo) -> bool:
    """Whether the calendar of this zone leaves the whole date out (Apia had no 30 December 2011)."""
    if to_datetime(opens_us).astimezone(zone).date() == day:
        return False
    midnights = (datetime.combine(day, time()), datetime.combine(day + _DAY, time()))
    begins_us, ends_us = (first_instant_us(midnight, zone) for midnight in midnights)
    return begins_us == ends_us


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One time a window is open; `key` is the local date on which it begins and is unique for its window."""

    window: str
    key: str
    opens_us: int
    closes_us: int

    @property
    def name(self) -> str:
        return night_name(self.key)


@dataclass(frozen=True, slots=True)
class Hours:
    """One `[windows.NAME]`: from `open` to `close` on the wall, beginning on certain days of the week.

    A close that is not later than the open is on the next day.
    """

    name: str
    open: time
    close: time
    zone: tzinfo
    days: frozenset[str] = frozenset(DAYS)

    def on(self, day: date) -> Occurrence | None:
        """The occurrence that begins on this date; None when there is none, or the clock skips all of it."""
        if DAYS[day.weekday()] not in self.days:
            return None
        last = day if self.close > self.open else day + _DAY
        opens_us = first_instant_us(datetime.combine(day, self.open), self.zone)
        closes_us = first_instant_us(datetime.combine(last, self.close), self.zone)
        if closes_us <= opens_us or _is_skipped(day, opens_us, self.zone):
            return None
        return Occurrence(self.name, day.isoformat(), opens_us, closes_us)

    def since(self, now_us: int) -> Iterator[Occurrence]:
        """Occurrences in order, from one that may have begun before now."""
        # Two days back: the wall clock may have returned to yesterday since today's opened.
        first = to_datetime(now_us).astimezone(self.zone).date() - 2 * _DAY
        for number in range(_LOOK_AHEAD_DAYS):
            found = self.on(first + number * _DAY)
            if found is not None:
                yield found

    def occurrence(self, now_us: int) -> Occurrence | None:
        """The occurrence that is open now: from its first instant up to, and without, its last."""
        return _occurrence(self, now_us)

    def is_open(self, now_us: int) -> bool:
        return self.occurrence(now_us) is not None

    def next(self, now_us: int) -> Occurrence | None:
        """The first occurrence that begins after now; None when it never opens again."""
        return _next(self, now_us)

    def opens_us(self, now_us: int) -> int | None:
        """When something may start in it: now when it is open, else when it opens next; None is never."""
        if self.is_open(now_us):
            return now_us
        following = self.next(now_us)
        return None if following is None else following.opens_us

    def changes_us(self, now_us: int) -> int | None:
        """When it opens or closes next."""
        current = self.occurrence(now_us)
        if current is not None:
            return current.closes_us
        following = self.next(now_us)
        return None if following is None else following.opens_us

    @property
    def never_opens(self) -> bool:
        return not self.days or self.open == self.close


@lru_cache(maxsize=256)  # every job of a pass asks about the same instant
def _occurrence(hours: Hours, now_us: int) -> Occurrence | None:
    for found in hours.since(now_us):
        if found.opens_us > now_us:
            return None
        if now_us < found.closes_us:
            return found
    return None


@lru_cache(maxsize=256)
def _next(hours: Hours, now_us: int) -> Occurrence | None:
    return next((found for found in hours.since(now_us) if found.opens_us > now_us), None)


def night_at(now_us: int, zone: tzinfo, hours: Hours | None) -> Night:
    """The night that what is spent now belongs to: local noon to noon, or as `hours` say.

    With hours a night lasts from the close before to its own, and is named by the date on which it opens: the
    afternoon belongs to the night that comes. Nights follow each other without gap or overlap.
    """
    found = None if hours is None else _closes_next(hours, now_us)
    return night_of(now_us, zone) if found is None else Night(found.key, found.opens_us, found.closes_us)


@lru_cache(maxsize=256)
def _closes_next(hours: Hours, now_us: int) -> Occurrence | None:
    return next((found for found in hours.since(now_us) if now_us < found.closes_us), None)


def open_windows(hours: Mapping[str, Hours], now_us: int) -> tuple[str, ...]:
    """Names of the windows that are open now."""
    return tuple(name for name, window in hours.items() if window.is_open(now_us))


def open_occurrences(hours: Mapping[str, Hours], now_us: int) -> list[Occurrence]:
    found = [window.occurrence(now_us) for window in hours.values()]
    return [occurrence for occurrence in found if occurrence is not None]


def days_text(days: Sequence[str]) -> str:
    return ", ".join(day for day in DAYS if day in days)
