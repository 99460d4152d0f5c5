"""Money records as people and programs get them. Amounts are decimal text, each beside its unit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from scheduler.core.caps import Cap, Measure
from scheduler.core.ledger import Account, AccountKind, Asset
from scheduler.core.money import MICRO, Money
from scheduler.core.records import GrantRecord, LedgerTxn, WindowRecord
from scheduler.core.timing import iso, iso_or_none
from scheduler.core.views import CapView, CapWindowView, CreditsView, GrantView, TxnView

UNITS = {
    Measure.COST: "USD",
    Measure.OVERAGE: "USD",
    Measure.CREDITS: "credits",
    Measure.SHOTS: "shots",
    Measure.TASKS: "tasks",
}


def credits_text(microcredits: int) -> str:
    """A decimal number of credits, below zero too."""
    whole, micro = divmod(abs(microcredits), MICRO)
    fraction = f"{micro:06d}".rstrip("0")
    return f"{'-' if microcredits < 0 else ''}{whole}{'.' + fraction if fraction else ''}"


def amount_of(measure: Measure, amount: int) -> str:
    """An amount of a measure as a bare decimal text, as `budget cap` takes it."""
    match measure:
        case Measure.COST | Measure.OVERAGE:
            return Money(amount).decimal_text()
        case Measure.CREDITS:
            return credits_text(amount)
        case Measure.SHOTS | Measure.TASKS:
            return str(amount)


def _limit(measure: Measure, limit: int | None) -> str | None:
    return None if limit is None else amount_of(measure, limit)


def cap_view(cap: Cap, limit: int | None, windows: Sequence[WindowRecord], *, more: bool) -> CapView:
    return {
        "name": cap.name,
        "measure": cap.measure.value,
        "unit": UNITS[cap.measure],
        "scope": cap.scope.value,
        "of": cap.of,
        "period": cap.period.value,
        "limit": _limit(cap.measure, limit),
        "windows": [window_view(cap.measure, window) for window in windows],
        "more": more,
    }


def window_view(measure: Measure, window: WindowRecord) -> CapWindowView:
    used = window.held + window.posted
    return {
        "key": window.key,
        "limit": _limit(measure, window.limit),
        "spent": amount_of(measure, window.posted),
        "reserved": amount_of(measure, window.held),
        "in_doubt": amount_of(measure, window.in_doubt),
        # A limit that was lowered below what is used leaves nothing, not less than nothing.
        "left": None if window.limit is None else amount_of(measure, max(0, window.limit - used)),
        "resets_at": iso_or_none(window.resets_us),
    }


def grant_view(record: GrantRecord, now_us: int) -> GrantView:
    grant = record.grant
    if grant.expires_us is not None and grant.expires_us <= now_us:
        state = "expired"
    elif grant.effective_us > now_us:
        state = "not yet"
    else:
        state = "active" if record.free_microcredits else "used up"
    return {
        "grant": record.number,
        "label": grant.label,
        "state": state,
        "amount": credits_text(grant.amount_microcredits),
        "free": credits_text(record.free_microcredits),
        "reserved": credits_text(record.held_microcredits),
        "priority": grant.priority,
        "effective_at": iso(grant.effective_us),
        "expires_at": iso_or_none(grant.expires_us),
        "users": list(grant.users),
        "projects": list(grant.projects),
        "backends": list(grant.backends),
    }


def credits_view(
    provider: str, grants: Sequence[GrantRecord], balances: Mapping[str, int], now_us: int
) -> CreditsView:
    def balance(kind: AccountKind) -> int:
        return balances.get(str(Account(kind, provider)), 0)

    views = [grant_view(record, now_us) for record in grants]
    usable = [r for r, view in zip(grants, views, strict=True) if view["state"] in ("active", "used up")]
    free = sum(record.free_microcredits for record in usable)
    return {
        "provider": provider,
        # Without a grant nobody told us the balance: it is unknown, and never zero.
        "free": credits_text(free) if grants else None,
        "reserved": credits_text(sum(record.held_microcredits for record in grants)),
        "spent": credits_text(balance(AccountKind.SPENT)),
        "unplanned": credits_text(-balance(AccountKind.UNPLANNED)),
        "unexplained": credits_text(balance(AccountKind.UNEXPLAINED)),
        "overage_usd": Money(balance(AccountKind.OVERAGE)).decimal_text(),
        "grants": views,
    }


def txn_view(txn: LedgerTxn) -> TxnView:
    return {
        "transaction": txn.number,
        "at": iso(txn.at_us),
        "kind": txn.kind,
        "by": txn.actor,
        "reason": txn.reason,
        "job": txn.job,
        "attempt": txn.attempt_id,
        "reverses": txn.reverses,
        "entries": [
            {
                "account": line.account,
                "unit": "USD" if line.asset == Asset.USD else "credits",
                "amount": (
                    Money(line.amount).decimal_text()
                    if line.asset == Asset.USD
                    else credits_text(line.amount)
                ),
            }
            for line in txn.lines
        ],
    }
