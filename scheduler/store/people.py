"""What commands ask and change: lists, stories, arming, cancelling."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from sqlalchemy import bindparam, func, insert, select, update

from scheduler.core.admission import Candidate
from scheduler.core.caps import Window
from scheduler.core.job import JobRef
from scheduler.core.lifecycle import ATTEMPT_LIVE, AttemptState, JobState
from scheduler.core.records import (
    ArmingRecord,
    AttemptRecord,
    BatchRecord,
    EventRecord,
    JobRecord,
    ResultRecord,
)
from scheduler.store.admission import CANDIDATE_COLUMNS, candidate
from scheduler.store.moves import in_states, is_state
from scheduler.store.publication import Publication, job_record, job_rows
from scheduler.store.schema import armings, attempts, batches, cap_parts, job_events, jobs

_OPEN_COUNTS = select(jobs.c.state, func.count()).where(jobs.c.ended_us.is_(None)).group_by(jobs.c.state)
_ENDED_COUNTS = (
    select(jobs.c.state, func.count())
    .where(jobs.c.ended_us.is_not(None), jobs.c.ended_us >= bindparam("_since"))
    .group_by(jobs.c.state)
)
_WAITING = is_state(jobs.c.state, JobState.WAITING)
_WAITING_COUNTS = [
    select(func.count()).where(_WAITING, priced, jobs.c.backend == bindparam("_backend"))
    for priced in (jobs.c.estimate_microusd.is_(None), jobs.c.estimate_microusd.is_not(None))
]
_PRICES_WILL_COME = (
    select(jobs.c.id)
    .where(_WAITING, jobs.c.estimate_microusd.is_(None), jobs.c.backend == bindparam("_backend"))
    .where(
        # Nobody has asked yet, or it is asked again and may start then.
        jobs.c.wait_code.is_(None)
        | (
            (jobs.c.wait_code == "estimate")
            & (jobs.c.parked == 0)
            & jobs.c.window_name.in_(bindparam("_windows", expanding=True))
        )
    )
    .limit(1)
)
_FIRST_UNPRICED = (
    select(*CANDIDATE_COLUMNS)
    .where(_WAITING, jobs.c.estimate_microusd.is_(None), jobs.c.backend == bindparam("_backend"))
    .order_by(jobs.c.id)
    .limit(1)
)
_IN_DOUBT_USE = (
    select(func.coalesce(func.sum(cap_parts.c.amount), 0))
    .select_from(cap_parts.join(attempts, attempts.c.id == cap_parts.c.attempt_id))
    .where(
        cap_parts.c.window_key == bindparam("_key"),
        cap_parts.c.settled.is_(None),
        in_states(attempts.c.state, {AttemptState.SUBMITTING, AttemptState.IN_DOUBT}),
        attempts.c.state == AttemptState.IN_DOUBT.value,
    )
)
_BATCH_COUNTS = (
    select(jobs.c.batch_id, jobs.c.state, func.count())
    .where(jobs.c.batch_id.in_(bindparam("_ids", expanding=True)))
    .group_by(jobs.c.batch_id, jobs.c.state)
)

_JOB = job_rows(jobs.c.id == bindparam("_id"))
_JOB_IDS = select(jobs.c.id).where(jobs.c.batch_id == bindparam("_batch")).order_by(jobs.c.ordinal)
_JOB_ID = _JOB_IDS.where(jobs.c.ordinal == bindparam("_ordinal"))


class People(Publication):
    def latest_batch(self) -> int | None:
        return self._c.execute(select(func.max(batches.c.id))).scalar()

    def find_job(self, ref: JobRef) -> JobRecord | None:
        where = [jobs.c.batch_id == ref.batch, jobs.c.ordinal == (ref.ordinal or 1)]
        row = self._c.execute(job_rows(*where)).first()
        if row is None or (ref.ordinal is None and row.batch_size > 1):
            return None
        return job_record(row)

    def job_record(self, job_id: int) -> JobRecord:
        return job_record(self._run(_JOB, {"_id": job_id}).first())

    def job_ids_of(self, ref: JobRef) -> list[int]:
        if ref.ordinal is None:
            return list(self._run(_JOB_IDS, {"_batch": ref.batch}).scalars())
        return list(self._run(_JOB_ID, {"_batch": ref.batch, "_ordinal": ref.ordinal}).scalars())

    def list_jobs(
        self,
        *,
        state: str | None,
        backend: str | None,
        batch: int | None,
        after: int | None,
        limit: int,
        newest: bool = False,
    ) -> list[JobRecord]:
        statement = job_rows().order_by(jobs.c.id.desc() if newest else jobs.c.id).limit(limit)
        if state is not None:
            statement = statement.where(jobs.c.state == state)
        if backend is not None:
            statement = statement.where(jobs.c.backend == backend)
        if batch is not None:
            statement = statement.where(jobs.c.batch_id == batch)
        if after is not None:
            statement = statement.where(jobs.c.id < after if newest else jobs.c.id > after)
        return [job_record(row) for row in self._c.execute(statement)]

    def jobs_in_state(self, state: JobState, limit: int) -> list[JobRecord]:
        statement = job_rows(is_state(jobs.c.state, state), jobs.c.ended_us.is_(None)).order_by(jobs.c.id)
        return [job_record(row) for row in self._c.execute(statement.limit(limit))]

    def attempts_of(self, job_id: int) -> list[AttemptRecord]:
        return self.attempts_by_job([job_id]).get(job_id, [])

    def live_attempt_of(self, job_id: int) -> AttemptRecord | None:
        return next((a for a in self.attempts_of(job_id) if a.state in ATTEMPT_LIVE), None)

    def results_of(self, job_id: int) -> list[ResultRecord]:
        return self.results_by_job([job_id]).get(job_id, [])

    def quote_of(self, job_id: int) -> str | None:
        return self.quotes_by_job([job_id]).get(job_id)

    def events_of(self, job_id: int, limit: int = 200) -> list[EventRecord]:
        statement = (
            select(job_events).where(job_events.c.job_id == job_id).order_by(job_events.c.id).limit(limit)
        )
        return [EventRecord(r.at_us, r.event, r.sentence) for r in self._c.execute(statement)]

    def ask_cancel(self, job_id: int, at_us: int) -> None:
        self._c.execute(update(jobs).where(jobs.c.id == job_id).values(cancel_asked_us=at_us))

    def arm(self, record: ArmingRecord, night: Window) -> None:
        row = {
            "armed": True,
            "night_limit_microusd": record.night_limit_microusd,
            "once_night": record.once_night,
            "actor": record.actor,
            "reason": record.reason,
            "at_us": record.at_us,
        }
        self._c.execute(insert(armings), row)
        # A night that has begun keeps its books; only its limit changes.
        limit, actor, reason = record.night_limit_microusd, record.actor, record.reason or "armed"
        self.set_cap_limit(night.cap, night.key, limit, actor, reason, record.at_us)

    def disarm(self, actor: str, reason: str, at_us: int) -> bool:
        was_armed = self.arming() is not None
        row = {"armed": False, "actor": actor, "reason": reason, "at_us": at_us}
        self._c.execute(insert(armings), row)
        return was_armed

    def in_doubt_use(self, window_key: str) -> int:
        return int(self._run(_IN_DOUBT_USE, {"_key": window_key}).scalar_one())

    def state_counts(self, since_us: int) -> dict[str, int]:
        counts = self._pairs(_OPEN_COUNTS, {})
        return counts | self._pairs(_ENDED_COUNTS, {"_since": since_us})

    def _pairs(self, statement: Any, values: dict[str, Any]) -> dict[str, int]:
        return {row[0]: row[1] for row in self._c.execute(statement, values)}

    def waiting_by_backend(self) -> dict[str, int]:
        return {
            name: sum(self._c.execute(s, {"_backend": name}).scalar_one() for s in _WAITING_COUNTS)
            for name in self.waiting_backends()
        }

    def prices_will_come(self, backend: str, windows: Sequence[str] = ()) -> bool:
        values = {"_backend": backend, "_windows": ["", *windows]}
        return self._run(_PRICES_WILL_COME, values).first() is not None

    def first_unpriced(self, backend: str) -> Candidate | None:
        row = self._run(_FIRST_UNPRICED, {"_backend": backend}).first()
        return None if row is None else candidate(row)

    def latest_batches(self, limit: int) -> list[BatchRecord]:
        rows = self._c.execute(select(batches).order_by(batches.c.id.desc()).limit(limit)).all()
        counts = self._batch_counts([row.id for row in rows])
        return [BatchRecord(r.id, r.name, r.user, r.source, r.created_us, r.size, counts[r.id]) for r in rows]

    def open_batch_counts(self, batch_ids: Sequence[int]) -> dict[int, dict[str, int]]:
        statement = select(batches.c.id).where(batches.c.id.in_(batch_ids), batches.c.ended_us.is_(None))
        return dict(self._batch_counts(list(self._c.execute(statement).scalars())))

    def _batch_counts(self, batch_ids: Sequence[int]) -> dict[int, dict[str, int]]:
        counts: dict[int, dict[str, int]] = defaultdict(dict)
        for batch_id, state, count in self._c.execute(_BATCH_COUNTS, {"_ids": list(batch_ids)}):
            counts[batch_id][state] = count
        return counts

    def oldest_troubled_polls(self, failures: int, limit: int) -> list[tuple[JobRecord, str]]:
        statement = (
            select(attempts.c.job_id, attempts.c.reason)
            .where(is_state(attempts.c.state, AttemptState.SUBMITTED), attempts.c.poll_failures >= failures)
            .order_by(attempts.c.sent_us)
            .limit(limit)
        )
        found: list[Any] = list(self._c.execute(statement))
        return [(self.job_record(row.job_id), row.reason or "its status cannot be read") for row in found]
