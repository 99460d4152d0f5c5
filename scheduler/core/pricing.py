"""A price is lines, not just a sum: what is charged per task, and what per shot."""

from __future__ import annotations

from dataclasses import dataclass

from scheduler.core.money import Money


@dataclass(frozen=True, slots=True)
class PriceList:
    """Prices of one backend in micro-dollars; all zero is a free one."""

    per_task_microusd: int = 0
    per_shot_microusd: int = 0


@dataclass(frozen=True, slots=True)
class PriceLine:
    """`quantity` × `unit_microusd` of `what`."""

    what: str
    quantity: int
    unit_microusd: int

    @property
    def amount_microusd(self) -> int:
        return self.quantity * self.unit_microusd

    def __str__(self) -> str:
        return f"{self.quantity} × {Money(self.unit_microusd)} per {self.what}"


@dataclass(frozen=True, slots=True)
class Estimate:
    """A predicted cost; `source` says who predicted it (`price list`, or the provider's name)."""

    cost_microusd: int
    source: str
    lines: tuple[PriceLine, ...] = ()
    raw: str = ""


def estimate_from_prices(prices: PriceList, shots: int, tasks: int = 1) -> Estimate:
    lines = (
        PriceLine("task", tasks, prices.per_task_microusd),
        PriceLine("shot", shots, prices.per_shot_microusd),
    )
    return Estimate(sum(line.amount_microusd for line in lines), "price list", lines)
