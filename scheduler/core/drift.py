"""Whether a price may still be relied on. An old price is asked for again; one that rose too far blocks.

Drift is measured from the price that was accepted (the first quote, or the one a person approved), never from
the quote before: many small rises must not add up unseen. No float: a tolerance is parts per million.
"""

from __future__ import annotations

from dataclasses import dataclass

from scheduler.core.money import Money
from scheduler.core.timing import SECOND_US

PPM = 1_000_000
_UNITS = ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second"))


@dataclass(frozen=True, slots=True)
class LatestQuote:
    """What the newest quote of a job said, and when it is too old."""

    cost_microusd: int
    taken_us: int
    valid_until_us: int


@dataclass(frozen=True, slots=True)
class Fresh:
    """It may be relied on until it is too old."""

    sentence: str


@dataclass(frozen=True, slots=True)
class Stale:
    """It must be asked for again before anything is sent."""

    sentence: str


@dataclass(frozen=True, slots=True)
class Drifted:
    """It is above the accepted price by more than is tolerated: a person approves it, or it falls again."""

    by_microusd: int
    sentence: str


def judge_quote(
    accepted_microusd: int | None, latest: LatestQuote, now_us: int, *, tolerance_ppm: int
) -> Fresh | Stale | Drifted:
    """Judge the latest quote; `accepted_microusd` None means that it is the first and so the accepted one.

    A stale one is never called drifted: the next answer may have fallen again. Raises ValueError for a
    negative tolerance or price.
    """
    if tolerance_ppm < 0 or latest.cost_microusd < 0 or (accepted_microusd or 0) < 0:
        raise ValueError("a tolerance or a price is negative")
    price, age = Money(latest.cost_microusd), duration_text(now_us - latest.taken_us)
    if now_us < latest.taken_us:
        return Stale(f"the quote of {price} is from the future, so the clock was put back: asked for again")
    if now_us >= latest.valid_until_us:
        ended = duration_text(now_us - latest.valid_until_us)
        return Stale(f"the quote of {price} is {age} old, its time ended {ended} ago: asked for again")
    if accepted_microusd is not None:
        by_microusd = latest.cost_microusd - accepted_microusd
        # Multiplied out: a division would round, and one micro-dollar above must be above.
        if by_microusd * PPM > accepted_microusd * tolerance_ppm:
            return Drifted(by_microusd, _rise_text(accepted_microusd, by_microusd, age, tolerance_ppm))
    left = duration_text(latest.valid_until_us - now_us)
    return Fresh(f"a quote of {price}, {age} old, valid for another {left}")


def _rise_text(accepted_microusd: int, by_microusd: int, age: str, tolerance_ppm: int) -> str:
    accepted, price = Money(accepted_microusd), Money(accepted_microusd + by_microusd)
    share = f" ({percent_text(-(-by_microusd * PPM // accepted_microusd))})" if accepted_microusd else ""
    return (
        f"the price is {price} now, {Money(by_microusd)}{share} above the accepted {accepted}; "
        f"{percent_text(tolerance_ppm)} is tolerated (the quote is {age} old)"
    )


def percent_text(ppm: int) -> str:
    """Parts per million as exact percent: 153_900 is `15.39 %`."""
    whole, rest = divmod(ppm, PPM // 100)
    fraction = f"{rest:04d}".rstrip("0")
    return f"{whole}.{fraction} %" if fraction else f"{whole} %"


def duration_text(duration_us: int) -> str:
    """A length of time in its largest whole unit, rounded down: `42 seconds`, `1 hour`, `3 days`."""
    seconds = max(0, duration_us) // SECOND_US
    size, unit = next(((size, unit) for size, unit in _UNITS if seconds >= size), (1, "second"))
    count = seconds // size
    return f"{count} {unit}" if count == 1 else f"{count} {unit}s"
