"""Ended jobs whose files are not written yet, with everything that goes into the files."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, bindparam, select, update

from scheduler.core.lifecycle import AttemptState, JobState
from scheduler.core.money import Money
from scheduler.core.records import AttemptRecord, EndedJob, JobRecord, ResultRecord
from scheduler.core.settlement import Booked
from scheduler.core.task import CostFacts
from scheduler.core.timing import iso
from scheduler.store.moves import in_states
from scheduler.store.polling import Polling
from scheduler.store.schema import attempts, batches, circuits, holds, jobs, quotes, results

JOB_COLUMNS = (jobs, batches.c.size.label("batch_size"))
_IDS: Any = bindparam("_ids", expanding=True)


def job_rows(*where: ColumnElement[bool]) -> Select[Any]:
    return select(*JOB_COLUMNS).join(batches, batches.c.id == jobs.c.batch_id).where(*where)


def job_record(r: Row[Any]) -> JobRecord:
    return JobRecord(
        job_id=r.id,
        batch_id=r.batch_id,
        ordinal=r.ordinal,
        batch_size=r.batch_size,
        name=r.name,
        user=r.user,
        project=r.project,
        tags=tuple(json.loads(r.tags)),
        state=JobState(r.state),
        backend=r.backend,
        shots=r.shots,
        framework=r.framework,
        priority=r.priority,
        source_name=r.source_name,
        code_sha256=r.circuit_sha256,
        created_us=r.created_us,
        ended_us=r.ended_us,
        estimate_microusd=r.estimate_microusd,
        cost_microusd=r.cost_microusd,
        wait_code=r.wait_code,
        wait_until_us=r.wait_until_us,
        reason=r.reason,
    )


_ATTEMPTS_OF = (
    select(
        attempts,
        holds.c.amount_microusd,
        holds.c.state.label("hold_state"),
        holds.c.posted_microusd,
        holds.c.refunded_microusd,
        holds.c.evidence,
    )
    .select_from(attempts.join(holds, holds.c.attempt_id == attempts.c.id, isouter=True))
    .where(attempts.c.job_id.in_(_IDS))
    .order_by(attempts.c.job_id, attempts.c.ordinal)
)
_RESULTS_OF = (
    select(results).where(results.c.job_id.in_(_IDS)).order_by(results.c.job_id, results.c.part_ordinal)
)
_QUOTES_OF = select(quotes).where(quotes.c.job_id.in_(_IDS)).order_by(quotes.c.id)
_UNPUBLISHED = (
    select(*JOB_COLUMNS, batches.c.name.label("batch_name"), circuits.c.code)
    .select_from(
        jobs.join(batches, batches.c.id == jobs.c.batch_id).join(
            circuits, circuits.c.sha256 == jobs.c.circuit_sha256
        )
    )
    .where(jobs.c.ended_us.is_not(None), jobs.c.published_us.is_(None))
    .order_by(jobs.c.id)
    .limit(bindparam("_limit"))
)
_PUBLISHED = (
    update(jobs)
    .where(jobs.c.id.in_(_IDS), jobs.c.ended_us.is_not(None), jobs.c.published_us.is_(None))
    .values(published_us=bindparam("_at"))
)
_OPEN_STATES = frozenset(JobState) - {
    JobState.COMPLETED,
    JobState.FAILED,
    JobState.CANCELLED,
    JobState.REJECTED,
}
_END_BATCHES = (
    update(batches)
    .where(
        batches.c.id.in_(select(jobs.c.batch_id).where(jobs.c.id.in_(_IDS))),
        batches.c.ended_us.is_(None),
        ~select(jobs.c.id)
        .where(jobs.c.batch_id == batches.c.id, in_states(jobs.c.state, _OPEN_STATES))
        .correlate(batches)
        .exists(),
    )
    .values(ended_us=bindparam("_at"))
    .returning(batches.c.id)
)


def attempt_record(r: Row[Any]) -> AttemptRecord:
    return AttemptRecord(
        attempt_id=r.id,
        ordinal=r.ordinal,
        state=AttemptState(r.state),
        provider_job_id=r.provider_job_id,
        provider_status=r.provider_status,
        prepared_us=r.prepared_us,
        sent_us=r.sent_us,
        ended_us=r.ended_us,
        hold_microusd=r.amount_microusd,
        hold_state=r.hold_state,
        cost=CostFacts(r.estimated_cost_microusd, r.credits_applied_microcredits, r.overage_microusd),
        reason=r.reason,
        raw_reply=r.raw_reply,
        booked=Booked(r.hold_state, r.posted_microusd, r.refunded_microusd or 0, r.evidence),
    )


def result_record(r: Row[Any]) -> ResultRecord:
    return ResultRecord(
        counts_json=r.counts,
        bit_order=r.bit_order,
        shots_returned=tuple(json.loads(r.shots_returned)),
        raw=r.raw,
        facts=tuple(json.loads(r.facts).items()),
        received_us=r.received_us,
    )


def quote_text(r: Row[Any]) -> str:
    lines = f": {r.lines}" if r.lines else ""
    return f"{Money(r.cost_microusd)} from {r.source}{lines}, taken {iso(r.taken_us)}"


class Publication(Polling):
    def attempts_by_job(self, job_ids: Sequence[int]) -> dict[int, list[AttemptRecord]]:
        found: dict[int, list[AttemptRecord]] = defaultdict(list)
        for row in self._c.execute(_ATTEMPTS_OF, {"_ids": list(job_ids)}):
            found[row.job_id].append(attempt_record(row))
        return found

    def results_by_job(self, job_ids: Sequence[int]) -> dict[int, list[ResultRecord]]:
        found: dict[int, list[ResultRecord]] = defaultdict(list)
        for row in self._c.execute(_RESULTS_OF, {"_ids": list(job_ids)}):
            found[row.job_id].append(result_record(row))
        return found

    def quotes_by_job(self, job_ids: Sequence[int]) -> dict[int, str]:
        return {row.job_id: quote_text(row) for row in self._c.execute(_QUOTES_OF, {"_ids": list(job_ids)})}

    def ended_unpublished(self, limit: int) -> list[EndedJob]:
        rows = list(self._run(_UNPUBLISHED, {"_limit": limit}))
        ids = [row.id for row in rows]
        if not ids:
            return []
        tries, counted, quoted = self.attempts_by_job(ids), self.results_by_job(ids), self.quotes_by_job(ids)
        return [
            EndedJob(
                job=job_record(row),
                batch_name=row.batch_name,
                code=row.code,
                attempts=tuple(tries.get(row.id, ())),
                results=tuple(counted.get(row.id, ())),
                quote_text=quoted.get(row.id),
            )
            for row in rows
        ]

    def mark_published(self, job_ids: Sequence[int], at_us: int) -> list[int]:
        values = {"_ids": list(job_ids), "_at": at_us}
        self._c.execute(_PUBLISHED, values)
        return sorted(self._c.execute(_END_BATCHES, values).scalars())
