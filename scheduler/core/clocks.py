"""Whether the clocks agree: a wall clock that jumped a day would open a fresh night's cap.

The wall clock is held against the clock that counts since boot (sleep included) and against the database's.
"""

from __future__ import annotations

from dataclasses import dataclass

from scheduler.core.drift import duration_text
from scheduler.core.timing import SECOND_US, iso

#: What a time server may correct at once, and what two machines may differ by.
TOLERATED_US = 60 * SECOND_US


@dataclass(frozen=True, slots=True)
class ClockMark:
    """Both clocks of this machine at one moment when they were believed; `boot_id` says which boot it was."""

    wall_us: int
    boot_us: int
    boot_id: str


def judge_clocks(
    mark: ClockMark | None, now: ClockMark, database_us: int | None = None, tolerated_us: int = TOLERATED_US
) -> str | None:
    """A sentence when the clocks disagree; None when there is no reason for doubt."""
    if mark is not None and mark.boot_id == now.boot_id:
        jump_us = (now.wall_us - mark.wall_us) - (now.boot_us - mark.boot_us)
        if abs(jump_us) > tolerated_us:
            direction = "forward" if jump_us > 0 else "back"
            by = duration_text(abs(jump_us))
            return f"the wall clock was put {direction} by {by}: it says {iso(now.wall_us)}"
    elif mark is not None and now.wall_us < mark.wall_us - tolerated_us:
        last = iso(mark.wall_us)
        return f"the wall clock says {iso(now.wall_us)}, which is before {last}, when we last looked"
    if database_us is not None and abs(database_us - now.wall_us) > tolerated_us:
        apart = duration_text(abs(database_us - now.wall_us))
        return f"this machine says {iso(now.wall_us)}, and the database {iso(database_us)}: {apart} apart"
    return None
