"""Refunds and corrections: nothing booked is edited; what was wrong is taken back and booked anew.

A person may have said `not sent` or `written off` about an attempt, and later a reply or the provider says
otherwise. The evidence wins over the person, and what it means depends on what happened in between.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from scheduler.core.ledger import Account, AccountKind, Asset, Entry
from scheduler.core.lifecycle import AttemptState, JobState
from scheduler.core.money import Credits, Money


class Correction(StrEnum):
    FOLLOW = "follow"  # it was taken and its job still waits: follow it, instead of paying again
    CHARGE = "charge"  # it was taken, and its job has gone on without it: the money is spent
    RECHARGE = "recharge"  # its whole hold counted as spent, and now its real cost is known
    GIVE_BACK = "give back"  # its whole hold counted as spent, and it never arrived


def correction_for(
    state: AttemptState, job: JobState, *, was_taken: bool, id_known: bool, part_taken: bool
) -> Correction | None:
    """What evidence means for an attempt that had been resolved; None: it says nothing new.

    `id_known`: the provider's id is recorded already. `part_taken`: another attempt of the same part may have
    been sent.
    """
    match state, was_taken:
        case AttemptState.NOT_SENT, True:
            waits = job in (JobState.WAITING, JobState.ADMITTED)
            return Correction.FOLLOW if waits and not part_taken else Correction.CHARGE
        case AttemptState.WRITTEN_OFF, True:
            return None if id_known else Correction.RECHARGE
        case AttemptState.WRITTEN_OFF, False:
            return None if id_known else Correction.GIVE_BACK
        case _:
            return None


@dataclass(frozen=True, slots=True)
class Corrected:
    """A correction that was made, and its sentence for people."""

    correction: Correction
    sentence: str


@dataclass(frozen=True, slots=True)
class Refund:
    """What a provider gave back: micro-dollars of a cost, micro-credits; both None is everything.

    Raises ValueError for an amount that is not above zero.
    """

    microusd: int | None = None
    microcredits: int | None = None

    def __post_init__(self) -> None:
        for amount in (self.microusd, self.microcredits):
            if amount is not None and amount <= 0:
                raise ValueError(f"a refund of {amount} gives nothing back")

    @property
    def everything(self) -> bool:
        return self.microusd is None and self.microcredits is None


class TooMuch(ValueError):
    """More would be taken back than there is; the text says how much there is."""


def standing(entries: Iterable[Entry]) -> dict[Account, int]:
    """What is left of a posting after its reversals: the balance of all their lines, without zeros."""
    sums: dict[Account, int] = defaultdict(int)
    for entry in entries:
        sums[entry.account] += entry.amount
    return {account: amount for account, amount in sums.items() if amount}


def refund_entries(
    left: Mapping[Account, int], overage_microusd: int, microcredits: int
) -> tuple[Entry, ...]:
    """Take back so much of what is left of a settlement.

    Credits that no grant stood for come back before any grant's. Raises TooMuch.
    """
    entries: list[Entry] = []
    for asset, amount in ((Asset.USD, overage_microusd), (Asset.CREDIT, microcredits)):
        if not amount:
            continue
        spent = [(a, n) for a, n in left.items() if a.asset is asset and n > 0]
        paid = [(a, n) for a, n in left.items() if a.asset is asset and n < 0]
        there = sum(n for _, n in spent)
        if amount > there:
            text = Money(there) if asset is Asset.USD else f"{Credits(there)} credits"
            raise TooMuch(f"only {text} of it are left to give back")
        entries += _taken_from(spent, amount, sign=-1)
        paid.sort(key=lambda pair: (pair[0].kind is AccountKind.GRANT, pair[0].owner))
        entries += _taken_from([(a, -n) for a, n in paid], amount, sign=1)
    return tuple(entries)


def _taken_from(accounts: Iterable[tuple[Account, int]], amount: int, *, sign: int) -> list[Entry]:
    entries = []
    for account, there in accounts:
        if part := min(there, amount):
            entries.append(Entry(account, sign * part))
        amount -= part
    return entries
