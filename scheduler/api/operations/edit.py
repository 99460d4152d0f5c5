"""`edit`: a waiting job gets other shots, another place, or a cap of its own; its price is asked again."""

from __future__ import annotations

from scheduler.api.desk import Args, Caller, Desk
from scheduler.api.operations.jobs import find_job
from scheduler.api.views import label_of
from scheduler.core.admission import own_caps
from scheduler.core.caps import window_of
from scheduler.core.job import BatchSpec, JobSpec
from scheduler.core.lifecycle import JobState
from scheduler.core.money import Money, NotMoney
from scheduler.core.records import JobEdit, JobRecord
from scheduler.core.roles import Role
from scheduler.core.timing import iso
from scheduler.core.views import ChangedView
from scheduler.errors import NotAllowed, SpecError, UsageError
from scheduler.ports_store import Tx

#: As in job files.
SHOTS_MAX = 1_000_000
PRIORITY_MAX = 1000


class EditArgs(Args):
    job: str
    shots: int | None = None
    priority: int | None = None
    backend: str | None = None
    cap: str | None = None
    reason: str = ""


async def edit(desk: Desk, caller: Caller, args: EditArgs) -> ChangedView:
    change = _change(desk, args)
    changed: list[str] = []
    unchanged: list[str] = []

    def work(tx: Tx) -> None:
        changed.clear()
        unchanged.clear()
        _edit(desk, tx, caller, args, change, changed, unchanged)

    await desk.kit.store.write(work)
    if changed:
        desk.kit.log("edited", job=args.job, by=caller.user, reason=args.reason, what=changed)
        for stage in ("estimate", "admit", "label"):
            desk.kit.wake(stage)
    return {"as_of": iso(desk.now_us()), "changed": changed, "unchanged": unchanged}


def _change(desk: Desk, args: EditArgs) -> JobEdit:
    if args.shots is not None and not 1 <= args.shots <= SHOTS_MAX:
        raise UsageError(f"shots = {args.shots}: write a number from 1 to {SHOTS_MAX}")
    if args.priority is not None and abs(args.priority) > PRIORITY_MAX:
        raise UsageError(f"priority = {args.priority}: write a number from -{PRIORITY_MAX} to {PRIORITY_MAX}")
    try:
        cap = None if args.cap is None else Money.parse(args.cap).microusd
    except NotMoney as error:
        raise UsageError(str(error), "nightshot edit 12.1 --cap 2.00") from None
    change = JobEdit(
        None if args.backend is None else _full_name(desk, args.backend), args.shots, args.priority, cap
    )
    if change == JobEdit():
        raise UsageError("nothing was said to change", "--shots, --priority, --backend or --cap")
    return change


def _full_name(desk: Desk, text: str) -> str:
    try:
        (job,) = desk.resolve(BatchSpec("--backend", (JobSpec("", "", "openqasm3", text),), "")).jobs
    except SpecError as error:
        raise UsageError(error.message) from None
    return job.backend


def _edit(
    desk: Desk,
    tx: Tx,
    caller: Caller,
    args: EditArgs,
    change: JobEdit,
    changed: list[str],
    unchanged: list[str],
) -> None:
    job = find_job(tx, args.job)
    label = label_of(job)
    if job.user != caller.user and not desk.roles.has(Role.APPROVE, caller.user):
        may = f"{job.user} may change it, and whoever roles.approve names"
        raise NotAllowed(f"{label} is a job of {job.user}", may)
    if job.state is not JobState.WAITING:
        unchanged.append(f"{label} is {job.state.value}: only a waiting job can be changed")
        return
    _check_shots(desk, job, change)
    told = list(_told(job, change))
    if not tx.edit_job(job.job_id, change):
        unchanged.append(f"{label} moved on in this moment")
        return
    now_us = desk.now_us()
    because = f": {args.reason.strip()}" if args.reason.strip() else ""
    if change.cap_microusd is not None:
        _move_own_cap(tx, job, caller, args.reason.strip() or f"nightshot edit {label}", now_us)
    tx.note((job.job_id,), now_us, "edit", f"{', '.join(told)} (by {caller.user}{because})")
    again = "; its price is asked again" if change.voids_price else ""
    changed.append(f"{label}: {', '.join(told)}{again}")


def _check_shots(desk: Desk, job: JobRecord, change: JobEdit) -> None:
    rules = desk.kit.rules.backend(change.backend or job.backend)
    refused = rules.refuse_shots(change.shots or job.shots) if rules is not None else None
    if refused is not None:
        raise UsageError(refused)


def _told(job: JobRecord, change: JobEdit) -> list[str]:
    told = []
    if change.backend is not None:
        told.append(f"backend {change.backend} (was {job.backend})")
    if change.shots is not None:
        told.append(f"{change.shots} shots (were {job.shots})")
    if change.priority is not None:
        told.append(f"priority {change.priority} (was {job.priority})")
    if change.cap_microusd is not None:
        told.append(f"cap {Money(change.cap_microusd)}")
    return told


def _move_own_cap(tx: Tx, job: JobRecord, caller: Caller, reason: str, now_us: int) -> None:
    """An earlier attempt may have opened the cap's window already: its limit has to follow."""
    candidate = tx.candidate_of(job.job_id)
    for cap in own_caps(candidate):
        window = window_of(cap, candidate.spender, now_us)
        if window is not None:
            tx.set_cap_limit(cap, window.key, cap.limit, caller.user, reason, now_us)
