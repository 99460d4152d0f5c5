"""Overage: spending beyond credits. Never unless job, policies and caps all allow it, and it is held first.

Policies nest like caps: the house, a project, a night may each have one, and each must allow it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from scheduler.core.money import Money
from scheduler.core.spending import OverageAnswer, OverageProposal


class Overage(StrEnum):
    NEVER = "never"
    ASK = "ask"  # a person approves each job that may need it
    UP_TO = "up to"  # allowed up to an amount


@dataclass(frozen=True, slots=True)
class OveragePolicy:
    """One rule; `up_to_microusd` is for one job and only means something with UP_TO.

    `setting` is where a person finds it. Raises ValueError for a negative amount.
    """

    mode: Overage = Overage.NEVER
    up_to_microusd: int = 0
    setting: str = "overage.policy"

    def __post_init__(self) -> None:
        if self.up_to_microusd < 0:
            raise ValueError(f"{self.setting}: up to {self.up_to_microusd} micro-dollars is negative")


def decide_overage(policies: Sequence[OveragePolicy], proposal: OverageProposal) -> OverageAnswer:
    """Decide by our own arithmetic. The whole quote is held: somebody else may use the credits first.

    Nobody is asked to approve what another policy refuses anyway. No policy at all allows nothing.
    Raises ValueError for a negative quote.
    """
    if proposal.quote_microusd < 0:
        raise ValueError(f"a quote of {proposal.quote_microusd} micro-dollars is negative")
    if not proposal.job_accepts:
        return _refuse("the job does not accept overage")
    if proposal.quote_microusd == 0:
        # Accepting would let the provider charge what nothing is held for.
        return _refuse("its price is zero, so nothing can be held for overage")
    if not policies:
        return _refuse("no overage.policy is set")
    for policy in policies:
        refusal = _refusal(policy, proposal.quote_microusd)
        if refusal is not None:
            return _refuse(refusal)
    asking = [policy.setting for policy in policies if policy.mode is Overage.ASK]
    if asking and not proposal.approved:
        return OverageAnswer(False, 0, True, f"overage waits for an approval ({asking[0]})")
    return OverageAnswer(True, proposal.quote_microusd, False, "accepted, and the whole quote is held")


def _refusal(policy: OveragePolicy, quote_microusd: int) -> str | None:
    match policy.mode:
        case Overage.NEVER:
            return f"overage is switched off here ({policy.setting})"
        case Overage.ASK:
            return None
        case Overage.UP_TO:
            if quote_microusd <= policy.up_to_microusd:
                return None
            price, most = Money(quote_microusd), Money(policy.up_to_microusd)
            return f"its price, {price}, is above the {most} that overage may cost ({policy.setting})"
        case _:
            assert_never(policy.mode)


def _refuse(reason: str) -> OverageAnswer:
    return OverageAnswer(accept=False, hold_microusd=0, needs_approval=False, reason=reason)
