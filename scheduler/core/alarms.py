"""Alarms before a cap is full: at 50 and 80 percent, each told once for each window.

What is reserved counts like what is spent: an alarm that waits for the bill comes when it is too late.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from scheduler.core.caps import CapBooks, Measure, amount_text


@dataclass(frozen=True, slots=True)
class AlarmRules:
    """The percentages of a cap, ascending, at which somebody is told."""

    at_percent: tuple[int, ...] = (50, 80)


@dataclass(frozen=True, slots=True)
class Alarm:
    """A percentage of a window that has been reached, in words."""

    window_key: str
    cap: str
    percent: int
    sentence: str


def percent_used(books: CapBooks) -> int | None:
    """Whole percent that are spent or reserved, rounded down; None when the cap has no size to be part of."""
    if not books.limit:
        return None
    return (books.held + books.posted) * 100 // books.limit


def due_alarms(
    cap: str, measure: Measure, books: CapBooks, rules: AlarmRules, told: Collection[int]
) -> list[Alarm]:
    """Every percentage that is reached and was not told yet of this window, the smallest first.

    A window that leaps over several tells them all; whoever shows them may show the last.
    """
    used = percent_used(books)
    if used is None:
        return []
    sentence = (
        f"cap {cap} is at {used} %: {amount_text(measure, books.held + books.posted)} of "
        f"{amount_text(measure, books.limit or 0)} are spent or reserved"
    )
    return [
        Alarm(books.key, cap, percent, sentence)
        for percent in rules.at_percent
        if percent <= used and percent not in told
    ]
