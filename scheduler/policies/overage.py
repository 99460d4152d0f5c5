"""Overage: spending beyond credits. Never unless job, user and caps all allow it, and it is held first."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Overage(StrEnum):
    NEVER = "never"
    ASK = "ask"  # a person approves each job that may need it
    UP_TO = "up to"  # allowed below an amount


@dataclass(frozen=True, slots=True)
class OveragePolicy:
    """The house's rule; `up_to_microusd` is for one job and only means something with UP_TO."""

    mode: Overage = Overage.NEVER
    up_to_microusd: int = 0


@dataclass(frozen=True, slots=True)
class OverageAnswer:
    """`accept` is what goes on the wire; `hold_microusd` is reserved for it before anything is sent."""

    accept: bool
    hold_microusd: int
    needs_approval: bool
    reason: str


def decide_overage(
    policy: OveragePolicy, *, job_accepts: bool, approved: bool, quote_microusd: int
) -> OverageAnswer:
    """Decide by our own arithmetic. The whole quote is held: somebody else may use the credits first."""
    if not job_accepts:
        return OverageAnswer(False, 0, False, "the job does not accept overage")
    match policy.mode:
        case Overage.NEVER:
            return OverageAnswer(False, 0, False, "overage is switched off here (overage.policy)")
        case Overage.ASK if not approved:
            return OverageAnswer(False, 0, True, "overage waits for an approval")
        case Overage.UP_TO if quote_microusd > policy.up_to_microusd:
            return OverageAnswer(False, 0, False, "the quote is above what overage may cost here")
        case Overage.ASK | Overage.UP_TO:
            return OverageAnswer(True, quote_microusd, False, "accepted, and the whole quote is held")
