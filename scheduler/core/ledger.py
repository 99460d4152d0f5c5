"""Double entry in two assets: what is booked, from which grant, and how a hold becomes a posting.

Dollars and credits are never added. A posting is a list of entries that sum to zero in each asset; nothing
booked is ever edited: a refund or a correction is a new posting that names what it reverses.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from scheduler.core.caps import Spender
from scheduler.core.task import CostFacts


class Asset(StrEnum):
    USD = "usd"  # micro-dollars
    CREDIT = "credit"  # micro-credits


class Kind(StrEnum):
    """Why something was booked."""

    GRANT = "grant"
    SETTLE = "settle"
    SETTLE_OVER = "settle_over"  # more than was held: booked, never refused, always reported
    WRITE_OFF = "write_off"
    REFUND = "refund"
    CORRECTION = "correction"
    EXPIRE = "expire"
    ADJUST = "adjust"
    OBSERVE = "observe"  # what a person read at the provider differs from our books


class AccountKind(StrEnum):
    GRANT = "grant"  # credits somebody gave us; never below zero
    SPENT = "spent"
    OUTSIDE = "outside"  # where grants come from
    UNPLANNED = "unplanned"  # credits the provider took that no grant of ours stands for
    OVERAGE = "overage"  # dollars beyond credits
    PAYABLE = "payable"  # what we owe for them
    UNEXPLAINED = "unexplained"


@dataclass(frozen=True, slots=True)
class Account:
    """`kind:owner`; a grant's owner is its number, any other's is the provider's name."""

    kind: AccountKind
    owner: str

    @property
    def asset(self) -> Asset:
        dollars = (AccountKind.OVERAGE, AccountKind.PAYABLE)
        return Asset.USD if self.kind in dollars else Asset.CREDIT

    @property
    def guarded(self) -> bool:
        return self.kind is AccountKind.GRANT

    def __str__(self) -> str:
        return f"{self.kind}:{self.owner}"

    @classmethod
    def parse(cls, text: str) -> Account:
        """Read `kind:owner` back. Raises ValueError for an unknown kind or no owner."""
        kind, _, owner = text.partition(":")
        if not owner:
            raise ValueError(f"{text!r} is no account: it has no owner after the ':'")
        return cls(AccountKind(kind), owner)


@dataclass(frozen=True, slots=True)
class Entry:
    """`amount` micro-units into (positive) or out of (negative) an account. Raises ValueError for zero."""

    account: Account
    amount: int

    def __post_init__(self) -> None:
        if self.amount == 0:
            raise ValueError(f"an entry of nothing on {self.account}")


@dataclass(frozen=True, slots=True)
class Posting:
    """One transaction of the journal; booking the same `idem_key` twice books it once."""

    idem_key: str
    kind: Kind
    entries: tuple[Entry, ...]
    reason: str
    actor: str
    attempt_id: str | None = None
    reverses: str | None = None


def imbalance(entries: Iterable[Entry]) -> dict[Asset, int]:
    """What an unbalanced posting is off by, per asset; empty when it balances."""
    sums: dict[Asset, int] = defaultdict(int)
    for entry in entries:
        sums[entry.account.asset] += entry.amount
    return {asset: total for asset, total in sums.items() if total}


@dataclass(frozen=True, slots=True)
class Grant:
    """Credits that may be used by some, somewhere, for a while. Empty sets mean everybody and everywhere."""

    number: int
    provider: str
    free_microcredits: int
    priority: int = 0
    effective_us: int = 0
    expires_us: int | None = None
    users: frozenset[str] = frozenset()
    projects: frozenset[str] = frozenset()
    backends: frozenset[str] = frozenset()

    @property
    def account(self) -> Account:
        return Account(AccountKind.GRANT, str(self.number))

    def covers(self, spender: Spender, now_us: int) -> bool:
        """True when this spender's use may be charged to it now."""
        return (
            spender.backend.partition(":")[0] == self.provider
            and self.effective_us <= now_us
            and (self.expires_us is None or now_us < self.expires_us)
            and (not self.users or spender.user in self.users)
            and (not self.projects or spender.project in self.projects)
            and (not self.backends or spender.backend in self.backends)
        )


