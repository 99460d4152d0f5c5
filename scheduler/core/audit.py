"""Audits: sentences that are true of the books at every moment, and what follows when one is not.

A broken one stops everything that costs money, until a person has looked and a full audit is clean again;
what runs at a provider is followed and settled all the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

#: So many rows of a broken sentence are shown; more would hide what is wrong.
ROWS_SHOWN = 20


class AuditVerdict(StrEnum):
    PENDING = "pending"  # the daemon has started and has not looked yet
    CLEAN = "clean"
    BROKEN = "broken"
    LIFTED = "lifted"  # a person lifted the stop, after a full audit that was clean


@dataclass(frozen=True, slots=True)
class Finding:
    """An invariant that does not hold: the rows that break it, at most `ROWS_SHOWN`."""

    code: str
    sentence: str
    rows: tuple[Mapping[str, object], ...]

    def __str__(self) -> str:
        first = ", ".join(f"{name}={value}" for name, value in self.rows[0].items()) if self.rows else ""
        return f"{self.code}: not true that {self.sentence} ({first})"


@dataclass(frozen=True, slots=True)
class AuditMark:
    """The balances of a snapshot that was found right, and the last transaction in it."""

    txn_id: int
    balances: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What one look at the books found; `mark` None: the balances are wrong, so nothing may build on them."""

    full: bool
    checked: tuple[tuple[str, str], ...]
    findings: tuple[Finding, ...]
    mark: AuditMark | None

    @property
    def clean(self) -> bool:
        return not self.findings


@dataclass(frozen=True, slots=True)
class AuditStop:
    """Why nothing paid is sent for now; `code` is the gate that says so."""

    code: str
    sentence: str
    fix: str | None


#: A gate that a person must open, and one that the first audit after a start opens by itself.
AUDIT, AUDITING = "audit", "auditing"


def stop_of(verdict: AuditVerdict | None, sentence: str) -> AuditStop | None:
    """What the last audit means for paid submission; None: it may go on."""
    match verdict:
        case None | AuditVerdict.CLEAN | AuditVerdict.LIFTED:
            return None
        case AuditVerdict.PENDING:
            return AuditStop(AUDITING, "the books are being audited after the start", None)
        case AuditVerdict.BROKEN:
            said = f"an audit found the books broken: {sentence}"
            return AuditStop(AUDIT, said, "nightshot audit --resume --reason '…'")
        case _:
            assert_never(verdict)


def verdict_of(report: AuditReport) -> tuple[AuditVerdict, str]:
    """The verdict and its sentence for the record."""
    if report.clean:
        return AuditVerdict.CLEAN, f"{len(report.checked)} invariants hold"
    more = f" and {len(report.findings) - 1} more" if len(report.findings) > 1 else ""
    return AuditVerdict.BROKEN, f"{report.findings[0]}{more}"
