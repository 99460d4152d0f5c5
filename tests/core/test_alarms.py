"""Alarms: at which use of a cap somebody is told, and that nobody is told twice."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.alarms import AlarmRules, due_alarms, percent_used
from scheduler.core.caps import CapBooks, Measure

RULES = AlarmRules((50, 80))
amounts = st.integers(0, 10**15)


@pytest.mark.parametrize(
    ("limit", "held", "posted", "told", "due"),
    [
        (100, 0, 49, (), []),
        (100, 0, 50, (), [50]),
        (100, 25, 25, (), [50]),
        (100, 50, 49, (), [50, 80]),
        (100, 80, 0, (50,), [80]),
        (100, 200, 0, (50, 80), []),
        (3, 1, 0, (), []),
        (3, 2, 0, (), [50]),
        (0, 0, 0, (), []),
        (None, 10**12, 0, (), []),
    ],
)
def test_what_is_reserved_counts_like_what_is_spent(
    limit: int | None, held: int, posted: int, told: tuple[int, ...], due: list[int]
) -> None:
    found = due_alarms("runs", Measure.TASKS, CapBooks("key", limit, held, posted), RULES, told)
    assert [alarm.percent for alarm in found] == due


def test_the_sentence_names_cap_share_and_amounts() -> None:
    (alarm,) = due_alarms("night", Measure.COST, CapBooks("k", 2_000_000, 0, 1_300_000), RULES, ())
    assert alarm.sentence == "cap night is at 65 %: $1.30 of $2.00 are spent or reserved"


@given(st.integers(1, 10**15), amounts, amounts)
def test_a_percentage_is_due_exactly_when_it_is_reached(limit: int, held: int, posted: int) -> None:
    books = CapBooks("k", limit, held, posted)
    used = percent_used(books)
    assert used is not None
    assert used * limit <= (held + posted) * 100 < (used + 1) * limit
    due = {alarm.percent for alarm in due_alarms("c", Measure.COST, books, RULES, ())}
    assert due == {percent for percent in (50, 80) if (held + posted) * 100 >= percent * limit}
