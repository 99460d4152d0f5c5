from __future__ import annotations

import pytest

from scheduler.cli.render import bar, counts_line, dollars, histogram, local_time, plain, table, zone_named


@pytest.mark.parametrize(
    ("usd", "text"),
    [(None, "unknown"), ("0.00", "$0.00"), ("1.30", "$1.30"), ("-0.50", "-$0.50")],
)
def test_unknown_is_never_zero(usd: str | None, text: str) -> None:
    assert dollars(usd) == text


def test_a_name_cannot_steer_the_terminal() -> None:
    assert plain("a\x1b[2Jb\nc\u202ed") == "a\\x1b[2Jb\\nc\\u202ed"


def test_a_table_lines_up_and_figures_stand_right() -> None:
    lines = table(("JOB", "SHOTS", "NAME"), [("1", 5, "a"), ("12.10", 1000, "b\x07")], right=("SHOTS",))
    assert lines == ["JOB    SHOTS  NAME", "1          5  a", "12.10   1000  b\\x07"]


def test_a_histogram_shows_every_outcome_with_its_share() -> None:
    outcomes = [line.split() for line in histogram({"11": 25, "00": 75}, width=4)]
    assert [(bits, *figures) for bits, _bar, *figures in outcomes] == [
        ("00", "75", "75.0", "%"),
        ("11", "25", "25.0", "%"),
    ]
    assert len(outcomes[0][1]) == 4, "the most frequent one takes the whole width"


def test_of_many_outcomes_the_most_frequent_are_drawn_and_the_rest_counted() -> None:
    counts = {f"{i:05b}": i + 1 for i in range(32)}
    lines = histogram(counts)
    assert len(lines) == 17
    assert lines[0].startswith("11111")
    assert lines[-1] == f"… and 16 rarer outcomes with {sum(range(1, 17))} shots"


def test_a_histogram_of_nothing_says_so() -> None:
    assert histogram({}) == ["(no shots came back)"]
    assert histogram({"0": 0}) == ["(no shots came back)"]


@pytest.mark.parametrize(("part", "whole", "filled"), [(0, 10, 0), (5, 10, 10), (20, 10, 20), (0, 0, 20)])
def test_a_bar_is_full_when_nothing_is_left(part: float, whole: float, filled: int) -> None:
    drawn = bar(part, whole)
    assert len(drawn) == 22
    assert drawn.count("█") + drawn.count("#") == filled


def test_counts_follow_a_jobs_life_and_skip_zeros() -> None:
    assert counts_line({"completed": 3, "in_doubt": 1, "waiting": 2, "failed": 0, "odd": 1}) == (
        "2 waiting · 1 in doubt · 3 completed · 1 odd"
    )


def test_times_are_local_and_name_their_zone() -> None:
    berlin = zone_named("Europe/Berlin")
    assert local_time("2026-07-02T20:41:07Z", berlin) == "2 Jul 22:41:07 CEST"
    assert local_time("2026-11-22T20:41:07Z", berlin) == "22 Nov 21:41:07 CET"
    assert local_time(None) == "-"
    assert zone_named("No/Where") is None
