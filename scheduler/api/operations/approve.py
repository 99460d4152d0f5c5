"""`approve`: a person accepts what a job may cost, or spend beyond credits, or cost more than it did."""

from __future__ import annotations

from scheduler.api.desk import Args, Caller, Desk
from scheduler.api.operations.jobs import read_ref
from scheduler.api.views import label_of
from scheduler.core.lifecycle import JobState
from scheduler.core.money import Money, NotMoney
from scheduler.core.records import JobRecord
from scheduler.core.roles import Role
from scheduler.core.timing import iso
from scheduler.core.views import ChangedView
from scheduler.errors import NotAllowed, NotFound, UsageError
from scheduler.ports_store import Tx


class ApproveArgs(Args):
    jobs: list[str]
    #: Approve nothing that costs more than this each: what was read may not be what is asked now.
    at_most: str | None = None
    reason: str = ""


async def approve(desk: Desk, caller: Caller, args: ApproveArgs) -> ChangedView:
    desk.require(caller, Role.APPROVE)
    if not args.jobs:
        raise UsageError("no job was named", "nightshot approve 12.1")
    at_most = _at_most(args.at_most)
    changed: list[str] = []
    unchanged: list[str] = []
    approved: list[Money] = []

    def work(tx: Tx) -> None:
        for list_ in (changed, unchanged, approved):
            list_.clear()  # the transaction may be run again
        ids = list(dict.fromkeys(job_id for text in args.jobs for job_id in _ids_of(tx, text)))
        for job_id in ids:
            told, price = _approve(desk, tx, caller, tx.job_record(job_id), at_most, args.reason)
            (unchanged if price is None else changed).append(told)
            approved.extend([] if price is None else [price])
        if len(approved) > 1:
            changed.append(f"{len(approved)} jobs, together {sum(approved, Money(0))}")

    await desk.kit.store.write(work)
    desk.kit.log("approved", jobs=args.jobs, count=len(approved), by=caller.user, reason=args.reason)
    desk.kit.wake("admit")
    return {"as_of": iso(desk.now_us()), "changed": changed, "unchanged": unchanged}


def _at_most(text: str | None) -> Money | None:
    try:
        return None if text is None else Money.parse(text)
    except NotMoney as error:
        raise UsageError(str(error), "nightshot approve 12.1 --at-most 5.00") from None


def _ids_of(tx: Tx, text: str) -> list[int]:
    ids = tx.job_ids_of(read_ref(tx, text))
    if not ids:
        raise NotFound(f"there is no job {text}", "nightshot jobs")
    return ids


def _approve(
    desk: Desk, tx: Tx, caller: Caller, job: JobRecord, at_most: Money | None, reason: str
) -> tuple[str, Money | None]:
    """A sentence, and the price that was approved; None when nothing was."""
    label, now_us = label_of(job), desk.now_us()
    if job.user == caller.user and not desk.roles.approve_own:
        raise NotAllowed(
            f"{label} is your own job, and nobody approves their own",
            "somebody else may; or: [roles] approve_own = true in nightshot.toml",
        )
    if job.state is not JobState.WAITING:
        return f"{label} is {job.state.value}: there is nothing to approve", None
    if job.estimate_microusd is None:
        return f"{label} has no price yet: {job.reason or 'it is being asked for'}", None
    price = Money(job.estimate_microusd)
    if at_most is not None and price > at_most:
        return f"{label} costs {price} by now, more than {at_most}", None
    candidate = tx.candidate_of(job.job_id)
    if (
        candidate.approved_microusd or -1
    ) >= price.microusd and candidate.accepted_microusd == price.microusd:
        return f"{label} was approved already, at {price}", None
    if not tx.approve_job(job.job_id, price.microusd):
        return f"{label} moved on in this moment", None
    because = f": {reason.strip()}" if reason.strip() else ""
    tx.note((job.job_id,), now_us, "approve", f"{price} approved by {caller.user}{because}")
    return f"{label} may cost {price}", price
