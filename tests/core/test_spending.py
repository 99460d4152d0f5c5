"""What a job may spend: everything it needs is there, or every reason why not is named."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.caps import Cap, CapBooks, Measure, Period, Scope, Spender, Window, windows_of
from scheduler.core.ledger import Grant
from scheduler.core.money import MICRO
from scheduler.core.spending import (
    JOB_CAP,
    Funds,
    OverageAnswer,
    OverageProposal,
    Spending,
    SpendingRules,
    Wish,
    no_overage,
    plan_spending,
    predicted_credits,
    spend,
)

NOW_US = 1_795_356_000_000_000
ADA = Spender("ada", "qec", "coda:iqm", 3, 1)
WISH = Wish(ADA, 1_300_000, 100, label="3.1")
RULES = SpendingRules()
NIGHT = Cap("night", Measure.COST, Scope.EVERYONE, Period.NIGHT, 10 * MICRO)
CREDITS = Cap("month", Measure.CREDITS, Scope.EVERYONE, Period.MONTH, 50 * MICRO)
SHOTS = Cap("shots", Measure.SHOTS, Scope.USER, Period.DAY, 1_000)
RUNS = Cap("runs", Measure.TASKS, Scope.EVERYONE, Period.TOTAL, 10)
BEYOND = Cap("beyond", Measure.OVERAGE, Scope.EVERYONE, Period.NIGHT, 2 * MICRO)


def grant(number: int, amount: int, **other: Any) -> Grant:
    values: dict[str, Any] = {"priority": 0, "effective_us": 0, "expires_us": None}
    return Grant(number, "coda", amount * MICRO, **(values | other))


def windows(*caps: Cap, spender: Spender = ADA) -> list[Window]:
    return windows_of(caps, spender, NOW_US)


def all_of(proposal: OverageProposal) -> OverageAnswer:
    return OverageAnswer(True, proposal.quote_microusd, False, "as you like")


def asks(_proposal: OverageProposal) -> OverageAnswer:
    return OverageAnswer(False, 0, True, "overage needs an approval")


def plan(
    *caps: Cap,
    wish: Wish = WISH,
    grants: tuple[Grant, ...] = (),
    rules: SpendingRules = RULES,
    books: dict[str, CapBooks] | None = None,
) -> tuple[Spending | None, list[str]]:
    funds = Funds(books or {}, {"coda": grants} if grants else {})
    spending, refusals = plan_spending(wish, windows(*caps), funds, rules, NOW_US)
    assert (spending is None) == bool(refusals), "a plan, or the reasons why there is none"
    return spending, [refusal.code for refusal in refusals]


def planned(*caps: Cap, **other: Any) -> Spending:
    spending, codes = plan(*caps, **other)
    assert spending is not None, codes
    return spending


# ----------------------------------------------------------------------------------------------- credits


@pytest.mark.parametrize(
    ("quote_microusd", "cents", "whole"),
    [
        (0, 100, 0),
        (1, 100, 1),
        (1_000_000, 100, 1),
        (1_000_001, 100, 2),
        (1_300_000, 100, 2),
        (1_300_000, 10, 13),
        (1_300_000, 130, 1),
        (1_300_001, 130, 2),
    ],
)
def test_credits_are_predicted_in_whole_ones_and_upwards(quote_microusd: int, cents: int, whole: int) -> None:
    assert predicted_credits(quote_microusd, cents).microcredits == whole * MICRO


def test_no_grant_is_an_unknown_balance_and_not_zero() -> None:
    spending = planned()
    assert spending.credit_parts == ()
    assert not spending.accept_overage, "the provider refuses what credits do not pay"
    assert spending.use.credits_microcredits == 2 * MICRO, "caps on credits count the prediction"


def test_grants_are_held_in_the_order_in_which_they_burn_down() -> None:
    soon = grant(2, 1, expires_us=NOW_US + 1)
    spending = planned(grants=(grant(1, 9), soon))
    taken = [(str(part.account), part.amount) for part in spending.credit_parts]
    assert taken == [("grant:2", MICRO), ("grant:1", MICRO)]


@pytest.mark.parametrize(
    "grants",
    [
        (grant(1, 1),),
        (grant(1, 9, users=frozenset({"bob"})),),
        (grant(1, 9, projects=frozenset({"chem"})),),
        (grant(1, 9, backends=frozenset({"coda:ionq"})),),
        (grant(1, 9, expires_us=NOW_US),),
        (grant(1, 9, effective_us=NOW_US + 1),),
    ],
)
def test_credits_that_are_not_there_for_it_are_refused_and_told(grants: tuple[Grant, ...]) -> None:
    assert plan(grants=grants) == (None, ["credits"])
    funds = Funds({}, {"coda": grants})
    _, (refusal,) = plan_spending(WISH, [], funds, RULES, NOW_US)
    assert refusal.sentence.startswith("needs about 2 credits; ")
    assert (refusal.fix or "").startswith("nightshot budget grant ")


def test_credits_of_another_provider_are_no_matter() -> None:
    funds = Funds({}, {"other": (grant(1, 0),)})
    spending, _ = plan_spending(WISH, [], funds, RULES, NOW_US)
    assert spending is not None
    assert spending.credit_parts == ()


# ----------------------------------------------------------------------------------------------- overage


def test_overage_is_off_unless_a_policy_says_otherwise() -> None:
    answer = no_overage(OverageProposal(True, True, 1))
    assert (answer.accept, answer.hold_microusd) == (False, 0)
    assert "overage.policy" in answer.reason
    assert not planned(wish=replace(WISH, accepts_overage=True)).accept_overage


def test_what_credits_do_not_pay_is_held_as_overage() -> None:
    rules = replace(RULES, overage=all_of)
    spending = planned(NIGHT, BEYOND, grants=(grant(1, 1),), rules=rules)
    assert spending.accept_overage
    assert spending.use.overage_microusd == 1_300_000, "at most, whatever the credits are worth"
    assert [part.amount for part in spending.credit_parts] == [MICRO], "all credits that are free"


def test_overage_that_no_cap_has_room_for_is_not_sent() -> None:
    rules = replace(RULES, overage=all_of)
    assert plan(replace(BEYOND, limit=1_299_999), rules=rules) == (None, ["cap:beyond"])


def test_overage_that_needs_a_person_waits_for_one() -> None:
    assert plan(rules=replace(RULES, overage=asks)) == (None, ["overage"])


@pytest.mark.parametrize(
    ("approved", "asked"), [(None, False), (1_299_999, False), (1_300_000, True), (9_999_999, True)]
)
def test_a_policy_is_told_of_approvals_that_reach_the_price(approved: int | None, asked: bool) -> None:
    seen: list[OverageProposal] = []

    def remember(proposal: OverageProposal) -> OverageAnswer:
        seen.append(proposal)
        return no_overage(proposal)

    wish = replace(WISH, approved_microusd=approved, accepts_overage=True)
    planned(wish=wish, rules=replace(RULES, overage=remember))
    assert seen == [OverageProposal(True, asked, 1_300_000)]


# ------------------------------------------------------------------------------------- approvals and caps


@pytest.mark.parametrize(
    ("above", "approved", "waits"),
    [
        (None, None, False),
        (1_300_000, None, False),
        (1_299_999, None, True),
        (1_299_999, 1_299_999, True),  # a price that rose since must be approved again
        (1_299_999, 1_300_000, False),
        (0, 0, True),
    ],
)
def test_a_dear_job_waits_for_a_person(above: int | None, approved: int | None, waits: bool) -> None:
    rules = replace(RULES, approval_above_microusd=above)
    _, codes = plan(rules=rules, wish=replace(WISH, approved_microusd=approved))
    assert codes == (["approval"] if waits else [])


@pytest.mark.parametrize(
    ("cap", "free", "fits"),
    [
        (NIGHT, 1_300_000, True),
        (NIGHT, 1_299_999, False),
        (CREDITS, 2 * MICRO, True),
        (CREDITS, 2 * MICRO - 1, False),
        (SHOTS, 100, True),
        (SHOTS, 99, False),
        (RUNS, 1, True),
        (RUNS, 0, False),
        (BEYOND, 0, True),  # it wants none
        (BEYOND, -5, True),
        (NIGHT, -5, False),
    ],
)
def test_every_cap_has_room_to_its_last_unit(cap: Cap, free: int, fits: bool) -> None:
    (window,) = windows(cap)
    limit = cap.limit or 0
    books = {window.key: CapBooks(window.key, limit, held=limit - free)}
    _, codes = plan(cap, books=books)
    assert codes == ([] if fits else [f"cap:{cap.name}"])


def test_a_window_without_books_is_empty_under_its_own_limit() -> None:
    planned(NIGHT)
    assert plan(replace(NIGHT, limit=0)) == (None, ["cap:night"])
    planned(replace(NIGHT, limit=None))


@pytest.mark.parametrize(
    ("cap", "fix"),
    [
        (NIGHT, "nightshot budget cap night 10.50 --reason '…'"),
        (replace(NIGHT, of="ada", scope=Scope.USER), "nightshot budget cap night 10.50 --reason '…'"),
        (
            replace(NIGHT, scope=Scope.USER),
            "nightshot budget cap night 10.50 --window night/cost/night:2026-11-22/user:ada --reason '…'",
        ),
        (Cap(JOB_CAP, Measure.COST, Scope.JOB, Period.JOB, 10 * MICRO), "nightshot edit 3.1 --cap 10.50"),
    ],
)
def test_a_full_cap_names_the_command_that_makes_room_and_no_more(cap: Cap, fix: str) -> None:
    (window,) = windows(cap)
    wish = replace(WISH, quote_microusd=MICRO)
    books = {window.key: CapBooks(window.key, 10 * MICRO, held=5_500_000, posted=4 * MICRO)}
    _, (refusal,) = plan_spending(wish, [window], Funds(books), RULES, NOW_US)
    assert refusal.sentence == "needs $1.00; $0.50 of $10.00 is free, short by $0.50"
    assert refusal.fix == fix
    assert refusal.opens_us == window.resets_us


def test_a_new_night_opens_nothing_for_what_is_above_the_whole_of_its_cap() -> None:
    (window,) = windows(NIGHT)
    wish = replace(WISH, quote_microusd=10 * MICRO)
    for limit, opens_us in ((10 * MICRO, window.resets_us), (10 * MICRO - 1, None), (None, window.resets_us)):
        tonight = replace(window, cap=replace(NIGHT, limit=limit))
        books = {window.key: CapBooks(window.key, MICRO)}
        _, (refusal,) = plan_spending(wish, [tonight], Funds(books), RULES, NOW_US)
        assert refusal.opens_us == opens_us


def test_every_refusal_is_named_at_once() -> None:
    rules = SpendingRules(overage=asks, approval_above_microusd=0)
    found = plan(replace(NIGHT, limit=1), replace(RUNS, limit=0), grants=(grant(1, 1),), rules=rules)
    assert found == (None, ["approval", "overage", "credits", "cap:night", "cap:runs"])


# ------------------------------------------------------------------------------------------- the next one


def test_what_one_job_was_promised_the_next_one_does_not_see() -> None:
    caps = (NIGHT, CREDITS, SHOTS, RUNS)
    funds = Funds({}, {"coda": (grant(1, 3), grant(2, 2))})
    found = windows(*caps)
    first, _ = plan_spending(WISH, found, funds, RULES, NOW_US)
    assert first is not None
    left = spend(funds, first, "coda")
    assert {key.partition("/")[0]: book.held for key, book in left.books.items()} == {
        "night": 1_300_000,
        "month": 2 * MICRO,
        "shots": 100,
        "runs": 1,
    }
    assert sum(g.free_microcredits for g in left.grants["coda"]) == 3 * MICRO
    assert (funds.books, funds.grants["coda"][0].free_microcredits) == ({}, 3 * MICRO), "a copy was changed"


@given(
    st.lists(st.integers(0, 4_000_000), max_size=12),
    st.integers(0, 12_000_000),
    st.integers(0, 9),
    st.integers(0, 20),
    st.booleans(),
)
def test_a_pass_never_promises_more_than_there_is(
    quotes: list[int], limit: int, runs: int, given: int, overage: bool
) -> None:
    caps = (replace(NIGHT, limit=limit), replace(RUNS, limit=runs), BEYOND)
    rules = replace(RULES, overage=all_of) if overage else RULES
    funds = Funds({}, {"coda": (grant(1, given),)})
    spent = []
    for number, quote in enumerate(quotes):
        spender = replace(ADA, job=number)
        spending, _ = plan_spending(
            Wish(spender, quote, 100), windows(*caps, spender=spender), funds, rules, NOW_US
        )
        if spending is not None:
            spent.append(spending)
            funds = spend(funds, spending, "coda")
    assert sum(s.use.cost_microusd for s in spent) <= limit
    assert len(spent) <= runs
    assert sum(s.use.overage_microusd for s in spent) <= 2 * MICRO
    assert sum(part.amount for s in spent for part in s.credit_parts) <= given * MICRO
    assert all(g.free_microcredits >= 0 for g in funds.grants["coda"])
