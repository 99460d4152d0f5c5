"""Grants, alarms and pages of the journal: what people ask and change about money itself."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import BigInteger, Row, and_, bindparam, case, exists, func, insert, or_, select, update

from scheduler.core.alarms import Alarm, AlarmRules, due_alarms
from scheduler.core.caps import Cap, CapBooks, Measure
from scheduler.core.job import job_label
from scheduler.core.ledger import Account, AccountKind, Kind, Posting, transfer
from scheduler.core.lifecycle import AttemptState, HoldState
from scheduler.core.records import (
    CreditPosition,
    GrantRecord,
    LedgerLine,
    LedgerTxn,
    NewGrant,
    WindowRecord,
)
from scheduler.core.timing import iso
from scheduler.store.caps import CapRows
from scheduler.store.ledger import LedgerRows
from scheduler.store.moves import in_states
from scheduler.store.schema import (
    accounts,
    alarms,
    attempts,
    batches,
    cap_limits,
    cap_parts,
    cap_windows,
    entries,
    grants,
    hold_parts,
    holds,
    jobs,
    sequences,
    txns,
)

_W, _A, _G = cap_windows.c, accounts.c, grants.c
_GRANT_ROWS = (
    select(grants, _A.posted, _A.held).join(accounts, _A.id == _G.account_id).order_by(_G.provider, _G.id)
)
_EXPIRED = _GRANT_ROWS.where(_G.expires_us <= bindparam("_now"), _A.posted > _A.held)
_OPEN_WINDOW = or_(_W.resets_us.is_(None), _W.resets_us > bindparam("_now"))
_IN_DOUBT = (
    select(func.coalesce(func.sum(cap_parts.c.amount), 0))
    .select_from(cap_parts.join(attempts, attempts.c.id == cap_parts.c.attempt_id))
    .where(
        cap_parts.c.window_key == _W.key,
        cap_parts.c.settled.is_(None),
        in_states(attempts.c.state, {AttemptState.SUBMITTING, AttemptState.IN_DOUBT}),
        attempts.c.state == AttemptState.IN_DOUBT.value,
    )
    .correlate(cap_windows)
    .scalar_subquery()
)
_WINDOWS = (
    select(cap_windows, _IN_DOUBT.label("in_doubt"))
    .where(_W.cap == bindparam("_cap"), _W.measure == bindparam("_measure"), _OPEN_WINDOW)
    .order_by(_W.opened_us.desc(), _W.key)
    .limit(bindparam("_limit"))
)
_FULL = select(cap_windows).where(
    _W.cap.in_(bindparam("_caps", expanding=True)),
    _W.limit_amount > 0,
    _OPEN_WINDOW,
    (_W.held + _W.posted) * 100 >= _W.limit_amount * bindparam("_percent", type_=BigInteger),
)
_TOLD = select(alarms.c.window_key, alarms.c.percent).where(
    alarms.c.window_key.in_(bindparam("_keys", expanding=True))
)
#: NULL, and so not above zero, when the new limit is none.
_OVER = _W.held + _W.posted - bindparam("_limit", type_=BigInteger)
_ALIGN = (
    update(cap_windows)
    .where(_W.cap == bindparam("_cap"), _W.measure == bindparam("_measure"), _OPEN_WINDOW)
    .where(_W.limit_amount.is_distinct_from(bindparam("_limit", type_=BigInteger)))
    .where(
        ~exists().where(
            cap_limits.c.cap == _W.cap,
            or_(cap_limits.c.window_key.is_(None), cap_limits.c.window_key == _W.key),
        )
    )
    .values(
        limit_amount=bindparam("_limit", type_=BigInteger),
        excused=case((_OVER > 0, _OVER), else_=0),
    )
)
_UNSETTLED = and_(attempts.c.provider == bindparam("_provider"), holds.c.state == HoldState.OPEN.value)
_APPLIED = (
    select(func.coalesce(func.sum(attempts.c.credits_applied_microcredits), 0))
    .select_from(holds.join(attempts, attempts.c.id == holds.c.attempt_id))
    .where(_UNSETTLED)
)
_UNCERTAIN = (
    select(func.coalesce(func.sum(hold_parts.c.amount), 0))
    .select_from(
        holds.join(attempts, attempts.c.id == holds.c.attempt_id).join(
            hold_parts, hold_parts.c.attempt_id == holds.c.attempt_id
        )
    )
    .where(_UNSETTLED, attempts.c.credits_applied_microcredits.is_(None))
)
_TXN_ROWS = (
    select(txns, jobs.c.batch_id, jobs.c.ordinal, batches.c.size)
    .select_from(
        txns.join(attempts, attempts.c.id == txns.c.attempt_id, isouter=True)
        .join(jobs, jobs.c.id == attempts.c.job_id, isouter=True)
        .join(batches, batches.c.id == jobs.c.batch_id, isouter=True)
    )
    .order_by(txns.c.id.desc())
    .limit(bindparam("_limit"))
)
_LINES = (
    select(entries, _A.asset)
    .join(accounts, _A.id == entries.c.account_id)
    .where(entries.c.txn_id.in_(bindparam("_txns", expanding=True)))
    .order_by(entries.c.txn_id, entries.c.line)
)


class BudgetRows(CapRows, LedgerRows):
    # ------------------------------------------------------------------------------------------ grants

    def add_grant(self, grant: NewGrant, actor: str, reason: str, at_us: int) -> int:
        """Record credits as ours; returns the grant's number."""
        self.insert_ignoring(sequences, [{"name": "grants", "next": 1}])
        (number,) = self.take_numbers("grants", 1)
        account = Account(AccountKind.GRANT, str(number))
        self.open_accounts([account])
        row = {
            "id": number,
            "account_id": str(account),
            "provider": grant.provider,
            "label": grant.label,
            "amount_microcredits": grant.amount_microcredits,
            "priority": grant.priority,
            "effective_us": grant.effective_us,
            "expires_us": grant.expires_us,
            "users": json.dumps(grant.users),
            "projects": json.dumps(grant.projects),
            "backends": json.dumps(grant.backends),
        }
        self._c.execute(insert(grants), row)
        lines = transfer(_outside(grant.provider), account, grant.amount_microcredits)
        self.book(Posting(f"grant:{number}", Kind.GRANT, lines, reason, actor), at_us)
        return number

    def grant_records(self) -> list[GrantRecord]:
        """Every grant ever recorded, expired ones too, by provider and number."""
        return [_grant_record(row) for row in self._run(_GRANT_ROWS)]

    def grant_record(self, number: int) -> GrantRecord | None:
        row = self._c.execute(_GRANT_ROWS.where(_G.id == number)).first()
        return None if row is None else _grant_record(row)

    def expire_grants(self, now_us: int) -> int:
        """Take what nobody holds from the grants whose time is over; returns how many had any.

        What is held stays until it is settled; a hold that is voided later frees more, which the next call
        takes.
        """
        found = [_grant_record(row) for row in self._run(_EXPIRED, {"_now": now_us})]
        for record in found:
            number, outside = record.number, _outside(record.grant.provider)
            lines = transfer(Account(AccountKind.GRANT, str(number)), outside, record.free_microcredits)
            # The balance is in it: a hold that is voided in the same instant frees more.
            key = f"expire:{number}:{now_us}:{record.posted_microcredits}"
            reason = f"grant {number} expired at {iso(record.grant.expires_us or now_us)}"
            self.book(Posting(key, Kind.EXPIRE, lines, reason, "nightshot"), now_us)
        return len(found)

    # ----------------------------------------------------------------------------- correcting, observing

    def adjust_grant(
        self, record: GrantRecord, amount: int, key: str, actor: str, reason: str, at_us: int
    ) -> int:
        """Move micro-credits between a grant and what is unexplained; the caller has checked what is free."""
        account = Account(AccountKind.GRANT, str(record.number))
        unexplained = Account(AccountKind.UNEXPLAINED, record.grant.provider)
        lines = (
            transfer(unexplained, account, amount) if amount > 0 else transfer(account, unexplained, -amount)
        )
        return self.book(Posting(f"adjust:{key}", Kind.ADJUST, lines, reason, actor), at_us)

    def observe_credits(
        self, provider: str, difference: int, key: str, actor: str, reason: str, at_us: int
    ) -> int:
        """Book what a person read at the provider and our books do not explain; below zero is missing."""
        unexplained, outside = Account(AccountKind.UNEXPLAINED, provider), _outside(provider)
        lines = (
            transfer(outside, unexplained, difference)
            if difference > 0
            else transfer(unexplained, outside, -difference)
        )
        return self.book(Posting(f"observe:{key}", Kind.OBSERVE, lines, reason, actor), at_us)

    def credit_position(self, provider: str, now_us: int) -> CreditPosition:
        counted = [
            record
            for record in self.grant_records()
            if record.grant.provider == provider and record.grant.effective_us <= now_us
        ]
        values = {"_provider": provider}
        return CreditPosition(
            grants=len(counted),
            posted=sum(record.posted_microcredits for record in counted),
            unplanned=self.balance(Account(AccountKind.UNPLANNED, provider))[0],
            unexplained=self.balance(Account(AccountKind.UNEXPLAINED, provider))[0],
            applied=int(self._run(_APPLIED, values).scalar_one()),
            uncertain=int(self._run(_UNCERTAIN, values).scalar_one()),
        )

    # -------------------------------------------------------------------------------------------- caps

    def open_windows(self, cap: Cap, now_us: int, limit: int) -> list[WindowRecord]:
        """A cap's windows that may still be used, the latest first."""
        values = {"_cap": cap.name, "_measure": cap.measure.value, "_now": now_us, "_limit": limit}
        return [
            WindowRecord(
                r.key, r.cap, r.measure, r.limit_amount, r.held, r.posted, int(r.in_doubt), r.resets_us
            )
            for r in self._run(_WINDOWS, values)
        ]

    def align_caps(self, caps: Iterable[Cap], now_us: int) -> list[str]:
        """Give open windows the limits of a changed configuration, but for those that people set."""
        changed = []
        for cap in caps:
            values = {
                "_cap": cap.name,
                "_measure": cap.measure.value,
                "_now": now_us,
                "_limit": cap.limit,
            }
            if self._run(_ALIGN, values).rowcount:
                changed.append(cap.name)
        return changed

    # ------------------------------------------------------------------------------------------ alarms

    def new_alarms(self, caps: Sequence[Cap], rules: AlarmRules, now_us: int) -> list[Alarm]:
        """Note every percentage that a window has newly reached, each once for ever, and return them."""
        rows, told = self._fullest(caps, rules, now_us)
        found = [
            alarm
            for row in rows
            for alarm in due_alarms(row.cap, Measure(row.measure), _books(row), rules, told[row.key])
        ]
        if found:
            noted = [{"window_key": a.window_key, "percent": a.percent, "at_us": now_us} for a in found]
            self._c.execute(insert(alarms), noted)
        return found

    def open_alarms(self, caps: Sequence[Cap], rules: AlarmRules, now_us: int) -> list[Alarm]:
        """The highest alarm of each window that was told, is open and is still that full."""
        rows, told = self._fullest(caps, rules, now_us)
        reached = [
            due_alarms(row.cap, Measure(row.measure), _books(row), rules, ()) for row in rows if told[row.key]
        ]
        return [alarms_of[-1] for alarms_of in reached if alarms_of]

    def _fullest(
        self, caps: Sequence[Cap], rules: AlarmRules, now_us: int
    ) -> tuple[Sequence[Row[Any]], dict[str, set[int]]]:
        told: dict[str, set[int]] = defaultdict(set)
        if not rules.at_percent or not caps:
            return [], told
        names = sorted({cap.name for cap in caps})
        values = {"_caps": names, "_now": now_us, "_percent": rules.at_percent[0]}
        rows = list(self._run(_FULL, values))
        for key, percent in self._run(_TOLD, {"_keys": [row.key for row in rows]}) if rows else ():
            told[key].add(percent)
        return rows, told

    # ------------------------------------------------------------------------------------------ ledger

    def ledger_page(self, account: str | None, before: int | None, limit: int) -> list[LedgerTxn]:
        """Transactions of the journal with their lines, the latest first; `before` ended the last page."""
        statement = _TXN_ROWS
        if before is not None:
            statement = statement.where(txns.c.id < before)
        if account is not None:
            statement = statement.where(
                txns.c.id.in_(select(entries.c.txn_id).where(entries.c.account_id == account))
            )
        rows = self._c.execute(statement, {"_limit": limit}).all()
        lines: dict[int, list[LedgerLine]] = defaultdict(list)
        for line in self._c.execute(_LINES, {"_txns": [row.id for row in rows]}):
            lines[line.txn_id].append(LedgerLine(line.account_id, line.asset, line.amount))
        return [_ledger_txn(row, tuple(lines[row.id])) for row in rows]

    def account_balances(self) -> dict[str, int]:
        """Every account that is no grant, with its balance in its own micro-units."""
        rows = self._c.execute(select(_A.id, _A.posted).where(_A.kind != AccountKind.GRANT.value))
        return {row.id: row.posted for row in rows}


def _outside(provider: str) -> Account:
    return Account(AccountKind.OUTSIDE, provider)


def _books(row: Row[Any]) -> CapBooks:
    return CapBooks(row.key, row.limit_amount, row.held, row.posted)


def _grant_record(row: Row[Any]) -> GrantRecord:
    grant = NewGrant(
        provider=row.provider,
        label=row.label,
        amount_microcredits=row.amount_microcredits,
        priority=row.priority,
        effective_us=row.effective_us,
        expires_us=row.expires_us,
        users=tuple(json.loads(row.users)),
        projects=tuple(json.loads(row.projects)),
        backends=tuple(json.loads(row.backends)),
    )
    return GrantRecord(row.id, grant, row.posted, row.held)


def _ledger_txn(row: Row[Any], lines: tuple[LedgerLine, ...]) -> LedgerTxn:
    return LedgerTxn(
        number=row.id,
        kind=row.kind,
        actor=row.actor,
        reason=row.reason,
        at_us=row.at_us,
        attempt_id=row.attempt_id,
        job=None if row.batch_id is None else job_label(row.batch_id, row.ordinal, row.size),
        reverses=row.reverses,
        lines=lines,
    )
