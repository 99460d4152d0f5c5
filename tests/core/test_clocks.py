"""When a clock is not believed: a day that is gained would open a fresh night's cap."""

from __future__ import annotations

import pytest

from scheduler.core.clocks import TOLERATED_US, ClockMark, judge_clocks
from scheduler.core.timing import SECOND_US

DAY_US = 86_400 * SECOND_US
WALL_US = 1_795_356_000 * SECOND_US
BOOT_US = 7_000 * SECOND_US
MARK = ClockMark(WALL_US, BOOT_US, "boot-1")


def later(wall_us: int, boot_us: int, boot_id: str = "boot-1") -> ClockMark:
    return ClockMark(WALL_US + wall_us, BOOT_US + boot_us, boot_id)


@pytest.mark.parametrize(
    ("why", "mark", "now", "database_us"),
    [
        ("never looked before", None, MARK, None),
        ("nothing passed", MARK, MARK, None),
        ("an hour passed on both", MARK, later(3_600 * SECOND_US, 3_600 * SECOND_US), None),
        ("suspended for a week: both go on", MARK, later(7 * DAY_US, 7 * DAY_US), None),
        ("a time server corrected it", MARK, later(TOLERATED_US, 0), None),
        ("and back", MARK, later(0, TOLERATED_US), None),
        ("restarted after a month", MARK, later(30 * DAY_US, -BOOT_US, "boot-2"), None),
        ("restarted, a little earlier", MARK, later(-TOLERATED_US, -BOOT_US, "boot-2"), None),
        ("the database agrees", MARK, MARK, WALL_US + TOLERATED_US),
        ("and from the other side", MARK, MARK, WALL_US - TOLERATED_US),
    ],
)
def test_there_is_no_reason_for_doubt(
    why: str, mark: ClockMark | None, now: ClockMark, database_us: int | None
) -> None:
    assert judge_clocks(mark, now, database_us) is None, why


@pytest.mark.parametrize(
    ("mark", "now", "database_us", "told"),
    [
        (MARK, later(DAY_US, 0), None, "put forward by 1 day"),
        (MARK, later(TOLERATED_US + 1, 0), None, "put forward by 1 minute"),
        (MARK, later(-DAY_US, 0), None, "put back by 1 day"),
        (MARK, later(0, TOLERATED_US + 1), None, "put back by 1 minute"),
        (MARK, later(-TOLERATED_US - 1, -BOOT_US, "boot-2"), None, "before 2026-11-22T14:00:00.000Z"),
        (MARK, later(-DAY_US, 3 * DAY_US, "boot-2"), None, "when we last looked"),
        (None, MARK, WALL_US + DAY_US, "1 day apart"),
        (MARK, MARK, WALL_US - TOLERATED_US - 1, "and the database"),
    ],
)
def test_clocks_that_disagree_are_told(
    mark: ClockMark | None, now: ClockMark, database_us: int | None, told: str
) -> None:
    assert told in (judge_clocks(mark, now, database_us) or "")
