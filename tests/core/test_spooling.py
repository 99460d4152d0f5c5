"""When a file may be taken: never while somebody may still be writing it."""

from __future__ import annotations

import pytest

from scheduler.core.spooling import Look, is_complete, is_unfinished_name

NOW, QUIET = 1_000_000, 2_000
OLD, NEW, AHEAD = NOW - QUIET, NOW - QUIET + 1, NOW + 10**9
BIG = Look(10, NEW, 7)


@pytest.mark.parametrize(
    ("what", "mtime", "before", "renamed_in", "since", "taken"),
    [
        ("quiet for long enough", OLD, None, False, 0, True),
        ("changed just now", NEW, None, False, 0, False),
        ("changed just now, but renamed in", NEW, None, True, 0, True),
        ("the same after half the time", NEW, Look(10, NEW, 7), False, QUIET // 2, True),
        ("the same, but looked at too soon", NEW, Look(10, NEW, 7), False, QUIET // 2 - 1, False),
        ("grown since", NEW, Look(9, NEW, 7), False, QUIET, False),
        ("written since", NEW, Look(10, NEW - 1, 7), False, QUIET, False),
        ("another file of that name", NEW, Look(10, NEW, 8), False, QUIET, False),
        ("from the future, seen once", AHEAD, None, False, 0, False),
        ("from the future and the same twice", AHEAD, Look(10, AHEAD, 7), False, QUIET // 2, True),
        ("from the future and still growing", AHEAD, Look(9, AHEAD, 7), False, QUIET, False),
    ],
)
def test_a_file_is_taken_when_it_is_complete(
    what: str, mtime: int, before: Look | None, renamed_in: bool, since: int, taken: bool
) -> None:
    look = Look(10, mtime, 7)
    found = is_complete(
        look, before, renamed_in=renamed_in, now_ns=NOW, quiet_ns=QUIET, since_before_ns=since
    )
    assert found == taken, what


@pytest.mark.parametrize(
    ("name", "unfinished"),
    [
        ("bell.qasm", False),
        ("bell.qasm.tmp", True),
        ("bell.part", True),
        ("bell.qasm.crdownload", True),
        ("bell.qasm~", True),
        (".bell.qasm", True),
        (".bell.qasm.swp", True),
        ("tmp.qasm", False),
        ("part", False),
        ("bell.tmp.qasm", False),
    ],
)
def test_a_name_that_says_unfinished_waits(name: str, unfinished: bool) -> None:
    assert is_unfinished_name(name) == unfinished
