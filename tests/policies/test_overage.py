"""Overage, every combination: what goes on the wire as `accept_overage`, and what is held for it."""

from __future__ import annotations

from itertools import product

import pytest

from scheduler.core.spending import OverageProposal
from scheduler.policies.overage import Overage, OveragePolicy, decide_overage

LIMIT = 2_000_000
NEVER = OveragePolicy()
ASK = OveragePolicy(Overage.ASK)
UP_TO = OveragePolicy(Overage.UP_TO, LIMIT)
BELOW, AT, ABOVE = LIMIT - 1, LIMIT, LIMIT + 1

Y, N = True, False
#          policy   job  approved  quote      accept  asks
TABLE = [
    (NEVER, N, N, BELOW, N, N),
    (NEVER, N, Y, BELOW, N, N),
    (NEVER, Y, N, BELOW, N, N),
    (NEVER, Y, Y, BELOW, N, N),
    (NEVER, N, N, ABOVE, N, N),
    (NEVER, N, Y, ABOVE, N, N),
    (NEVER, Y, N, ABOVE, N, N),
    (NEVER, Y, Y, ABOVE, N, N),
    (NEVER, N, N, AT, N, N),
    (NEVER, N, Y, AT, N, N),
    (NEVER, Y, N, AT, N, N),
    (NEVER, Y, Y, AT, N, N),
    (ASK, N, N, BELOW, N, N),
    (ASK, N, Y, BELOW, N, N),
    (ASK, Y, N, BELOW, N, Y),
    (ASK, Y, Y, BELOW, Y, N),
    (ASK, N, N, ABOVE, N, N),
    (ASK, N, Y, ABOVE, N, N),
    (ASK, Y, N, ABOVE, N, Y),
    (ASK, Y, Y, ABOVE, Y, N),
    (ASK, N, N, AT, N, N),
    (ASK, N, Y, AT, N, N),
    (ASK, Y, N, AT, N, Y),
    (ASK, Y, Y, AT, Y, N),
    (UP_TO, N, N, BELOW, N, N),
    (UP_TO, N, Y, BELOW, N, N),
    (UP_TO, Y, N, BELOW, Y, N),
    (UP_TO, Y, Y, BELOW, Y, N),
    (UP_TO, N, N, ABOVE, N, N),
    (UP_TO, N, Y, ABOVE, N, N),
    (UP_TO, Y, N, ABOVE, N, N),
    (UP_TO, Y, Y, ABOVE, N, N),  # an approval does not lift an amount
    (UP_TO, N, N, AT, N, N),
    (UP_TO, N, Y, AT, N, N),
    (UP_TO, Y, N, AT, Y, N),
    (UP_TO, Y, Y, AT, Y, N),
]


@pytest.mark.parametrize(("policy", "job_accepts", "approved", "quote", "accept", "asks"), TABLE)
def test_overage_is_accepted_only_when_all_allow_it_and_then_the_whole_quote_is_held(
    policy: OveragePolicy, job_accepts: bool, approved: bool, quote: int, accept: bool, asks: bool
) -> None:
    answer = decide_overage([policy], OverageProposal(job_accepts, approved, quote))
    assert (answer.accept, answer.needs_approval) == (accept, asks)
    assert answer.hold_microusd == (quote if accept else 0)


def test_the_table_has_every_combination() -> None:
    assert {row[:4] for row in TABLE} == set(product([NEVER, ASK, UP_TO], [Y, N], [Y, N], [BELOW, AT, ABOVE]))
    assert len(TABLE) == 36
    assert {row[0].mode for row in TABLE} == set(Overage)


@pytest.mark.parametrize("policies", list(product([NEVER, ASK, UP_TO], repeat=2)))
@pytest.mark.parametrize("approved", [Y, N])
@pytest.mark.parametrize("quote", [BELOW, ABOVE])
def test_nested_policies_all_hold(
    policies: tuple[OveragePolicy, OveragePolicy], approved: bool, quote: int
) -> None:
    proposal = OverageProposal(True, approved, quote)
    both = decide_overage(policies, proposal)
    each = [decide_overage([policy], proposal) for policy in policies]
    assert both.accept == all(answer.accept for answer in each)
    refused = any(not answer.accept and not answer.needs_approval for answer in each)
    # Nobody is asked to approve what is refused anyway.
    assert both.needs_approval == (not refused and any(answer.needs_approval for answer in each))
    assert both.accept or both.hold_microusd == 0


@pytest.mark.parametrize("policies", [[], [ASK], [UP_TO], [ASK, UP_TO]])
def test_a_price_of_zero_or_no_policy_accepts_nothing(policies: list[OveragePolicy]) -> None:
    for approved in (Y, N):
        answer = decide_overage(policies, OverageProposal(True, approved, 0))
        assert (answer.accept, answer.hold_microusd, answer.needs_approval) == (False, 0, False)
    assert not decide_overage([], OverageProposal(True, True, BELOW)).accept


NIGHT = OveragePolicy(Overage.UP_TO, LIMIT, setting="windows.night.overage")


@pytest.mark.parametrize(
    ("policies", "job_accepts", "quote", "reason"),
    [
        ([ASK], False, AT, "the job does not accept overage"),
        ([NEVER], True, AT, "overage is switched off here (overage.policy)"),
        ([ASK], True, AT, "overage waits for an approval (overage.policy)"),
        (
            [ASK, NIGHT],
            True,
            ABOVE,
            "its price, $2.000001, is above the $2.00 that overage may cost (windows.night.overage)",
        ),
        ([NIGHT], True, AT, "accepted, and the whole quote is held"),
        ([NIGHT], True, 0, "its price is zero, so nothing can be held for overage"),
        ([], True, AT, "no overage.policy is set"),
    ],
)
def test_the_reason_names_the_rule(
    policies: list[OveragePolicy], job_accepts: bool, quote: int, reason: str
) -> None:
    assert decide_overage(policies, OverageProposal(job_accepts, False, quote)).reason == reason


def test_negative_amounts_are_refused() -> None:
    with pytest.raises(ValueError, match="is negative"):
        decide_overage([UP_TO], OverageProposal(True, True, -1))
    with pytest.raises(ValueError, match=r"^overage\.policy: up to -1"):
        OveragePolicy(Overage.UP_TO, -1)
