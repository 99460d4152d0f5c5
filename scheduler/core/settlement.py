"""What an ended task cost, from the facts that are known.

Coda's status reports no cost: the reply to the submission is the only record of what was charged. When even
that is unknown, the whole hold counts as spent, because unknown is never zero.
"""

from __future__ import annotations

from dataclasses import dataclass

from scheduler.core.lifecycle import ATTEMPT_ENDED, AttemptState, HoldState
from scheduler.core.money import Credits, Money
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


@dataclass(frozen=True, slots=True)
class Held:
    """What an open hold reserved beside the cost; credits None: none are granted or capped, so none could."""

    credits_microcredits: int | None
    overage_microusd: int


def beyond_hold(held: Held, cost: CostFacts) -> list[str]:
    """What a reply took beyond the hold, in words; each is booked as it is, and a person has to look."""
    told = []
    applied, overage = cost.credits_applied_microcredits, cost.overage_microusd
    if applied is not None and held.credits_microcredits is not None and applied > held.credits_microcredits:
        told.append(
            f"took {Credits(applied)} credits where {Credits(held.credits_microcredits)} were reserved"
        )
    if overage is not None and overage > held.overage_microusd:
        reserved = Money(held.overage_microusd)
        told.append(f"charged {Money(overage)} of overage where {reserved} were reserved for it")
    return told


@dataclass(frozen=True, slots=True)
class Booked:
    """What is booked for an attempt; `hold_state` None: it had no hold, because it is free or never left."""

    hold_state: str | None
    posted_microusd: int | None = None
    refunded_microusd: int = 0
    evidence: str | None = None


NOTHING_BOOKED = Booked(None)


@dataclass(frozen=True, slots=True)
class Charge:
    """`charged`, `refunded`, `unknown` or `not charged`, and how that is known."""

    word: str
    evidence: str


def charge_of(state: AttemptState, booked: Booked, cost: CostFacts, reason: str | None) -> Charge | None:
    """Say whether an ended attempt was charged; None while it has not ended."""
    if state not in ATTEMPT_ENDED:
        return None
    if state in (AttemptState.REFUSED, AttemptState.NOT_SENT):
        return Charge("not charged", booked.evidence or reason or "nothing was sent")
    if booked.hold_state != HoldState.POSTED:
        return Charge("not charged", "it ran where nothing is charged")
    posted, evidence = Money(booked.posted_microusd or 0), booked.evidence or "nobody said why"
    if booked.refunded_microusd:
        return Charge("refunded", f"{Money(booked.refunded_microusd)} of {posted} came back")
    if cost.estimated_cost_microusd is None:
        return Charge("unknown", f"{evidence}: {posted} count as spent")
    failed = "; a failed run counts as charged until there is evidence of a refund"
    return Charge("charged", f"{posted}, {evidence}{failed if state is AttemptState.FAILED else ''}")