@dataclass(frozen=True, slots=True)
class HoldPart:
    """`amount` micro-units reserved on an account. Raises ValueError unless it is above zero."""

    account: Account
    amount: int

    def __post_init__(self) -> None:
        if self.amount <= 0:
            raise ValueError(f"a hold of {self.amount} on {self.account} holds nothing")


@dataclass(frozen=True, slots=True)
class Shortage:
    """There are grants, and together they have less free than is needed."""

    needed_microcredits: int
    free_microcredits: int


def burn_down(
    grants: Sequence[Grant], spender: Spender, needed_microcredits: int, now_us: int
) -> tuple[HoldPart, ...] | Shortage:
    """Choose the grants that pay: by priority (high first), then the earliest expiry, then the oldest.

    A grant that does not cover the spender is not there for them. Raises ValueError for a negative need.
    """
    if needed_microcredits < 0:
        raise ValueError(f"{needed_microcredits} micro-credits are needed, which is negative")
    usable = sorted(
        (grant for grant in grants if grant.covers(spender, now_us) and grant.free_microcredits > 0),
        key=lambda g: (-g.priority, g.expires_us is None, g.expires_us or 0, g.number),
    )
    parts: list[HoldPart] = []
    left = needed_microcredits
    for grant in usable:
        if not left:
            break
        part = min(left, grant.free_microcredits)
        parts.append(HoldPart(grant.account, part))
        left -= part
    if left:
        return Shortage(needed_microcredits, needed_microcredits - left)
    return tuple(parts)


def settle_entries(
    parts: Sequence[HoldPart], cost: CostFacts, provider: str, *, overage_held_microusd: int
) -> tuple[Kind, tuple[Entry, ...]]:
    """Book what a reply said was applied; a figure it did not give counts as everything that was held.

    `parts` are used up in their order. Credits beyond them are booked as unplanned, never taken from a grant,
    and overage as it is; either above what was held makes it a `settle_over`, unless no credits were held
    because no grant is recorded. No entries at all: nothing was applied, so there is nothing to book.
    Raises ValueError for a negative figure.
    """
    held = sum(part.amount for part in parts)
    applied = held if cost.credits_applied_microcredits is None else cost.credits_applied_microcredits
    overage = overage_held_microusd if cost.overage_microusd is None else cost.overage_microusd
    if applied < 0 or overage < 0:
        raise ValueError(f"{provider} cannot have applied {applied} micro-credits, {overage} micro-dollars")
    entries: list[Entry] = []
    left = applied
    for part in parts:
        if taken := min(left, part.amount):
            entries.append(Entry(part.account, -taken))
        left -= taken
    if left:
        entries.append(Entry(Account(AccountKind.UNPLANNED, provider), -left))
    if applied:
        entries.append(Entry(Account(AccountKind.SPENT, provider), applied))
    if overage:
        owed, spent = Account(AccountKind.PAYABLE, provider), Account(AccountKind.OVERAGE, provider)
        entries += transfer(owed, spent, overage)
    over = (bool(parts) and left > 0) or overage > overage_held_microusd
    return (Kind.SETTLE_OVER if over else Kind.SETTLE), tuple(entries)


def transfer(source: Account, target: Account, amount: int) -> tuple[Entry, Entry]:
    """Move `amount` micro-units: a grant from outside, an expiry back, an observed difference.

    Raises ValueError for two assets or an amount that is not above zero.
    """
    if source.asset is not target.asset:
        raise ValueError(f"{source} has {source.asset} and {target} has {target.asset}: never exchanged")
    if amount <= 0:
        raise ValueError(f"{amount} cannot be moved from {source} to {target}: it is not above zero")
    return Entry(source, -amount), Entry(target, amount)


def reversed_entries(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """The mirror of a posting: each line with the other sign."""
    return tuple(Entry(entry.account, -entry.amount) for entry in entries)


def balances(entries: Iterable[Entry]) -> Mapping[Account, int]:
    """Balances as a fold over the journal: what every cached balance must equal."""
    sums: dict[Account, int] = defaultdict(int)
    for entry in entries:
        sums[entry.account] += entry.amount
    return dict(sums)
