"""What an ended task cost, from the facts that are known.

Coda's status reports no cost: the reply to the submission is the only record of what was charged. When even
that is unknown, the whole hold counts as spent, because unknown is never zero.
"""

from __future__ import annotations

from dataclasses import dataclass

from scheduler.core.task import CostFacts


@dataclass(frozen=True, slots=True)
class Settlement:
    """How a hold is closed: `posted_microusd` is spent for good, the rest of the hold is given back.

    `cost_microusd` is what the job is said to have cost; None when there was neither a hold nor a figure.
    """

    posted_microusd: int
    overrun_microusd: int
    cost_microusd: int | None
    evidence: str


def settle(hold_microusd: int | None, cost: CostFacts) -> Settlement:
    """Close a hold (None: a free task has none) with what the provider said at submission."""
    if cost.estimated_cost_microusd is None:
        evidence = "the reply named no cost: the whole hold counts as spent"
        return Settlement(hold_microusd or 0, 0, hold_microusd, evidence)
    posted = cost.estimated_cost_microusd
    overrun = max(0, posted - hold_microusd) if hold_microusd is not None else 0
    return Settlement(posted, overrun, posted, "the cost named in the reply to the submission")
