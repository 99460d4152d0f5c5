"""Audits: run the invariants on a snapshot, remember how far the journal was found right, keep the verdict.

The sums are the database's own and only rows that break a sentence come here, so memory does not grow with
the ledger. An incremental audit sums the lines after the last mark; a mark is written only by a clean one.
"""

from __future__ import annotations

from decimal import Decimal
from functools import cache
from typing import Any

from sqlalchemy import TextClause, delete, func, insert, select, text

from scheduler.core.audit import (
    ROWS_SHOWN,
    AuditMark,
    AuditReport,
    AuditStop,
    AuditVerdict,
    Finding,
    stop_of,
    verdict_of,
)
from scheduler.store.invariants import INVARIANTS
from scheduler.store.moves import Moves
from scheduler.store.schema import accounts, audit_marks, audits, txns

_LAST = select(audits.c.verdict, audits.c.sentence).order_by(audits.c.id.desc()).limit(1)
_MARKED = select(func.max(audit_marks.c.txn_id))
_FORGET_MARKS = delete(audit_marks)
_MARK = insert(audit_marks)
_SAY = insert(audits)
_LAST_TXN = select(func.coalesce(func.max(txns.c.id), 0).label("last"))
_BALANCES = select(accounts.c.id, accounts.c.posted)


@cache
def _limited(statement: str) -> TextClause:
    """A constant for each invariant, so that an audit of few rows is not mostly their compilation."""
    return text(f"SELECT * FROM ({statement}) AS broken LIMIT {ROWS_SHOWN}")


class AuditRows(Moves):
    def audit(self, full: bool, now_us: int) -> AuditReport:
        """Look for rows that contradict an invariant; without `full` only since the last clean audit.

        It reads and changes nothing, so it can run on a snapshot beside everything else.
        """
        marked = self._run(_MARKED).scalar()
        full = full or marked is None
        values = {"since": 0 if full else marked, "now_us": now_us}
        findings, checked = [], []
        for invariant in INVARIANTS:
            statement = invariant.statement if full else invariant.at_start
            if statement is None:
                continue
            checked.append((invariant.code, invariant.sentence))
            if rows := self._rows_against(statement, values):
                findings.append(Finding(invariant.code, invariant.sentence, rows))
        mark = None if findings else self._mark()
        return AuditReport(full, tuple(checked), tuple(findings), mark)

    def _rows_against(self, statement: str, values: dict[str, Any]) -> tuple[dict[str, object], ...]:
        known = {name: value for name, value in values.items() if f":{name}" in statement}
        return tuple(
            {name: _plain(value) for name, value in row._asdict().items()}
            for row in self._run(_limited(statement), known)
        )

    def _mark(self) -> AuditMark:
        last = self._run(_LAST_TXN).scalar_one()
        balances = {row.id: row.posted for row in self._run(_BALANCES)}
        return AuditMark(last, balances)

    def record_audit(self, report: AuditReport, actor: str, at_us: int) -> AuditVerdict:
        """Keep the verdict; returns the one in force: a broken one stays until a person lifts it."""
        if report.mark is not None:
            self._replace_marks(report.mark)
        last = self._last_audit()
        verdict, sentence = verdict_of(report)
        if last is not None and last[0] is AuditVerdict.BROKEN and report.clean:
            return AuditVerdict.BROKEN
        self._say(verdict, sentence, actor, at_us)
        return verdict

    def _replace_marks(self, mark: AuditMark) -> None:
        self._run(_FORGET_MARKS)
        rows = [
            {"account_id": account, "txn_id": mark.txn_id, "balance": balance}
            for account, balance in mark.balances.items()
        ]
        if rows:
            self._run(_MARK, rows)

    def begin_audit(self, at_us: int) -> None:
        """Keep paid submission waiting until this process has looked once."""
        last = self._last_audit()
        if last is None or last[0] is not AuditVerdict.BROKEN:
            self._say(AuditVerdict.PENDING, "not looked yet after the start", "nightshot", at_us)

    def lift_audit(self, report: AuditReport, actor: str, reason: str, at_us: int) -> bool:
        """Let a person end the stop; False: the full audit is not clean, or nothing was stopped."""
        last = self._last_audit()
        if last is None or last[0] is not AuditVerdict.BROKEN or not (report.full and report.clean):
            return False
        self._say(AuditVerdict.LIFTED, reason, actor, at_us)
        return True

    def audit_stop(self) -> AuditStop | None:
        """What the last audit keeps from being sent; None: nothing, or nobody ever audited here."""
        last = self._last_audit()
        return None if last is None else stop_of(*last)

    def _last_audit(self) -> tuple[AuditVerdict, str] | None:
        row = self._run(_LAST).first()
        return None if row is None else (AuditVerdict(row.verdict), row.sentence)

    def _say(self, verdict: AuditVerdict, sentence: str, actor: str, at_us: int) -> None:
        row = {"verdict": verdict.value, "sentence": sentence, "actor": actor, "at_us": at_us}
        self._run(_SAY, row)


def _plain(value: object) -> object:
    # PostgreSQL sums 64-bit integers to a numeric; here it is always whole.
    return int(value) if isinstance(value, Decimal) else value
