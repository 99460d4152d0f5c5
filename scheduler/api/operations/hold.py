"""`hold` and `release`: a person keeps jobs that are not sent yet from being sent, and lets them go.

Whose job it is may put it on hold, and whoever `roles.approve` names. Only who put it there lets it go, and
the latter: else a hold by the house would end with its owner's next command.
"""

from __future__ import annotations

from scheduler.api.desk import Args, Caller, Desk, Name, reason_of
from scheduler.api.operations.jobs import read_ref
from scheduler.api.views import label_of
from scheduler.core.lifecycle import AttemptEvent, AttemptState, JobEvent, JobState
from scheduler.core.records import JobRecord
from scheduler.core.roles import Role
from scheduler.core.timing import iso
from scheduler.core.views import ChangedView
from scheduler.errors import NotAllowed, NotFound, UsageError
from scheduler.ports_store import Tx


class HoldArgs(Args):
    jobs: list[Name]
    reason: str = ""


class ReleaseArgs(Args):
    jobs: list[Name]
    reason: str = ""


async def hold(desk: Desk, caller: Caller, args: HoldArgs) -> ChangedView:
    reason = reason_of(args.reason, "wait for the calibration")
    changed: list[str] = []
    unchanged: list[str] = []

    def work(tx: Tx) -> None:
        changed.clear()
        unchanged.clear()
        for job in _jobs_of(tx, args.jobs, "hold"):
            _hold(desk, tx, caller, job, reason, changed, unchanged)

    await desk.kit.store.write(work)
    if changed:
        desk.kit.log("put on hold", jobs=args.jobs, by=caller.user, reason=reason, count=len(changed))
        for stage in ("submit", "admit", "label"):
            desk.kit.wake(stage)
    return {"as_of": iso(desk.now_us()), "changed": changed, "unchanged": unchanged}


async def release(desk: Desk, caller: Caller, args: ReleaseArgs) -> ChangedView:
    changed: list[str] = []
    unchanged: list[str] = []

    def work(tx: Tx) -> None:
        changed.clear()
        unchanged.clear()
        for job in _jobs_of(tx, args.jobs, "release"):
            _release(desk, tx, caller, job, args.reason.strip(), changed, unchanged)

    await desk.kit.store.write(work)
    if changed:
        desk.kit.log("released", jobs=args.jobs, by=caller.user, reason=args.reason, count=len(changed))
        for stage in ("estimate", "admit", "label"):
            desk.kit.wake(stage)
    return {"as_of": iso(desk.now_us()), "changed": changed, "unchanged": unchanged}


def _jobs_of(tx: Tx, names: list[str], command: str) -> list[JobRecord]:
    if not names:
        raise UsageError("no job was named", f"nightshot {command} 12")
    found: dict[int, JobRecord] = {}
    for name in names:
        ids = tx.job_ids_of(read_ref(tx, name))
        if not ids:
            raise NotFound(f"there is no job {name}", "nightshot jobs")
        found |= {job_id: tx.job_record(job_id) for job_id in ids if job_id not in found}
    return list(found.values())


def _hold(
    desk: Desk,
    tx: Tx,
    caller: Caller,
    job: JobRecord,
    reason: str,
    changed: list[str],
    unchanged: list[str],
) -> None:
    label, now_us = label_of(job), desk.now_us()
    if caller.user != job.user and not desk.roles.has(Role.APPROVE, caller.user):
        may = f"{job.user} may put it on hold, and whoever roles.approve names"
        raise NotAllowed(f"{label} is a job of {job.user}", may)
    attempt = tx.live_attempt_of(job.job_id)
    if not tx.put_on_hold(job.job_id, caller.user, reason, now_us):
        unchanged.append(_why_not_held(tx, job, label))
        return
    sentence = f"put on hold by {caller.user}: {reason}"
    tx.note((job.job_id,), now_us, "hold", sentence)
    if job.state is JobState.WAITING:
        changed.append(f"{label} is on hold")
    elif (
        attempt is not None
        and attempt.state is AttemptState.PREPARED
        and tx.end_attempt(attempt.attempt_id, AttemptEvent.NOT_SENT, now_us, sentence)
    ):
        tx.move_job(job.job_id, JobEvent.SEND_BACK, now_us, sentence)
        changed.append(f"{label} is on hold; nothing was sent")
    else:
        changed.append(f"{label} is being sent this moment: it is held back if that is still possible")


def _why_not_held(tx: Tx, job: JobRecord, label: str) -> str:
    by = tx.candidate_of(job.job_id).terms.on_hold_by
    match job.state:
        case JobState.WAITING | JobState.ADMITTED if by is not None:
            return f"{label} is on hold already, by {by}"
        case JobState.RUNNING:
            return f"{label} runs at {job.backend}: it is sent, and will be paid"
        case JobState.IN_DOUBT:
            return f"{label} is in doubt: it may have been sent"
        case _:
            return f"{label} has ended already: it is {job.state.value}"


def _release(
    desk: Desk,
    tx: Tx,
    caller: Caller,
    job: JobRecord,
    reason: str,
    changed: list[str],
    unchanged: list[str],
) -> None:
    label, by = label_of(job), tx.candidate_of(job.job_id).terms.on_hold_by
    if by is None:
        unchanged.append(f"{label} is not on hold")
        return
    if caller.user != by and not desk.roles.has(Role.APPROVE, caller.user):
        raise NotAllowed(
            f"{label} was put on hold by {by}", f"{by} may let it go, and whoever roles.approve names"
        )
    tx.release(job.job_id)
    because = f": {reason}" if reason else ""
    tx.note((job.job_id,), desk.now_us(), "release", f"released by {caller.user}{because}")
    changed.append(f"{label} is released")
