"""`jobs`, `show`, `results`: what was handed in and what became of it."""

from __future__ import annotations

from pathlib import Path
from typing import TypedDict

from pydantic import Field

from scheduler.api.desk import Args, Caller, Desk, Name, Number
from scheduler.api.views import (
    attempt_view,
    event_view,
    gate_view,
    job_view,
    label_of,
    result_view,
)
from scheduler.api.waiting import look_at
from scheduler.core.job import JobRef
from scheduler.core.lifecycle import JobState
from scheduler.core.records import JobRecord
from scheduler.core.timing import iso, night_of
from scheduler.core.views import JobsView, ResultView, ShowView
from scheduler.errors import NotFound, UsageError
from scheduler.ports_store import Tx

PAGE = 1000


class JobsArgs(Args):
    state: str | None = None
    backend: Name | None = None
    batch: Number | None = None
    after: Number | None = None
    #: The other way round: a page is the latest jobs, and `after` goes back in time.
    newest: bool = False
    limit: int = Field(default=PAGE, ge=1, le=10_000)


class JobArgs(Args):
    job: Name


class ResultsView(TypedDict):
    as_of: str
    results: list[ResultView]
    missing: list[str]


async def jobs(desk: Desk, caller: Caller, args: JobsArgs) -> JobsView:  # noqa: ARG001
    if args.state is not None and args.state not in set(JobState):
        raise UsageError(f"there is no job state {args.state!r}", f"one of: {', '.join(JobState)}")
    records = await desk.kit.store.read(
        lambda tx: tx.list_jobs(
            state=args.state,
            backend=args.backend,
            batch=args.batch,
            after=args.after,
            limit=args.limit,
            newest=args.newest,
        )
    )
    full = len(records) == args.limit
    return {
        "as_of": iso(desk.now_us()),
        "jobs": [job_view(record) for record in records],
        "next": records[-1].job_id if full else None,
    }


def read_ref(tx: Tx, text: str) -> JobRef:
    """A job's or batch's name as people write it, `latest` included. Raises NotFound."""
    if text == "latest":
        latest = tx.latest_batch()
        if latest is None:
            raise NotFound("there is no job yet", "drop a file into the inbox, or: nightshot submit FILE")
        return JobRef(latest)
    ref = JobRef.parse(text)
    if ref is None:
        raise NotFound(f"{text!r} does not name a job", "write 12, 12.3 or latest")
    return ref


def find_job(tx: Tx, text: str) -> JobRecord:
    ref = read_ref(tx, text)
    job = tx.find_job(ref)
    if job is not None:
        return job
    size = len(tx.job_ids_of(JobRef(ref.batch)))
    if size > 1 and ref.ordinal is None:
        raise NotFound(
            f"{ref} is a batch of {size} jobs", f"nightshot jobs --batch {ref}, or name one: {ref}.1"
        )
    hint = f"batch {ref.batch} has the jobs {ref.batch}.1 … {ref.batch}.{size}" if size else "nightshot jobs"
    raise NotFound(f"there is no job {text}", hint)


async def show(desk: Desk, caller: Caller, args: JobArgs) -> ShowView:  # noqa: ARG001
    return await desk.kit.store.read(lambda tx: _show(desk, tx, args.job))


def _show(desk: Desk, tx: Tx, text: str) -> ShowView:
    job = find_job(tx, text)
    gates = look_at(desk, tx, job).closed if job.state is JobState.WAITING else ()
    return {
        "as_of": iso(desk.now_us()),
        "job": job_view(job),
        "gates": [gate_view(gate) for gate in gates],
        "quote": tx.quote_of(job.job_id),
        "attempts": [attempt_view(attempt) for attempt in tx.attempts_of(job.job_id)],
        "events": [event_view(event) for event in tx.events_of(job.job_id)],
        "result": result_view(job, tx.results_of(job.job_id), folder_of(desk, job)),
        "code_sha256": job.code_sha256,
    }


def folder_of(desk: Desk, job: JobRecord) -> Path | None:
    if job.ended_us is None:
        return None
    night = desk.results / night_of(job.ended_us, desk.kit.rules.zone).key
    label = label_of(job)
    return next(iter(sorted(night.glob(f"{label} *"))), None)


async def results(desk: Desk, caller: Caller, args: JobArgs) -> ResultsView:  # noqa: ARG001
    return await desk.kit.store.read(lambda tx: _results(desk, tx, args.job))


def _results(desk: Desk, tx: Tx, text: str) -> ResultsView:
    ref = read_ref(tx, text)
    ids = tx.job_ids_of(ref)
    if not ids:
        raise NotFound(f"there is no job {text}", "nightshot jobs")
    found: list[ResultView] = []
    missing: list[str] = []
    for job_id in ids:
        job = tx.job_record(job_id)
        view = result_view(job, tx.results_of(job_id), folder_of(desk, job))
        if view is None:
            missing.append(
                f"{label_of(job)} is {job.state.value}" + (f": {job.reason}" if job.reason else "")
            )
        else:
            found.append(view)
    return {"as_of": iso(desk.now_us()), "results": found, "missing": missing}
