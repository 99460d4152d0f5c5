"""The journal and its cached balances: postings are append-only, and booking one twice books it once."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import BigInteger, bindparam, insert, or_, select, update

from scheduler.core.ledger import Account, Asset, Entry, Grant, HoldPart, Posting, imbalance
from scheduler.errors import ImpossibleArrow
from scheduler.store.moves import Moves
from scheduler.store.schema import accounts, entries, grants, hold_parts, txns

_A = accounts.c
_TXN_OF = select(txns.c.id).where(txns.c.idem_key == bindparam("_key"))
_TXN, _ENTRIES, _HOLD_PARTS = insert(txns).returning(txns.c.id), insert(entries), insert(hold_parts)
_POST = (
    update(accounts)
    .where(_A.id == bindparam("_id"))
    .values(posted=_A.posted + bindparam("_amount", type_=BigInteger))
)
_HOLD = (
    update(accounts)
    .where(_A.id == bindparam("_id"), or_(~_A.guarded, _A.posted - _A.held >= bindparam("_amount")))
    .values(held=_A.held + bindparam("_amount", type_=BigInteger))
)
_UNHOLD = (
    update(accounts)
    .where(_A.id == bindparam("_id"))
    .values(held=_A.held - bindparam("_amount", type_=BigInteger))
)
_PARTS_OF = (
    select(hold_parts.c.account_id, hold_parts.c.amount)
    .where(hold_parts.c.attempt_id == bindparam("_id"))
    .order_by(hold_parts.c.ordinal)
)
_GRANTS = (
    select(grants, _A.posted, _A.held)
    .join(accounts, _A.id == grants.c.account_id)
    .where(grants.c.provider == bindparam("_provider"))
    .order_by(grants.c.id)
)
_ENTRIES_OF = select(entries.c.account_id, entries.c.amount).where(entries.c.txn_id == bindparam("_txn"))


class LedgerRows(Moves):
    def open_accounts(self, wanted: Iterable[Account]) -> None:
        rows = [
            {"id": str(a), "asset": a.asset.value, "kind": a.kind.value, "guarded": a.guarded}
            for a in sorted(set(wanted), key=str)
        ]
        if rows:
            self.insert_ignoring(accounts, rows)

    def book(self, posting: Posting, at_us: int, *, reverses: int | None = None) -> int:
        """Write a posting and move the cached balances; a repeated key returns the first one's number.

        Raises ImpossibleArrow for a posting that does not balance: that is a bug, and nothing is written.
        """
        known = self._run(_TXN_OF, {"_key": posting.idem_key}).scalar()
        if known is not None:
            return int(known)
        if len(posting.entries) < 2 or imbalance(posting.entries):
            raise ImpossibleArrow(
                f"posting {posting.idem_key} does not balance: {imbalance(posting.entries)}"
            )
        self.open_accounts(entry.account for entry in posting.entries)
        row: dict[str, Any] = {
            "idem_key": posting.idem_key,
            "kind": posting.kind.value,
            "attempt_id": posting.attempt_id,
            "reverses": reverses,
            "actor": posting.actor,
            "reason": posting.reason,
            "at_us": at_us,
        }
        number = int(self._run(_TXN, row).scalar_one())
        lines = [
            {"txn_id": number, "line": line, "account_id": str(e.account), "amount": e.amount}
            for line, e in enumerate(posting.entries, 1)
        ]
        self._run(_ENTRIES, lines)
        for account, amount in sorted(_sums(posting.entries).items(), key=lambda pair: str(pair[0])):
            self._run(_POST, {"_id": str(account), "_amount": amount})
        return number

    def grants_of(self, provider: str) -> list[Grant]:
        return [
            Grant(
                number=r.id,
                provider=r.provider,
                free_microcredits=r.posted - r.held,
                priority=r.priority,
                effective_us=r.effective_us,
                expires_us=r.expires_us,
                users=frozenset(json.loads(r.users)),
                projects=frozenset(json.loads(r.projects)),
                backends=frozenset(json.loads(r.backends)),
            )
            for r in self._run(_GRANTS, {"_provider": provider})
        ]

    def hold_credits(self, attempt_id: str, parts: Sequence[HoldPart]) -> bool:
        """Reserve on every grant, in account order; False: one has not that much free, roll back."""
        for part in sorted(parts, key=lambda p: str(p.account)):
            if self._run(_HOLD, {"_id": str(part.account), "_amount": part.amount}).rowcount != 1:
                return False
        rows = [
            {
                "attempt_id": attempt_id,
                "account_id": str(part.account),
                "ordinal": ordinal,
                "amount": part.amount,
            }
            for ordinal, part in enumerate(parts)
        ]
        if rows:
            self._run(_HOLD_PARTS, rows)
        return True

    def credit_parts(self, attempt_id: str) -> list[HoldPart]:
        rows = self._run(_PARTS_OF, {"_id": attempt_id})
        return [HoldPart(Account.parse(row.account_id), row.amount) for row in rows]

    def unhold_credits(self, attempt_id: str) -> None:
        """Let go of what an open hold reserved; the hold's own state says that this happens once."""
        for part in self.credit_parts(attempt_id):
            self._run(_UNHOLD, {"_id": str(part.account), "_amount": part.amount})

    def entries_of(self, txn_id: int) -> list[Entry]:
        rows = self._run(_ENTRIES_OF, {"_txn": txn_id})
        return [Entry(Account.parse(row.account_id), row.amount) for row in rows]

    def balance(self, account: Account) -> tuple[int, int]:
        """Posted and held micro-units of an account; nothing is booked on one that does not exist."""
        row = self._c.execute(select(_A.posted, _A.held).where(_A.id == str(account))).first()
        return (0, 0) if row is None else (row.posted, row.held)


def _sums(lines: Iterable[Entry]) -> dict[Account, int]:
    sums: dict[Account, int] = defaultdict(int)
    for entry in lines:
        sums[entry.account] += entry.amount
    return {account: amount for account, amount in sums.items() if amount}


__all__ = ["Asset", "LedgerRows"]
