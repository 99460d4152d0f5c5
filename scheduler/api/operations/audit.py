"""`audit`: what must be true of the books, sentence by sentence; and lifting the stop after a broken one."""

from __future__ import annotations

from typing import Any, TypedDict

from scheduler.api.desk import Args, Caller, Desk, reason_of
from scheduler.core.audit import AuditReport, AuditVerdict
from scheduler.core.roles import Role
from scheduler.core.timing import iso
from scheduler.ports_store import Tx


class AuditArgs(Args):
    resume: bool = False
    reason: str = ""


class InvariantView(TypedDict):
    code: str
    sentence: str
    holds: bool
    rows: list[dict[str, Any]]  # what breaks it, at most twenty


class AuditView(TypedDict):
    as_of: str
    clean: bool
    invariants: list[InvariantView]
    stopped: str | None  # why nothing paid is sent because of an audit
    lifted: bool


async def audit(desk: Desk, caller: Caller, args: AuditArgs) -> AuditView:
    """Look at everything; a finding stops paid submission, and `resume` lifts that after a clean look."""
    reason = ""
    if args.resume:
        desk.require(caller, Role.RESOLVE)
        reason = reason_of(args.reason, "the row was restored from the backup")
    now_us = desk.now_us()
    # An expiry is booked when it is noticed, and an audit notices.
    await desk.kit.store.write(lambda tx: tx.expire_grants(now_us))
    report = await desk.kit.store.read(lambda tx: tx.audit(True, now_us))

    def keep(tx: Tx) -> tuple[bool, str | None]:
        tx.record_audit(report, caller.user, now_us)
        lifted = args.resume and tx.lift_audit(report, caller.user, reason, now_us)
        stop = tx.audit_stop()
        return lifted, None if stop is None else stop.sentence

    lifted, stopped = await desk.kit.store.write(keep)
    verdict = AuditVerdict.CLEAN if report.clean else AuditVerdict.BROKEN
    desk.kit.log("audited", by=caller.user, verdict=verdict.value, lifted=lifted, reason=reason)
    desk.kit.wake("admit")
    return {
        "as_of": iso(now_us),
        "clean": report.clean,
        "invariants": _invariant_views(report),
        "stopped": stopped,
        "lifted": lifted,
    }


def _invariant_views(report: AuditReport) -> list[InvariantView]:
    broken = {finding.code: finding for finding in report.findings}
    return [
        {
            "code": code,
            "sentence": sentence,
            "holds": code not in broken,
            "rows": [dict(row) for row in broken[code].rows] if code in broken else [],
        }
        for code, sentence in report.checked
    ]
