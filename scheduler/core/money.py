"""Money and credits are integers; this is the only place that rounds, and it rounds up.

Two assets that are never added to each other: dollars in micro-dollars, credits in micro-credits.
No float ever touches either: numbers from outside arrive as int, str or Decimal.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal, InvalidOperation

MICRO = 1_000_000
#: Far above any bill, far below what a 64-bit column holds: a larger figure is a mistake, not a price.
LARGEST_MICRO = 10**15

_WRITTEN = re.compile(r"^\s*\$?\s*(?P<number>[0-9]+(?:\.[0-9]+)?)\s*(?P<unit>USD)?\s*$")


class NotMoney(ValueError):
    """A figure cannot be read as an amount; the message names the figure and the reason."""


def micro_from_number(value: object, *, per_unit: int = MICRO) -> int:
    """Return `value` units in micro-units, rounded up to the next whole one.

    `per_unit` is how many micro-units one unit has (1_000_000 for dollars, 10_000 for cents).
    Raises NotMoney for booleans, floats, negative, NaN, infinite or absurdly large figures.
    """
    if isinstance(value, bool) or not isinstance(value, int | str | Decimal):
        raise NotMoney(f"{value!r} is not an amount: a whole number or a decimal number is needed")
    if isinstance(value, str) and "_" in value:
        raise NotMoney(f"{value!r} is not an amount")  # Decimal would read 1_000 as Python does
    try:
        exact = Decimal(value.strip() if isinstance(value, str) else value)
    except InvalidOperation:
        raise NotMoney(f"{value!r} is not an amount") from None
    if not exact.is_finite():
        raise NotMoney(f"{value!r} is not a finite amount")
    if exact < 0:
        raise NotMoney(f"{value!r} is negative")
    if exact > LARGEST_MICRO:
        raise NotMoney(f"{value!r} is larger than any bill")
    micro = int((exact * per_unit).to_integral_value(rounding=ROUND_CEILING))
    if micro > LARGEST_MICRO:
        raise NotMoney(f"{value!r} is larger than any bill")
    return micro


@dataclass(frozen=True, slots=True, order=True)
class Money:
    """An amount of US dollars in whole micro-dollars; negative only as a difference."""

    microusd: int

    @classmethod
    def parse(cls, text: str) -> Money:
        """Read what people write: `2.00 USD`, `$2`, `2.00`. Raises NotMoney with the accepted forms."""
        found = _WRITTEN.match(text)
        if not found:
            raise NotMoney(f"{text!r} is not an amount of money: write it as '2.00 USD'")
        return cls(micro_from_number(found["number"]))

    @classmethod
    def from_cents(cls, cents: object) -> Money:
        """Read a provider's figure in cents (int, str or Decimal), rounded up to the micro-dollar."""
        return cls(micro_from_number(cents, per_unit=MICRO // 100))

    def __add__(self, other: Money) -> Money:
        return Money(self.microusd + other.microusd)

    def __sub__(self, other: Money) -> Money:
        return Money(self.microusd - other.microusd)

    def decimal_text(self) -> str:
        """The exact amount as a decimal string with at least two places, for JSON: `1.30`."""
        sign = "-" if self.microusd < 0 else ""
        whole, micro = divmod(abs(self.microusd), MICRO)
        fraction = f"{micro:06d}".rstrip("0").ljust(2, "0")
        return f"{sign}{whole}.{fraction}"

    def __str__(self) -> str:
        text = self.decimal_text()
        return f"-${text[1:]}" if text.startswith("-") else f"${text}"


ZERO = Money(0)


@dataclass(frozen=True, slots=True, order=True)
class Credits:
    """An amount of provider credits in whole micro-credits; never converted to dollars."""

    microcredits: int

    @classmethod
    def from_number(cls, value: object) -> Credits:
        return cls(micro_from_number(value))

    def __str__(self) -> str:
        sign = "-" if self.microcredits < 0 else ""
        whole, micro = divmod(abs(self.microcredits), MICRO)
        fraction = f"{micro:06d}".rstrip("0")
        return f"{sign}{whole}.{fraction}" if fraction else f"{sign}{whole}"


def money_or_unknown(microusd: int | None) -> str:
    """Unknown is never $0.00."""
    return "unknown" if microusd is None else str(Money(microusd))
