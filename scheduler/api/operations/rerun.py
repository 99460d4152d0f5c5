"""`rerun`: the same code once more, as a new batch of whoever asks, which is paid for once more."""

from __future__ import annotations

import hashlib

from scheduler.api.desk import Args, Caller, Desk
from scheduler.api.operations.jobs import read_ref
from scheduler.core.job import BatchSpec
from scheduler.core.records import ReceivedBatch
from scheduler.core.timing import iso
from scheduler.core.views import SubmittedBatch, SubmitView
from scheduler.errors import NotFound
from scheduler.ports_store import Tx


class RerunArgs(Args):
    #: A job, or a batch: then all of its jobs.
    job: str


async def rerun(desk: Desk, caller: Caller, args: RerunArgs) -> SubmitView:
    now_us, key = desk.now_us(), f"rerun-{desk.kit.new_id()}"

    def work(tx: Tx) -> SubmittedBatch:
        ref = read_ref(tx, args.job)
        ids = tx.job_ids_of(ref)
        if not ids:
            raise NotFound(f"there is no job {args.job}", "nightshot jobs")
        jobs = tuple(tx.spec_of(job_id) for job_id in ids)
        name = jobs[0].name if len(jobs) == 1 else f"rerun of {ref}"
        digest = hashlib.sha256(repr(jobs).encode("utf-8", "surrogatepass")).hexdigest()
        batch = ReceivedBatch(key, BatchSpec(name, jobs, digest), caller.user, "socket", now_us)
        (received,) = tx.receive([batch])
        return {"batch": received.batch_id, "name": name, "jobs": len(jobs), "duplicate_of": None}

    submitted = await desk.kit.store.write(work)
    desk.kit.log("run again", job=args.job, batch=submitted["batch"], by=caller.user)
    desk.kit.wake("estimate")
    return {"as_of": iso(now_us), "batches": [submitted], "refused": []}
