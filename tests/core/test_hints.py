"""The execution hint "auto": the cheapest of three prices, and what is written down about the others."""

from __future__ import annotations

import pytest

from scheduler.core.hints import HINTS, HintPrice, choose_hint


def prices(*costs: int | None) -> list[HintPrice]:
    return [
        HintPrice(hint, cost, "" if cost is not None else "HTTP 500")
        for hint, cost in zip(HINTS, costs, strict=True)
    ]


@pytest.mark.parametrize(
    ("costs", "chosen"),
    [
        ((3, 2, 1), "run_batch"),
        ((3, 1, 2), "program_set"),
        ((1, 2, 3), None),
        ((1, 1, 1), None),  # no hint is the plain case
        ((2, 1, 1), "program_set"),
        ((None, 2, 2), "program_set"),
        ((None, None, 9), "run_batch"),  # a failed estimate is not a free run
        ((0, None, None), None),
        ((1, 0, None), "program_set"),
        ((9, None, 9), None),
    ],
)
def test_the_cheapest_hint_that_has_a_price_is_chosen(
    costs: tuple[int | None, ...], chosen: str | None
) -> None:
    for asked in (prices(*costs), prices(*costs)[::-1]):
        choice = choose_hint(asked)
        assert choice.cheapest is not None
        assert choice.cheapest.hint == chosen


def test_nothing_is_chosen_when_no_price_is_known() -> None:
    choice = choose_hint(prices(None, None, None))
    assert choice.cheapest is None
    assert choice.text == (
        "no hint: no price (HTTP 500), program_set: no price (HTTP 500), run_batch: no price (HTTP 500)"
    )


def test_all_three_prices_are_written_down() -> None:
    choice = choose_hint([HintPrice("run_batch", None), *prices(1_300_000, 1_000_000, None)[:2]])
    assert choice.text == (
        "no hint: $1.30, program_set: $1.00 (chosen), run_batch: no price (no reason given)"
    )


@pytest.mark.parametrize(
    "asked",
    [
        [],
        prices(1, 2, 3)[:2],
        [*prices(1, 2, 3), HintPrice(None, 1)],
        [*prices(1, 2, 3)[:2], HintPrice(None, 1)],
        [*prices(1, 2, 3)[:2], HintPrice("batch", 1)],
    ],
)
def test_each_hint_is_asked_exactly_once(asked: list[HintPrice]) -> None:
    with pytest.raises(ValueError, match="a price for each of"):
        choose_hint(asked)
