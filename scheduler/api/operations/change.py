"""`cancel` and `resolve`: what a person may change about a job, and what it is too late for."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from scheduler.api.desk import Args, Caller, Desk, Name
from scheduler.api.operations.jobs import find_job, read_ref
from scheduler.api.views import label_of
from scheduler.core.lifecycle import AttemptEvent, AttemptState, JobEvent, JobState
from scheduler.core.money import Money
from scheduler.core.records import AttemptRecord, JobRecord
from scheduler.core.roles import Role
from scheduler.core.task import BY_A_PERSON, Accepted, CostFacts, NeverArrived
from scheduler.core.timing import iso, next_poll_at_us
from scheduler.core.views import ChangedView
from scheduler.errors import NeedsPerson, NotFound, UsageError
from scheduler.ports_store import Tx
from scheduler.stages.outcome import record_contradiction


class CancelArgs(Args):
    jobs: list[Name]
    reason: str = ""


class ResolveArgs(Args):
    job: Name
    outcome: Literal["not-sent", "accepted", "written-off"] = Field(alias="as")
    provider_job_id: Name | None = None
    reason: str = ""


async def cancel(desk: Desk, caller: Caller, args: CancelArgs) -> ChangedView:
    if not args.jobs:
        raise UsageError("no job was named", "nightshot cancel 12")
    changed: list[str] = []
    unchanged: list[str] = []

    def work(tx: Tx) -> None:
        changed.clear()
        unchanged.clear()
        for text in args.jobs:
            ids = tx.job_ids_of(read_ref(tx, text))
            if not ids:
                raise NotFound(f"there is no job {text}", "nightshot jobs")
            for job_id in ids:
                _cancel(desk, tx, tx.job_record(job_id), f"cancelled by {caller.user}", changed, unchanged)

    await desk.kit.store.write(work)
    for stage in ("publish", "submit", "timekeeping", "admit"):
        desk.kit.wake(stage)
    return {"as_of": iso(desk.now_us()), "changed": changed, "unchanged": unchanged}


def _cancel(
    desk: Desk, tx: Tx, job: JobRecord, sentence: str, changed: list[str], unchanged: list[str]
) -> None:
    label, now_us = label_of(job), desk.now_us()
    attempt = tx.live_attempt_of(job.job_id)
    match job.state:
        case JobState.WAITING:
            tx.move_job(job.job_id, JobEvent.CANCEL, now_us, sentence)
            owed = "nothing was sent, nothing is owed"
            if job.cost_microusd:
                owed = f"its tries before cost {Money(job.cost_microusd)}, and nothing more is sent"
            changed.append(f"{label} is cancelled; {owed}")
        case JobState.ADMITTED if attempt and attempt.state is AttemptState.PREPARED:
            tx.end_attempt(attempt.attempt_id, AttemptEvent.NOT_SENT, now_us, sentence)
            tx.move_job(job.job_id, JobEvent.CANCEL, now_us, sentence)
            changed.append(f"{label} is cancelled; nothing was sent, nothing is owed")
        case JobState.ADMITTED:
            tx.ask_cancel(job.job_id, now_us)
            tx.note((job.job_id,), now_us, "cancel asked", sentence)
            changed.append(f"{label} is being sent this moment: it is stopped if that is still possible")
        case JobState.RUNNING:
            tx.ask_cancel(job.job_id, now_us)  # no other try is made when this one fails
            told = "which knows no cancel: it will be paid, and its result is kept"
            unchanged.append(f"{label} runs at {job.backend}, {told}")
        case JobState.IN_DOUBT:
            unchanged.append(f"{label} is in doubt: say what happened first; how: nightshot why {label}")
        case _:
            unchanged.append(f"{label} has ended already: it is {job.state.value}")


async def resolve(desk: Desk, caller: Caller, args: ResolveArgs) -> ChangedView:
    desk.require(caller, Role.RESOLVE)
    if not args.reason.strip():
        raise UsageError("a resolved doubt needs a reason", "--reason 'the dashboard lists no such job'")
    if args.outcome == "accepted" and not args.provider_job_id:
        raise UsageError("an accepted job needs the provider's id", "--provider-job-id ID")
    sentence = await desk.kit.store.write(lambda tx: _resolve(desk, caller, args, tx))
    desk.kit.log("resolved", job=args.job, outcome=args.outcome, by=caller.user, reason=args.reason)
    for stage in ("poll", "admit", "publish"):
        desk.kit.wake(stage)
    return {"as_of": iso(desk.now_us()), "changed": [sentence], "unchanged": []}


def _resolve(desk: Desk, caller: Caller, args: ResolveArgs, tx: Tx) -> str:
    job = find_job(tx, args.job)
    attempt = tx.live_attempt_of(job.job_id)
    if attempt is not None and _doubt_again(desk, caller, args, tx, job, attempt):
        job = find_job(tx, args.job)
    if job.state is not JobState.IN_DOUBT or attempt is None:
        corrected = _correct_answer(desk, caller, args, tx, job)
        if corrected is not None:
            return corrected
        raise NeedsPerson(f"{args.job} is {job.state.value}, not in doubt: there is nothing to resolve")
    now_us = desk.now_us()
    evidence = f"resolved by {caller.user}: {args.reason}"
    match args.outcome:
        case "not-sent":
            tx.end_attempt(attempt.attempt_id, AttemptEvent.NEVER_ARRIVED, now_us, evidence)
            if tx.cancel_asked(job.job_id):
                tx.move_job(job.job_id, JobEvent.CANCEL, now_us, evidence)
                return f"{args.job} is cancelled as was asked; its hold is given back"
            tx.move_job(job.job_id, JobEvent.SEND_BACK, now_us, evidence)
            return f"{args.job} waits again; its hold is given back"
        case "written-off":
            tx.write_off(attempt.attempt_id, now_us, caller.user, evidence)
            tx.move_job(job.job_id, JobEvent.FAIL, now_us, evidence, cost_microusd=attempt.hold_microusd)
            return f"{args.job} is given up; its whole hold counts as spent"
        case "accepted":
            return _resolve_accepted(desk, args, tx, job, attempt, evidence)


def _doubt_again(
    desk: Desk, caller: Caller, args: ResolveArgs, tx: Tx, job: JobRecord, attempt: AttemptRecord
) -> bool:
    """Take back an id that a person gave and the provider never confirmed; the new answer follows at once."""
    if args.outcome == "accepted" and args.provider_job_id == attempt.provider_job_id:
        return False
    sentence = f"{caller.user} takes back the id {attempt.provider_job_id}: {args.reason}"
    if not tx.doubt_again(attempt.attempt_id, sentence):
        return False
    tx.move_job(job.job_id, JobEvent.DOUBT_AGAIN, desk.now_us(), sentence)
    return True


def _correct_answer(desk: Desk, caller: Caller, args: ResolveArgs, tx: Tx, job: JobRecord) -> str | None:
    """An answer that contradicts an earlier one about this job: the books are corrected, not edited."""
    resolved = (AttemptState.NOT_SENT, AttemptState.WRITTEN_OFF)
    for attempt in reversed(tx.attempts_of(job.job_id)):
        if attempt.state not in resolved or attempt.sent_us is None or args.outcome == "written-off":
            continue
        said = f"{caller.user}: {args.reason}"
        evidence: Accepted | NeverArrived = NeverArrived(said)
        if args.outcome == "accepted":
            evidence = Accepted(args.provider_job_id or "", BY_A_PERSON, CostFacts())
        corrected = record_contradiction(
            tx, attempt.attempt_id, job.backend, evidence, desk.kit.rules, desk.now_us(), actor=caller.user
        )
        if corrected is not None:
            return f"{args.job}: {corrected.sentence}"
    return None


def _resolve_accepted(
    desk: Desk, args: ResolveArgs, tx: Tx, job: JobRecord, attempt: AttemptRecord, evidence: str
) -> str:
    now_us = desk.now_us()
    taken = Accepted(args.provider_job_id or "", BY_A_PERSON, CostFacts())
    next_us = next_poll_at_us(attempt.attempt_id, now_us, now_us, 0, desk.kit.rules.poll_pace)
    if not tx.attempt_accepted(attempt.attempt_id, taken, next_us):
        raise UsageError(f"{args.provider_job_id} is another job's id at this provider")
    tx.move_job(job.job_id, JobEvent.ACCEPTED, now_us, evidence)
    return f"{args.job} is followed as {args.provider_job_id}"
