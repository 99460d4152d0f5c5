"""Open tasks, their ends, and the settlement that closes a hold exactly once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import bindparam, insert, select, update

from scheduler.core.lifecycle import AttemptEvent, AttemptState, JobEvent, advance_attempt
from scheduler.core.records import FinishedTask, OpenTask
from scheduler.core.settlement import Settlement
from scheduler.core.task import Completed, CostFacts
from scheduler.store.admission import REQUEST_COLUMNS, request_of, with_circuit
from scheduler.store.moves import is_state
from scheduler.store.schema import attempts, holds, jobs, results
from scheduler.store.submission import Submission

_A = AttemptState
_ID = attempts.c.id == bindparam("_id")
_OPEN = is_state(attempts.c.state, _A.SUBMITTED)
_TASK = with_circuit(
    select(
        attempts.c.id,
        attempts.c.job_id,
        attempts.c.provider_job_id,
        attempts.c.sent_us,
        attempts.c.polls,
        attempts.c.poll_failures,
        *REQUEST_COLUMNS,
    ).select_from(attempts.join(jobs, jobs.c.id == attempts.c.job_id))
).where(_OPEN)
_DUE = (
    _TASK.where(attempts.c.next_poll_us <= bindparam("_now"))
    .order_by(attempts.c.next_poll_us)
    .limit(bindparam("_limit"))
)
_ONE = _TASK.where(_ID)
_NEXT_DUE = (
    select(attempts.c.id, attempts.c.next_poll_us)
    .where(_OPEN)
    .order_by(attempts.c.next_poll_us)
    .limit(bindparam("_limit"))
)
_STILL_OPEN = (
    update(attempts)
    .where(_ID, _OPEN)
    .values(
        provider_status=bindparam("_status"),
        next_poll_us=bindparam("_next_poll"),
        polls=attempts.c.polls + 1,
        poll_failures=0,
        reason=None,
    )
)
_POLL_FAILED = (
    update(attempts)
    .where(_ID, _OPEN)
    .values(
        reason=bindparam("_reason"),
        next_poll_us=bindparam("_next_poll"),
        polls=attempts.c.polls + 1,
        poll_failures=attempts.c.poll_failures + 1,
    )
)
_FINISH_COMPLETED = (
    update(attempts)
    .where(_ID, _OPEN)
    .values(
        state=_A.FINISHED.value,
        provider_status="completed",
        ended_us=bindparam("_at"),
        polls=attempts.c.polls + 1,
        poll_failures=0,
        reason=None,
    )
)
_FINISH_FAILED = (
    update(attempts)
    .where(_ID, _OPEN)
    .values(
        state=_A.FINISHED.value,
        provider_status="failed",
        ended_us=bindparam("_at"),
        polls=attempts.c.polls + 1,
        failure=bindparam("_failure"),
        never_runs=bindparam("_never_runs"),
        reason=bindparam("_failure"),
        raw_reply=bindparam("_raw_reply"),
    )
)
_RESULT = insert(results)
_FINISHED = (
    select(
        attempts.c.id,
        attempts.c.job_id,
        attempts.c.backend,
        attempts.c.estimated_cost_microusd,
        attempts.c.credits_applied_microcredits,
        attempts.c.overage_microusd,
        attempts.c.failure,
        attempts.c.never_runs,
        attempts.c.provider_job_id,
        holds.c.amount_microusd.label("hold_microusd"),
    )
    .select_from(attempts.join(holds, holds.c.attempt_id == attempts.c.id, isouter=True))
    .where(is_state(attempts.c.state, _A.FINISHED))
    .order_by(attempts.c.job_id)
    .limit(bindparam("_limit"))
)
_SETTLE = {
    event: update(attempts)
    .where(attempts.c.id.in_(bindparam("_ids", expanding=True)), attempts.c.state == _A.FINISHED.value)
    .values(state=advance_attempt(_A.FINISHED, event).value)
    .returning(attempts.c.id)
    for event in (AttemptEvent.SETTLE, AttemptEvent.SETTLE_FAILURE)
}
_TAKE_RETRY = (
    update(jobs)
    .where(jobs.c.id == bindparam("_id"), jobs.c.retries_left > 0, jobs.c.cancel_asked_us.is_(None))
    .values(retries_left=jobs.c.retries_left - 1)
)


def _open_task(row: Any) -> OpenTask:
    return OpenTask(
        row.id,
        row.job_id,
        row.backend,
        row.provider_job_id,
        row.sent_us,
        row.polls,
        row.poll_failures,
        request_of(row, row.id),
    )


class Polling(Submission):
    def due_tasks(self, now_us: int, limit: int, without: frozenset[str]) -> list[OpenTask]:
        rows = self._run(_DUE, {"_now": now_us, "_limit": limit + len(without)})
        return [_open_task(row) for row in rows if row.id not in without][:limit]

    def open_task(self, attempt_id: str) -> OpenTask | None:
        row = self._run(_ONE, {"_id": attempt_id}).first()
        return None if row is None else _open_task(row)

    def next_due_us(self, without: frozenset[str] = frozenset()) -> int | None:
        rows = self._run(_NEXT_DUE, {"_limit": 1 + len(without)})
        return next((row.next_poll_us for row in rows if row.id not in without), None)

    def still_open(self, attempt_id: str, status_word: str, next_poll_us: int) -> None:
        values = {"_id": attempt_id, "_status": status_word, "_next_poll": next_poll_us}
        self._run(_STILL_OPEN, values)

    def poll_failed(self, attempt_id: str, reason: str, next_poll_us: int) -> None:
        values = {"_id": attempt_id, "_reason": reason, "_next_poll": next_poll_us}
        self._run(_POLL_FAILED, values)

    def finish_completed(self, task: OpenTask, report: Completed, at_us: int) -> bool:
        if self._run(_FINISH_COMPLETED, {"_id": task.attempt_id, "_at": at_us}).rowcount != 1:
            return False
        row = {
            "job_id": task.job_id,
            "part_ordinal": 1,
            "attempt_id": task.attempt_id,
            "counts": json.dumps(list(report.counts), separators=(",", ":")),
            "bit_order": report.bit_order,
            "shots_returned": json.dumps([sum(counts.values()) for counts in report.counts]),
            "facts": json.dumps(dict(report.facts)),
            "raw": report.raw,
            "received_us": at_us,
        }
        self._run(_RESULT, row)
        return True

    def finish_failed(self, attempt_id: str, reason: str, raw: str, never_runs: bool, at_us: int) -> bool:
        values = {
            "_id": attempt_id,
            "_failure": reason,
            "_raw_reply": raw,
            "_never_runs": never_runs,
            "_at": at_us,
        }
        return self._run(_FINISH_FAILED, values).rowcount == 1

    def finished_tasks(self, limit: int) -> list[FinishedTask]:
        return [
            FinishedTask(
                attempt_id=r.id,
                job_id=r.job_id,
                backend=r.backend,
                provider_job_id=r.provider_job_id,
                hold_microusd=r.hold_microusd,
                cost=CostFacts(r.estimated_cost_microusd, r.credits_applied_microcredits, r.overage_microusd),
                failure=r.failure,
                never_runs=bool(r.never_runs),  # SQLite's own 0 or 1
            )
            for r in self._run(_FINISHED, {"_limit": limit})
        ]

    def settle_attempts(self, settled: Sequence[tuple[FinishedTask, Settlement]], at_us: int) -> None:
        ours: set[str] = set()
        for event, failed in ((AttemptEvent.SETTLE, False), (AttemptEvent.SETTLE_FAILURE, True)):
            ids = [task.attempt_id for task, _ in settled if (task.failure is not None) is failed]
            if ids:
                ours.update(self._run(_SETTLE[event], {"_ids": ids}).scalars())
        for task, settlement in settled:
            if task.attempt_id not in ours:
                continue
            if task.hold_microusd is not None:
                self.post_hold(task.attempt_id, task.cost, None, "nightshot", settlement.evidence, at_us)
            self._end_job(task, settlement, at_us)

    def _end_job(self, task: FinishedTask, settlement: Settlement, at_us: int) -> None:
        if task.failure is None:
            event, sentence = JobEvent.COMPLETE, f"completed on {task.backend}"
        elif task.never_runs:
            event, sentence = JobEvent.REJECT, task.failure
        elif self.take_retry(task.job_id):
            event, sentence = JobEvent.RETRY, f"failed and is tried again: {task.failure}"
        else:
            event, sentence = JobEvent.FAIL, task.failure
        self.move_job(task.job_id, event, at_us, sentence, cost_microusd=settlement.cost_microusd)

    def take_retry(self, job_id: int) -> bool:
        return self._run(_TAKE_RETRY, {"_id": job_id}).rowcount == 1
