"""The ledger's arithmetic: who pays, what is booked, and that it always balances."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.caps import Spender
from scheduler.core.ledger import (
    Account,
    AccountKind,
    Asset,
    Entry,
    Grant,
    HoldPart,
    Kind,
    Shortage,
    balances,
    burn_down,
    imbalance,
    reversed_entries,
    settle_entries,
    transfer,
)
from scheduler.core.task import CostFacts

ADA = Spender(user="ada", project="ions", backend="coda:iqm", batch=1, job=2)
OPEN = Grant(number=1, provider="coda", free_microcredits=100)


def grant_account(number: int) -> Account:
    return Account(AccountKind.GRANT, str(number))


def coda(kind: AccountKind) -> Account:
    return Account(kind, "coda")


@pytest.mark.parametrize(
    ("changed", "covers"),
    [
        ({}, True),
        ({"provider": "coda-physics"}, False),
        ({"provider": "cod"}, False),
        ({"users": frozenset({"ada", "bob"})}, True),
        ({"users": frozenset({"bob"})}, False),
        ({"projects": frozenset({"ions"})}, True),
        ({"projects": frozenset({"atoms"})}, False),
        ({"backends": frozenset({"coda:iqm"})}, True),
        ({"backends": frozenset({"coda:ionq"})}, False),
        ({"users": frozenset({"ada"}), "projects": frozenset({"atoms"})}, False),
        ({"effective_us": 50}, True),
        ({"effective_us": 51}, False),
        ({"expires_us": 51}, True),
        ({"expires_us": 50}, False),
        ({"expires_us": 1}, False),
    ],
)
def test_a_grant_covers_those_it_names_at_its_provider_between_its_dates(
    changed: dict[str, object], covers: bool
) -> None:
    assert replace(OPEN, **changed).covers(ADA, now_us=50) is covers  # type: ignore[arg-type]


def test_a_grant_for_projects_does_not_cover_a_job_that_has_none() -> None:
    limited = replace(OPEN, projects=frozenset({"ions"}))
    assert not limited.covers(replace(ADA, project=None), 0)
    assert OPEN.covers(replace(ADA, project=None), 0)


def test_priority_comes_before_expiry_and_expiry_before_age() -> None:
    grants = [
        replace(OPEN, number=1, free_microcredits=1),
        replace(OPEN, number=2, free_microcredits=1),
        replace(OPEN, number=3, free_microcredits=1, expires_us=900),
        replace(OPEN, number=4, free_microcredits=1, expires_us=800),
        replace(OPEN, number=5, free_microcredits=1, priority=-1, expires_us=100),
        replace(OPEN, number=6, free_microcredits=1, priority=7),
        replace(OPEN, number=10, free_microcredits=1, expires_us=800),
    ]
    for shuffled in (grants, grants[::-1]):
        parts = burn_down(shuffled, ADA, 7, now_us=50)
        assert not isinstance(parts, Shortage)
        assert [part.account.owner for part in parts] == ["6", "4", "10", "3", "1", "2", "5"]


def test_only_what_is_needed_is_taken_from_the_last_grant() -> None:
    parts = burn_down([OPEN, replace(OPEN, number=2)], ADA, 130, 0)
    assert parts == (HoldPart(grant_account(1), 100), HoldPart(grant_account(2), 30))


def test_nothing_needed_holds_nothing() -> None:
    assert burn_down([OPEN], ADA, 0, 0) == ()


def test_a_shortage_says_what_was_free_for_this_spender_only() -> None:
    grants = [OPEN, replace(OPEN, number=2, users=frozenset({"bob"}), free_microcredits=10**9)]
    assert burn_down(grants, ADA, 101, 0) == Shortage(101, 100)
    assert burn_down([], ADA, 1, 0) == Shortage(1, 0)


def test_a_negative_need_is_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        burn_down([OPEN], ADA, -1, 0)


names = st.frozensets(st.sampled_from(["ada", "bob"]))
grant_lists = st.lists(
    st.builds(
        Grant,
        number=st.integers(1, 30),
        provider=st.sampled_from(["coda", "coda-physics"]),
        free_microcredits=st.integers(-5, 50),
        priority=st.integers(-2, 2),
        effective_us=st.integers(0, 4),
        expires_us=st.none() | st.integers(1, 6),
        users=names,
        projects=st.frozensets(st.sampled_from(["ions", "atoms"])),
        backends=st.frozensets(st.sampled_from(["coda:iqm", "coda:ionq", "coda-physics:iqm"])),
    ),
    max_size=8,
    unique_by=lambda grant: grant.number,
)
spenders = st.builds(
    Spender,
    user=st.sampled_from(["ada", "bob"]),
    project=st.sampled_from([None, "ions", "atoms"]),
    backend=st.sampled_from(["coda:iqm", "coda:ionq", "coda-physics:iqm"]),
    batch=st.just(1),
    job=st.just(1),
)


def may_pay(grant: Grant, spender: Spender, now_us: int) -> bool:
    """Eligibility written down a second time, from the design and not from the code."""
    in_time = grant.effective_us <= now_us and not (
        grant.expires_us is not None and grant.expires_us <= now_us
    )
    right_place = spender.backend.startswith(f"{grant.provider}:")
    listed = all(
        not allowed or who in allowed
        for allowed, who in (
            (grant.users, spender.user),
            (grant.projects, spender.project),
            (grant.backends, spender.backend),
        )
    )
    return in_time and right_place and listed


@given(grants=grant_lists, spender=spenders, needed=st.integers(0, 200), now_us=st.integers(0, 6))
def test_burning_down_is_eligible_in_order_and_exact(
    grants: list[Grant], spender: Spender, needed: int, now_us: int
) -> None:
    by_account = {grant.account: grant for grant in grants}
    there = [g for g in grants if may_pay(g, spender, now_us) and g.free_microcredits > 0]
    free = sum(grant.free_microcredits for grant in there)
    answer = burn_down(grants, spender, needed, now_us)
    if needed > free:
        assert answer == Shortage(needed, free)
        return
    assert not isinstance(answer, Shortage)
    used = [by_account[part.account] for part in answer]
    assert sum(part.amount for part in answer) == needed
    assert all(grant in there for grant in used)
    assert len(set(used)) == len(used)
    assert all(part.amount == grant.free_microcredits for part, grant in zip(answer[:-1], used, strict=False))
    assert all(0 < part.amount <= by_account[part.account].free_microcredits for part in answer)

    def rank(grant: Grant) -> tuple[float, ...]:
        return (-grant.priority, grant.expires_us or float("inf"), grant.number)

    assert used == sorted(there, key=rank)[: len(used)]


def test_a_reply_that_applies_what_was_held_settles_it() -> None:
    parts = [HoldPart(grant_account(1), 3), HoldPart(grant_account(2), 4)]
    kind, entries = settle_entries(parts, CostFacts(130, 5, 0), "coda", overage_held_microusd=0)
    assert kind is Kind.SETTLE
    assert entries == (
        Entry(grant_account(1), -3),
        Entry(grant_account(2), -2),
        Entry(coda(AccountKind.SPENT), 5),
    )


def test_credits_above_the_hold_are_unplanned_and_never_from_the_grant() -> None:
    kind, entries = settle_entries(
        [HoldPart(grant_account(1), 3)], CostFacts(130, 5, 0), "coda", overage_held_microusd=0
    )
    assert kind is Kind.SETTLE_OVER
    assert entries == (
        Entry(grant_account(1), -3),
        Entry(coda(AccountKind.UNPLANNED), -2),
        Entry(coda(AccountKind.SPENT), 5),
    )


def test_without_a_recorded_grant_applied_credits_are_unplanned_and_no_overrun() -> None:
    kind, entries = settle_entries([], CostFacts(130, 2, 0), "coda", overage_held_microusd=0)
    assert kind is Kind.SETTLE
    assert entries == (Entry(coda(AccountKind.UNPLANNED), -2), Entry(coda(AccountKind.SPENT), 2))


def test_a_reply_without_figures_spends_the_whole_hold_as_a_write_off_does() -> None:
    kind, entries = settle_entries(
        [HoldPart(grant_account(1), 3)], CostFacts(), "coda", overage_held_microusd=7
    )
    assert kind is Kind.SETTLE
    assert balances(entries) == {
        grant_account(1): -3,
        coda(AccountKind.SPENT): 3,
        coda(AccountKind.PAYABLE): -7,
        coda(AccountKind.OVERAGE): 7,
    }


def test_overage_nobody_allowed_is_booked_and_reported_as_over() -> None:
    kind, entries = settle_entries([], CostFacts(130, 0, 9), "coda", overage_held_microusd=0)
    assert kind is Kind.SETTLE_OVER
    assert entries == (Entry(coda(AccountKind.PAYABLE), -9), Entry(coda(AccountKind.OVERAGE), 9))


def test_a_reply_that_applied_nothing_leaves_nothing_to_book() -> None:
    parts = [HoldPart(grant_account(1), 3)]
    assert settle_entries(parts, CostFacts(0, 0, 0), "coda", overage_held_microusd=5) == (Kind.SETTLE, ())


@pytest.mark.parametrize("cost", [CostFacts(1, -1, 0), CostFacts(1, 0, -1)])
def test_a_negative_figure_is_refused(cost: CostFacts) -> None:
    with pytest.raises(ValueError, match="cannot have applied"):
        settle_entries([HoldPart(grant_account(1), 3)], cost, "coda", overage_held_microusd=5)


part_lists = st.lists(
    st.builds(HoldPart, st.integers(1, 4).map(grant_account), st.integers(1, 10**6)), max_size=5
)
replies = st.builds(
    CostFacts,
    st.none() | st.integers(0, 10**9),
    st.none() | st.integers(0, 4 * 10**6),
    st.none() | st.integers(0, 10**7),
)


@given(parts=part_lists, cost=replies, overage_held=st.integers(0, 10**7))
def test_any_settlement_balances_and_takes_no_more_than_was_held(
    parts: list[HoldPart], cost: CostFacts, overage_held: int
) -> None:
    kind, entries = settle_entries(parts, cost, "coda", overage_held_microusd=overage_held)
    assert imbalance(entries) == {}
    held_of: Counter[Account] = Counter()
    for part in parts:
        held_of[part.account] += part.amount
    held = held_of.total()
    moved = balances(entries)
    taken = {account: -amount for account, amount in moved.items() if account.guarded}
    assert all(0 < amount <= held_of[account] for account, amount in taken.items())
    applied = held if cost.credits_applied_microcredits is None else cost.credits_applied_microcredits
    overage = overage_held if cost.overage_microusd is None else cost.overage_microusd
    assert sum(taken.values()) == min(applied, held)
    assert moved.get(coda(AccountKind.UNPLANNED), 0) == -max(0, applied - held)
    assert moved.get(coda(AccountKind.SPENT), 0) == applied
    assert moved.get(coda(AccountKind.OVERAGE), 0) == overage
    assert moved.get(coda(AccountKind.PAYABLE), 0) == -overage
    above = overage > overage_held or (held > 0 and applied > held)
    assert kind is (Kind.SETTLE_OVER if above else Kind.SETTLE)
    assert len(entries) != 1


any_account = st.builds(Account, st.sampled_from(AccountKind), st.sampled_from(["1", "coda"]))
any_entries = st.lists(
    st.builds(Entry, any_account, st.integers(-(10**15), 10**15).filter(bool)), max_size=10
)


@given(entries=any_entries)
def test_a_posting_and_its_reversal_leave_nothing_behind(entries: list[Entry]) -> None:
    mirror = reversed_entries(entries)
    assert [entry.account for entry in mirror] == [entry.account for entry in entries]
    assert all(not amount for amount in balances([*entries, *mirror]).values())
    assert reversed_entries(mirror) == tuple(entries)


@given(entries=any_entries)
def test_an_imbalance_is_what_each_asset_is_off_by(entries: list[Entry]) -> None:
    dollars = {AccountKind.OVERAGE, AccountKind.PAYABLE}
    sums: dict[Asset, int] = defaultdict(int)
    for entry in entries:
        sums[Asset.USD if entry.account.kind in dollars else Asset.CREDIT] += entry.amount
    assert imbalance(entries) == {asset: total for asset, total in sums.items() if total}


def test_dollars_do_not_make_up_for_credits() -> None:
    entries = [Entry(coda(AccountKind.SPENT), 5), Entry(coda(AccountKind.PAYABLE), -5)]
    assert imbalance(entries) == {Asset.CREDIT: 5, Asset.USD: -5}


def test_a_transfer_leaves_one_account_and_enters_the_other() -> None:
    outside, grant = coda(AccountKind.OUTSIDE), grant_account(1)
    assert transfer(outside, grant, 5) == (Entry(outside, -5), Entry(grant, 5))


@pytest.mark.parametrize(
    ("target", "amount", "problem"),
    [
        (AccountKind.OVERAGE, 5, "never exchanged"),
        (AccountKind.SPENT, 0, "not above zero"),
        (AccountKind.SPENT, -5, "not above zero"),
    ],
)
def test_a_transfer_stays_in_its_asset_and_moves_something(
    target: AccountKind, amount: int, problem: str
) -> None:
    with pytest.raises(ValueError, match=problem):
        transfer(grant_account(1), coda(target), amount)


@given(account=any_account)
def test_an_account_is_read_back_from_its_name(account: Account) -> None:
    assert Account.parse(str(account)) == account


@pytest.mark.parametrize("text", ["", "grant", "grant:", "dollars:coda"])
def test_what_is_no_account_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no account|is not a valid"):
        Account.parse(text)


def test_an_owner_may_have_colons() -> None:
    assert Account.parse("spent:a:b") == Account(AccountKind.SPENT, "a:b")


def test_only_grants_are_guarded() -> None:
    assert [kind for kind in AccountKind if Account(kind, "1").guarded] == [AccountKind.GRANT]


def test_an_entry_or_a_hold_of_nothing_does_not_exist() -> None:
    with pytest.raises(ValueError, match="entry of nothing"):
        Entry(grant_account(1), 0)
    for amount in (0, -1):
        with pytest.raises(ValueError, match="holds nothing"):
            HoldPart(grant_account(1), amount)
