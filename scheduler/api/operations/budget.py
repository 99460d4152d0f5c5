"""`budget` and `budget ledger`: what may be spent, what was, what is promised, and every line booked."""

from __future__ import annotations

from pydantic import Field

from scheduler.api.budget_views import cap_view, credits_view, txn_view
from scheduler.api.desk import Args, Caller, Desk
from scheduler.api.operations.status import armed_view
from scheduler.core.caps import Cap, Period, Scope, Spender, Window, window_of
from scheduler.core.ledger import Account
from scheduler.core.records import WindowRecord
from scheduler.core.timing import iso
from scheduler.core.views import BudgetView, CapView, LedgerView
from scheduler.errors import UsageError
from scheduler.ports_store import Tx
from scheduler.stages.purse import caps_in_force

#: Windows of one cap that are shown: a cap for each user may have hundreds.
WINDOWS_SHOWN = 20


class BudgetArgs(Args):
    pass


class LedgerArgs(Args):
    account: str | None = None
    after: int | None = None
    limit: int = Field(default=50, ge=1, le=1000)


def current_window(cap: Cap, now_us: int) -> Window | None:
    """The occurrence of a cap that is open now; None when each of its scope has one of its own."""
    if cap.period is Period.JOB or (cap.of is None and cap.scope is not Scope.EVERYONE):
        return None
    of = cap.of or ""
    return window_of(cap, Spender(of, of, of, 0, 0), now_us)


async def budget(desk: Desk, caller: Caller, args: BudgetArgs) -> BudgetView:  # noqa: ARG001
    return await desk.kit.store.read(lambda tx: _budget(desk, tx))


def _budget(desk: Desk, tx: Tx) -> BudgetView:
    now_us, rules = desk.now_us(), desk.kit.rules
    arming = tx.arming()
    caps = caps_in_force(arming, rules)
    grants, balances = tx.grant_records(), tx.account_balances()
    owners = {Account.parse(name).owner for name in balances}
    providers = sorted({name for name, found in desk.kit.providers.items() if found.paid} | owners)
    return {
        "as_of": iso(now_us),
        "timezone": desk.timezone,
        "armed": armed_view(arming),
        "caps": [_cap(tx, cap, now_us) for cap in caps],
        "credits": [
            credits_view(name, [g for g in grants if g.grant.provider == name], balances, now_us)
            for name in providers
        ],
        "alarms": [alarm.sentence for alarm in tx.open_alarms(caps, rules.spending.alarms, now_us)],
    }


def _cap(tx: Tx, cap: Cap, now_us: int) -> CapView:
    found = tx.open_windows(cap, now_us, WINDOWS_SHOWN + 1)
    current = current_window(cap, now_us)
    if current is not None and current.key not in {window.key for window in found}:
        ((_, books),) = tx.cap_books([current])
        empty = WindowRecord(
            current.key, cap.name, cap.measure.value, books.limit, 0, 0, 0, current.resets_us
        )
        found = [empty, *found]
    limit = tx.limits_set([cap.name]).get((cap.name, None), cap.limit)
    return cap_view(cap, limit, found[:WINDOWS_SHOWN], more=len(found) > WINDOWS_SHOWN)


async def budget_ledger(desk: Desk, caller: Caller, args: LedgerArgs) -> LedgerView:  # noqa: ARG001
    if args.account is not None:
        try:
            Account.parse(args.account)
        except ValueError:
            raise UsageError(
                f"{args.account!r} is no account", "write it like grant:1, spent:coda or overage:coda"
            ) from None
    found = await desk.kit.store.read(lambda tx: tx.ledger_page(args.account, args.after, args.limit))
    return {
        "as_of": iso(desk.now_us()),
        "transactions": [txn_view(txn) for txn in found],
        "next": found[-1].number if len(found) == args.limit else None,
    }
