"""What an ended task cost, from what is known; unknown is never zero."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.lifecycle import AttemptState as A
from scheduler.core.settlement import Booked, Held, beyond_hold, charge_of, settle
from scheduler.core.task import CostFacts


@pytest.mark.parametrize(
    ("hold", "said", "posted", "overrun", "cost"),
    [
        (100, 100, 100, 0, 100),
        (100, 70, 70, 0, 70),
        (100, 130, 130, 30, 130),
        (100, 0, 0, 0, 0),
        (100, None, 100, 0, 100),  # nobody said: the whole hold counts as spent
        (0, 0, 0, 0, 0),
        (0, 5, 5, 5, 5),
        (0, None, 0, 0, 0),
        (None, None, 0, 0, None),  # a free task of unknown cost: unknown, not zero
        (None, 0, 0, 0, 0),
        (None, 7, 7, 0, 7),
    ],
)
def test_a_hold_is_closed_with_what_is_known(
    hold: int | None, said: int | None, posted: int, overrun: int, cost: int | None
) -> None:
    found = settle(hold, CostFacts(estimated_cost_microusd=said))
    assert (found.posted_microusd, found.overrun_microusd, found.cost_microusd) == (posted, overrun, cost)
    assert found.evidence


@given(st.integers(0, 10**12), st.one_of(st.none(), st.integers(0, 10**12)))
def test_what_is_posted_is_the_hold_plus_the_overrun_at_most(hold: int, said: int | None) -> None:
    found = settle(hold, CostFacts(said, 3, 5))
    assert 0 <= found.posted_microusd <= hold + found.overrun_microusd
    assert (found.overrun_microusd > 0) == (said is not None and said > hold)


def test_credits_and_overage_are_facts_of_their_own() -> None:
    assert settle(100, CostFacts(None, 50, 60)).posted_microusd == 100


@pytest.mark.parametrize(
    ("held", "applied", "overage", "told"),
    [
        (Held(2, 0), 2, 0, []),
        (Held(2, 0), 1, 0, []),
        (Held(2, 5), 0, 5, []),
        (Held(2, 0), None, None, []),
        (Held(None, 0), 90, 0, []),  # no grant and no cap of credits: there was nothing to go beyond
        (Held(0, 0), 1, 0, ["took 0.000001 credits where 0 were reserved"]),
        (
            Held(2_000_000, 0),
            90_000_000,
            500_000,
            [
                "took 90 credits where 2 were reserved",
                "charged $0.50 of overage where $0.00 were reserved for it",
            ],
        ),
    ],
)
def test_credits_and_overage_above_the_hold_are_told(
    held: Held, applied: int | None, overage: int | None, told: list[str]
) -> None:
    assert beyond_hold(held, CostFacts(1, applied, overage)) == told


SAID = "the cost named in the reply to the submission"
POSTED = Booked("posted", 1_300_000, 0, SAID)


@pytest.mark.parametrize(
    ("state", "booked", "cost", "reason", "word", "evidence"),
    [
        (A.SUBMITTED, Booked("open"), 1_300_000, None, None, None),
        (A.IN_DOUBT, Booked("open"), None, "502", None, None),
        (A.SETTLED, POSTED, 1_300_000, None, "charged", f"$1.30, {SAID}"),
        (
            A.FAILED,
            POSTED,
            1_300_000,
            "calibration lost",
            "charged",
            f"$1.30, {SAID}; a failed run counts as charged until there is evidence of a refund",
        ),
        (
            A.SETTLED,
            Booked("posted", 5, 0, "no cost named"),
            None,
            None,
            "unknown",
            "no cost named: $0.000005 count",
        ),
        (A.WRITTEN_OFF, POSTED, None, None, "unknown", f"{SAID}: $1.30 count as spent"),
        (
            A.FAILED,
            Booked("posted", 1_300_000, 1_300_000, SAID),
            1_300_000,
            "lost",
            "refunded",
            "$1.30 of $1.30 came back",
        ),
        (A.REFUSED, Booked("voided", evidence="402"), None, "402", "not charged", "402"),
        (A.NOT_SENT, Booked(None), None, "cancelled", "not charged", "cancelled"),
        (A.SETTLED, Booked(None), 0, None, "not charged", "it ran where nothing is charged"),
    ],
)
def test_every_ended_attempt_says_whether_it_was_charged_and_how_that_is_known(
    state: A, booked: Booked, cost: int | None, reason: str | None, word: str | None, evidence: str | None
) -> None:
    found = charge_of(state, booked, CostFacts(cost), reason)
    assert (found and found.word, evidence is None or (found and found.evidence.startswith(evidence))) == (
        word,
        True,
    )
