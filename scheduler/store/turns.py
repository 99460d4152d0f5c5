"""Where a job stands: how many are before it in its queue, and when its task is looked at next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, Text, bindparam, cast, func, select

from scheduler.core.caps import Scope
from scheduler.core.lifecycle import AttemptState, JobState
from scheduler.core.records import Polled
from scheduler.store.admission import QUEUED
from scheduler.store.moves import Moves, is_state
from scheduler.store.schema import attempts, jobs


def _count(*where: ColumnElement[bool]) -> Select[Any]:
    some = select(jobs.c.id).where(*QUEUED, *where).limit(bindparam("_limit")).subquery()
    return select(func.count()).select_from(some)


#: Two ranges of the queue's index instead of one question with an OR, which would walk all of the queue.
_AHEAD = (
    _count(jobs.c.priority > bindparam("_priority")),
    _count(jobs.c.priority == bindparam("_priority"), jobs.c.id < bindparam("_id")),
)
_POLLED = select(attempts.c.next_poll_us, attempts.c.polls, attempts.c.poll_failures).where(
    attempts.c.id == bindparam("_id"), is_state(attempts.c.state, AttemptState.SUBMITTED)
)


_NAMED = {
    Scope.USER: jobs.c.user,
    Scope.PROJECT: jobs.c.project,
    Scope.BACKEND: jobs.c.backend,
    Scope.BATCH: cast(jobs.c.batch_id, Text),
    Scope.JOB: cast(jobs.c.id, Text),
}
_WAITING_OF = {
    scope: select(jobs.c.id)
    .where(is_state(jobs.c.state, JobState.WAITING), jobs.c.ended_us.is_(None), column == bindparam("_who"))
    .limit(1)
    for scope, column in _NAMED.items()
}


class TurnRows(Moves):
    def waiting_job_of(self, scope: Scope, who: str) -> int | None:
        if scope not in _WAITING_OF:
            return None
        found = self._run(_WAITING_OF[scope], {"_who": who}).scalar()
        return None if found is None else int(found)

    def jobs_ahead(
        self, backend: str, priority: int, job_id: int, now_us: int, limit: int, windows: Sequence[str] = ()
    ) -> int:
        ahead = 0
        for window in ("", *windows):
            for statement in _AHEAD:
                values = {"_backend": backend, "_window": window, "_now": now_us, "_limit": limit}
                if statement is _AHEAD[1]:
                    values["_id"] = job_id
                ahead += int(self._run(statement, {**values, "_priority": priority}).scalar_one())
                if ahead >= limit:
                    return ahead
        return ahead

    def polled(self, attempt_id: str) -> Polled | None:
        row = self._run(_POLLED, {"_id": attempt_id}).first()
        if row is None or row.next_poll_us is None:
            return None
        return Polled(row.next_poll_us, row.polls, row.poll_failures)
