"""Drift: when a price is relied on, asked for again, or blocks; and that no rise slips through."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.drift import (
    Drifted,
    Fresh,
    LatestQuote,
    Stale,
    duration_text,
    judge_quote,
    percent_text,
)
from scheduler.core.timing import SECOND_US

HOUR_US = 3600 * SECOND_US
TAKEN_US = 1_000 * HOUR_US


def quote(cost_microusd: int) -> LatestQuote:
    return LatestQuote(cost_microusd, TAKEN_US, TAKEN_US + HOUR_US)


@pytest.mark.parametrize(
    ("accepted", "latest", "tolerance_ppm", "by"),
    [
        (None, 1_300_000, 0, None),  # the first quote is the accepted one
        (1_300_000, 1_300_000, 0, None),
        (1_300_000, 1_300_001, 0, 1),
        (1_300_000, 1_200_000, 0, None),  # cheaper is welcome
        (1_000_000, 1_050_000, 50_000, None),  # exactly as much as is tolerated
        (1_000_000, 1_050_001, 50_000, 50_001),
        (3, 3, 333_333, None),
        (3, 4, 333_333, 1),  # a third is above 33.3333 %: nothing is rounded
        (3, 4, 333_334, None),
        (0, 0, 50_000, None),
        (0, 1, 1_000_000, 1),  # no share of nothing makes something free cost money
        (10**15, 2 * 10**15, 999_999, 10**15),
        (10**15, 2 * 10**15, 1_000_000, None),
    ],
)
def test_a_price_drifts_when_it_rose_by_more_than_is_tolerated(
    accepted: int | None, latest: int, tolerance_ppm: int, by: int | None
) -> None:
    answer = judge_quote(accepted, quote(latest), TAKEN_US, tolerance_ppm=tolerance_ppm)
    if by is None:
        assert isinstance(answer, Fresh)
    else:
        assert isinstance(answer, Drifted)
        assert answer.by_microusd == by


@pytest.mark.parametrize(
    ("age_us", "kind"),
    [
        (-1, Stale),  # from the future
        (0, Fresh),
        (HOUR_US - 1, Fresh),
        (HOUR_US, Stale),
        (HOUR_US * 24 * 400, Stale),
    ],
)
@pytest.mark.parametrize("accepted", [None, 1_300_000])
def test_a_price_is_relied_on_within_its_time_only(
    age_us: int, kind: type[Fresh | Stale], accepted: int | None
) -> None:
    assert isinstance(judge_quote(accepted, quote(1_300_000), TAKEN_US + age_us, tolerance_ppm=0), kind)


def test_an_old_price_is_asked_for_again_before_it_is_called_drifted() -> None:
    answer = judge_quote(1, quote(10**9), TAKEN_US + HOUR_US, tolerance_ppm=0)
    assert isinstance(answer, Stale)


def test_sentences_show_the_age_the_rise_and_the_tolerance() -> None:
    now_us = TAKEN_US + 12 * 60 * SECOND_US
    fresh = judge_quote(1_300_000, quote(1_300_000), now_us, tolerance_ppm=50_000)
    drifted = judge_quote(1_300_000, quote(1_500_000), now_us, tolerance_ppm=50_000)
    from_nothing = judge_quote(0, quote(1_500_000), now_us, tolerance_ppm=50_000)
    stale = judge_quote(1_300_000, quote(1_300_000), TAKEN_US + 3 * HOUR_US, tolerance_ppm=50_000)
    future = judge_quote(1_300_000, quote(1_300_000), TAKEN_US - 1, tolerance_ppm=50_000)
    assert [fresh.sentence, drifted.sentence, from_nothing.sentence, stale.sentence, future.sentence] == [
        "a quote of $1.30, 12 minutes old, valid for another 48 minutes",
        "the price is $1.50 now, $0.20 (15.3847 %) above the accepted $1.30; 5 % is tolerated "
        "(the quote is 12 minutes old)",
        "the price is $1.50 now, $1.50 above the accepted $0.00; 5 % is tolerated "
        "(the quote is 12 minutes old)",
        "the quote of $1.30 is 3 hours old, its time ended 2 hours ago: asked for again",
        "the quote of $1.30 is from the future, so the clock was put back: asked for again",
    ]


@pytest.mark.parametrize(("accepted", "cost", "tolerance"), [(-1, 1, 0), (1, -1, 0), (1, 1, -1)])
def test_negative_figures_are_refused(accepted: int, cost: int, tolerance: int) -> None:
    with pytest.raises(ValueError, match="negative"):
        judge_quote(accepted, quote(cost), TAKEN_US, tolerance_ppm=tolerance)


@given(
    accepted=st.integers(0, 10**15),
    tolerance_ppm=st.integers(0, 10**7),
    above=st.integers(1, 10**6),
)
def test_the_highest_price_that_passes_is_exact(accepted: int, tolerance_ppm: int, above: int) -> None:
    highest = accepted + accepted * tolerance_ppm // 1_000_000
    passes = judge_quote(accepted, quote(highest), TAKEN_US, tolerance_ppm=tolerance_ppm)
    blocks = judge_quote(accepted, quote(highest + above), TAKEN_US, tolerance_ppm=tolerance_ppm)
    assert isinstance(passes, Fresh)
    assert isinstance(blocks, Drifted)
    assert blocks.by_microusd == highest + above - accepted


@pytest.mark.parametrize(
    ("ppm", "text"),
    [(0, "0 %"), (50_000, "5 %"), (153_900, "15.39 %"), (1, "0.0001 %"), (10**6, "100 %")],
)
def test_parts_per_million_are_written_as_percent(ppm: int, text: str) -> None:
    assert percent_text(ppm) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0 seconds"),
        (0, "0 seconds"),
        (1, "1 second"),
        (59, "59 seconds"),
        (60, "1 minute"),
        (3_599, "59 minutes"),
        (3_600, "1 hour"),
        (86_399, "23 hours"),
        (86_400 * 3, "3 days"),
    ],
)
def test_durations_are_told_in_their_largest_unit(seconds: int, text: str) -> None:
    assert duration_text(seconds * SECOND_US) == text
