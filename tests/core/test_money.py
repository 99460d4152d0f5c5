"""Money is exact: no float, no rounding but up, no figure that is not one."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.money import (
    LARGEST_MICRO,
    MICRO,
    Credits,
    Money,
    NotMoney,
    micro_from_number,
    money_or_unknown,
)
from scheduler.core.pricing import PriceLine, PriceList, estimate_from_prices


@pytest.mark.parametrize(
    ("written", "microusd"),
    [
        ("2.00 USD", 2_000_000),
        ("$2", 2_000_000),
        ("2.00", 2_000_000),
        (" $ 0.30 ", 300_000),
        ("0", 0),
        ("0.000001", 1),
        ("0.0000001", 1),  # less than the smallest amount there is: rounded up, never away
        ("0.0000010000001", 2),
        ("1000000000", LARGEST_MICRO),
        ("007", 7_000_000),
    ],
)
def test_what_people_write_is_read(written: str, microusd: int) -> None:
    assert Money.parse(written) == Money(microusd)


@pytest.mark.parametrize(
    "written",
    [
        "",
        "two",
        "-1",
        "1e3",
        "1,000",
        "NaN",
        "inf",
        "2.",
        ".5",
        "2.00 EUR",
        "$2 $3",
        "0x10",
        "1_000",
        "1000000001",
        "٢",
    ],
)
def test_what_is_no_amount_is_refused(written: str) -> None:
    with pytest.raises(NotMoney, match=r"amount|bill"):
        Money.parse(written)


@pytest.mark.parametrize(
    ("cents", "microusd"),
    [
        (130, 1_300_000),
        ("130", 1_300_000),
        (Decimal("0.5"), 5_000),
        ("0.00001", 1),
        (Decimal("1E+2"), 1_000_000),
        (0, 0),
    ],
)
def test_a_providers_cents_are_read(cents: object, microusd: int) -> None:
    assert Money.from_cents(cents) == Money(microusd)


@pytest.mark.parametrize(
    "figure",
    [
        1.3,
        0.0,
        float("nan"),
        True,
        False,
        None,
        -1,
        Decimal("-0.01"),
        Decimal("NaN"),
        Decimal("sNaN"),
        Decimal("Infinity"),
        "NaN",
        "",
        "1.3 dollars",
        b"1",
        [1],
        10**30,
        "1e999999999",
        Decimal("1E+999999"),
        LARGEST_MICRO // 10_000 + 1,
    ],
)
def test_a_figure_that_is_no_amount_is_refused(figure: object) -> None:
    with pytest.raises(NotMoney):
        Money.from_cents(figure)


numbers = st.decimals(min_value=0, max_value=10**8, allow_nan=False, allow_infinity=False, places=12)


@given(numbers)
def test_rounding_is_up_and_by_less_than_one_micro_dollar(value: Decimal) -> None:
    exact = Fraction(value) * MICRO
    micro = micro_from_number(value)
    assert exact <= micro < exact + 1


@given(st.integers(0, LARGEST_MICRO))
def test_what_is_written_is_read_again_exactly(microusd: int) -> None:
    money = Money(microusd)
    assert Money.parse(money.decimal_text()) == money
    assert Money.parse(str(money)) == money


@given(st.integers(0, LARGEST_MICRO), st.integers(0, LARGEST_MICRO))
def test_adding_and_taking_away_is_exact(a: int, b: int) -> None:
    assert (Money(a) + Money(b)) - Money(b) == Money(a)
    assert (Money(a) < Money(b)) == (a < b)


@pytest.mark.parametrize(
    ("microusd", "text"),
    [(0, "$0.00"), (1_300_000, "$1.30"), (1, "$0.000001"), (-500_000, "-$0.50"), (10**15, "$1000000000.00")],
)
def test_money_is_shown_exactly(microusd: int, text: str) -> None:
    assert str(Money(microusd)) == text


def test_unknown_is_never_zero_dollars() -> None:
    assert money_or_unknown(None) == "unknown"
    assert money_or_unknown(0) == "$0.00"


def test_credits_are_no_dollars() -> None:
    assert str(Credits.from_number("1.5")) == "1.5"
    assert str(Credits.from_number(3)) == "3"
    with pytest.raises(TypeError):
        Credits(1) + Money(1)  # type: ignore[operator]


@given(st.integers(0, 10**7), st.integers(0, 10**5), st.integers(1, 10**5), st.integers(1, 9))
def test_an_estimate_is_the_sum_of_its_lines(per_task: int, per_shot: int, shots: int, tasks: int) -> None:
    estimate = estimate_from_prices(PriceList(per_task, per_shot), shots, tasks)
    assert estimate.cost_microusd == tasks * per_task + shots * per_shot
    assert sum(line.amount_microusd for line in estimate.lines) == estimate.cost_microusd
    assert estimate.source == "price list"


def test_a_price_line_is_readable() -> None:
    assert str(PriceLine("shot", 100, 900)) == "100 × $0.0009 per shot"
