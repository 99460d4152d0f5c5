"""When things are due: polls, retries, nights. Time comes in by argument, in microseconds since 1970 UTC."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo

SECOND_US = 1_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NOON = time(12, 0)


def to_datetime(us: int) -> datetime:
    return _EPOCH + timedelta(microseconds=us)


def to_us(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)


def iso(us: int) -> str:
    """UTC in ISO 8601 with milliseconds and a Z, as every JSON answer has it."""
    return to_datetime(us).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def iso_or_none(us: int | None) -> str | None:
    return None if us is None else iso(us)


@dataclass(frozen=True, slots=True)
class Night:
    """One occurrence of the hours that share a cap; `key` is the local date of its start and is unique."""

    key: str
    opens_us: int
    closes_us: int

    @property
    def name(self) -> str:
        return night_name(self.key)


def night_name(key: str) -> str:
    """`Sun 22 → Mon 23 Nov`, for the night that begins on this date."""
    first = date.fromisoformat(key)
    second = first + timedelta(days=1)
    month = "" if first.month == second.month else f" {first:%b}"
    return f"{first:%a} {first.day}{month} → {second:%a} {second.day} {second:%b}"


def night_of(now_us: int, zone: tzinfo) -> Night:
    """Return the night that `now_us` belongs to: local noon to local noon, so 23 or 25 hours around DST.

    Noon exists exactly once on every day that a zone has, which midnight and 02:30 do not.
    """
    local = to_datetime(now_us).astimezone(zone)

    def noon(day: date) -> int:
        return to_us(datetime.combine(day, _NOON, tzinfo=zone).astimezone(UTC))

    first = local.date()
    while noon(first) > now_us:  # instants, not dates: a calendar may skip a day (Apia did)
        first -= timedelta(days=1)
    return Night(first.isoformat(), noon(first), noon(first + timedelta(days=1)))


def _spread(key: str, number: int) -> float:
    """A steady pseudo-random number in [0, 1): the same attempt and try always wait the same."""
    return zlib.crc32(f"{key}/{number}".encode()) / 2**32


@dataclass(frozen=True, slots=True)
class PollPace:
    """The shortest and longest pause between two looks at one task, in seconds."""

    min_interval_s: float = 1.0
    max_interval_s: float = 300.0


def next_poll_at_us(attempt_id: str, sent_us: int, now_us: int, polls: int, pace: PollPace) -> int:
    """Return when to look next: soon after submission often, in long queues rarely, with jitter and a cap.

    The pause grows with the time waited so far (an eighth of it), so a result is noticed at most about
    12 % later than it was there, and a task that is unknown for days costs a few calls a day.
    """
    if polls == 0:
        pause_s = pace.min_interval_s
    else:
        waited_s = max(0, now_us - sent_us) / SECOND_US
        pause_s = min(max(pace.min_interval_s, waited_s / 8), pace.max_interval_s)
        pause_s *= 0.85 + 0.3 * _spread(attempt_id, polls)
    return now_us + int(pause_s * SECOND_US)


def retry_at_us(
    key: str,
    now_us: int,
    failures: int,
    retry_after_s: float | None,
    *,
    first_s: float = 2.0,
    last_s: float = 300.0,
) -> int:
    """Return when to try again after `failures` failures in a row: equal jitter; `Retry-After` is obeyed."""
    ceiling_s = min(last_s, first_s * 2 ** min(max(failures - 1, 0), 20))
    pause_s = ceiling_s / 2 + ceiling_s / 2 * _spread(key, failures)
    if retry_after_s is not None:
        pause_s = max(pause_s, min(retry_after_s, 86_400.0))
    return now_us + int(pause_s * SECOND_US)
