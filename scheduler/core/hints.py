"""`braket_execution_mode_hint = "auto"`: ask the price of each, take the cheapest, write down all three."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from scheduler.core.money import Money

#: What may go on the wire, in the order in which equal prices are preferred: no hint is the plain case.
HINTS: tuple[str | None, ...] = (None, "program_set", "run_batch")


@dataclass(frozen=True, slots=True)
class HintPrice:
    """What the provider asked for one hint; `cost_microusd` None is no price, `problem` says why."""

    hint: str | None
    cost_microusd: int | None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class HintChoice:
    """`cheapest` None: no price is known, so the job waits. `text` names all three, for people."""

    cheapest: HintPrice | None
    text: str


def choose_hint(prices: Sequence[HintPrice]) -> HintChoice:
    """Choose the cheapest hint that has a price. Raises ValueError unless each hint is there exactly once."""
    by_hint = {price.hint: price for price in prices}
    if len(prices) != len(HINTS) or by_hint.keys() != set(HINTS):
        raise ValueError(f"a price for each of {HINTS} is needed, and {[p.hint for p in prices]} are there")
    ordered = [by_hint[hint] for hint in HINTS]
    cheapest: HintPrice | None = None
    lowest_microusd: int | None = None
    for price in ordered:
        # A failed estimate is not a free run: it is never the cheapest.
        if price.cost_microusd is None:
            continue
        if lowest_microusd is None or price.cost_microusd < lowest_microusd:
            cheapest, lowest_microusd = price, price.cost_microusd
    return HintChoice(cheapest, ", ".join(_price_text(price, price is cheapest) for price in ordered))


def _price_text(price: HintPrice, chosen: bool) -> str:
    name = price.hint or "no hint"
    if price.cost_microusd is None:
        return f"{name}: no price ({price.problem or 'no reason given'})"
    return f"{name}: {Money(price.cost_microusd)}{' (chosen)' if chosen else ''}"
