"""Which job comes after which: kept by the very transaction that ends a job, so that no pass has to look.

`waiting_on` counts what is not met yet, and a job with any is parked. An entry that can never be met is
`broken`; the timekeeping stage cancels such a job and closes its entries.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import bindparam, insert, select, text, update

from scheduler.core.job import Earlier, JobRef, job_label
from scheduler.core.lifecycle import JobState
from scheduler.core.records import ReceivedBatch
from scheduler.core.waits import Before, Need, Parked, Rule
from scheduler.store.moves import Moves
from scheduler.store.schema import batches, job_needs, jobs

#: Written out, because an index that holds a part of the rows is only used for its very words.
_BROKEN: Any = text(f"job_needs.state = '{Need.BROKEN}'")
_SHOWN = 20
#: Of one batch: each is a row.
_ENTRIES_MAX = 100_000
_UNMET = job_needs.c.state.in_([Need.OPEN.value, Need.BROKEN.value])
_JOBS_BEFORE = job_needs.join(jobs, jobs.c.id == job_needs.c.before_id).join(
    batches, batches.c.id == jobs.c.batch_id
)
_BEFORE_COLUMNS = (jobs.c.batch_id, jobs.c.ordinal, jobs.c.state, batches.c.size, job_needs.c.rule)
_NEEDS_OF = (
    select(*_BEFORE_COLUMNS)
    .select_from(_JOBS_BEFORE)
    .where(job_needs.c.job_id == bindparam("_id"), _UNMET)
    .order_by(job_needs.c.before_id)
    .limit(_SHOWN)
)
_FIND_BROKEN = (
    select(job_needs.c.job_id, *_BEFORE_COLUMNS)
    .select_from(_JOBS_BEFORE)
    .where(_BROKEN)
    .order_by(job_needs.c.job_id)
    .limit(bindparam("_limit"))
)
_CLOSE = (
    update(job_needs).where(job_needs.c.job_id == bindparam("_id"), _BROKEN).values(state=Need.CLOSED.value)
)
_NEEDS = insert(job_needs)
_BATCH_JOBS = select(jobs.c.id, jobs.c.batch_id, jobs.c.ordinal, jobs.c.state).where(
    jobs.c.batch_id.in_(bindparam("_ids", expanding=True))
)
_KNOWN = select(batches.c.ingest_key).where(batches.c.ingest_key.in_(bindparam("_keys", expanding=True)))


def _before(row: Any) -> Before:
    return Before(job_label(row.batch_id, row.ordinal, row.size), JobState(row.state), Rule(row.rule))


class NeedRows(Moves):
    def needs_of(self, job_id: int) -> tuple[Before, ...]:
        return tuple(_before(row) for row in self._run(_NEEDS_OF, {"_id": job_id}))

    def broken_needs(self, limit: int) -> list[tuple[int, Before]]:
        return [(row.job_id, _before(row)) for row in self._run(_FIND_BROKEN, {"_limit": limit})]

    def close_needs(self, job_id: int) -> None:
        self._run(_CLOSE, {"_id": job_id})

    def refused_needs(self, received: Sequence[ReceivedBatch]) -> dict[str, tuple[int | None, str]]:
        refused: dict[str, tuple[int | None, str]] = {}
        known = self._earlier_jobs(received)
        for batch in received:
            entries = 0
            for earlier in _all_refs(batch):
                meant = _meant(earlier, known)
                entries += len(meant)
                problem = _problem(earlier, meant)
                if problem is None and entries > _ENTRIES_MAX:
                    problem = f"after: together more than {_ENTRIES_MAX:,} jobs to wait for; name fewer"
                if problem is not None:
                    refused.setdefault(batch.ingest_key, (earlier.line, problem))
        if refused:
            # What was received before a crash is not refused after it.
            for key in self._c.execute(_KNOWN, {"_keys": list(refused)}).scalars():
                del refused[key]
        return refused

    def count_needs(
        self, fresh: Sequence[ReceivedBatch], rows: Sequence[dict[str, Any]]
    ) -> list[dict[str, Any]]:
        """Count in the rows of new jobs what each waits for; the entries are to be inserted after them."""
        if not any(job.after for batch in fresh for job in batch.spec.jobs):
            return []
        known = self._earlier_jobs(fresh)
        entries: list[dict[str, Any]] = []
        place = iter(rows)
        for batch in fresh:
            own = [next(place) for _ in batch.spec.jobs]
            for row, job in zip(own, batch.spec.jobs, strict=True):
                found = _entries(row["id"], job.after, own, known)
                row["waiting_on"] = sum(entry["state"] != Need.MET.value for entry in found)
                row["parked"] |= Parked.AFTER_OTHERS.value if row["waiting_on"] else 0
                entries += found
        return entries

    def insert_needs(self, entries: Sequence[dict[str, Any]]) -> None:
        if entries:
            self._run(_NEEDS, entries)

    def _earlier_jobs(self, received: Sequence[ReceivedBatch]) -> dict[int, list[Any]]:
        numbers = sorted({e.ref.batch for batch in received for e in _all_refs(batch) if e.ref})
        found: dict[int, list[Any]] = defaultdict(list)
        for start in range(0, len(numbers), 500):
            for row in self._c.execute(_BATCH_JOBS, {"_ids": numbers[start : start + 500]}):
                found[row.batch_id].append(row)
        return found


def _all_refs(batch: ReceivedBatch) -> Iterable[Earlier]:
    return (earlier for job in batch.spec.jobs for earlier in job.after if earlier.ref is not None)


def _meant(earlier: Earlier, known: dict[int, list[Any]]) -> list[Any]:
    ref = earlier.ref or JobRef(0)
    return [row for row in known.get(ref.batch, ()) if ref.ordinal in (None, row.ordinal)]


def _problem(earlier: Earlier, meant: Sequence[Any]) -> str | None:
    if not meant:
        return f"after: there is no job {earlier.written}"
    for row in meant:
        state = JobState(row.state)
        if earlier.rule.is_broken_by(state):
            name = f"{row.batch_id}.{row.ordinal}" if len(meant) > 1 else earlier.written
            return (
                f"after: {name} is {state.value} and will never complete, so this job could never start; "
                f"'any:{earlier.written}' only waits for its end"
            )
    return None


def _entries(
    job_id: int, after: Sequence[Earlier], own: Sequence[dict[str, Any]], known: dict[int, list[Any]]
) -> list[dict[str, Any]]:
    found: dict[int, dict[str, Any]] = {}
    for earlier in after:
        if earlier.ordinal is not None:
            before = [(own[earlier.ordinal - 1]["id"], JobState.WAITING)]
        else:
            before = [(row.id, JobState(row.state)) for row in _meant(earlier, known)]
        for before_id, state in before:
            need = Need.OPEN
            if earlier.rule.is_met_by(state):
                need = Need.MET
            elif earlier.rule.is_broken_by(state):
                need = Need.BROKEN  # it ended between the question and this transaction
            entry = {
                "job_id": job_id,
                "before_id": before_id,
                "rule": earlier.rule.value,
                "state": need.value,
            }
            # A batch and one of its jobs may both be named: the stricter rule holds.
            if before_id not in found or earlier.rule is Rule.OK:
                found[before_id] = entry
    return list(found.values())
