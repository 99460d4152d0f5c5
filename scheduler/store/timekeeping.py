"""What the time alone changes: jobs whose time has come, deadlines that passed, windows that opened."""

from __future__ import annotations

from typing import Any

from sqlalchemy import bindparam, func, select, text, update

from scheduler.core.lifecycle import JobState
from scheduler.core.waits import Parked
from scheduler.core.windows import Occurrence
from scheduler.store.moves import Moves, is_state
from scheduler.store.schema import ASLEEP, jobs, occurrences

_WAITING = is_state(jobs.c.state, JobState.WAITING)
_ASLEEP: Any = text(ASLEEP)
_HAS_DEADLINE = jobs.c.deadline_us.is_not(None)
_WAKE = (
    update(jobs)
    .where(
        jobs.c.id.in_(
            select(jobs.c.id)
            .where(_WAITING, _ASLEEP, jobs.c.not_before_us <= bindparam("_now"))
            .order_by(jobs.c.not_before_us)
            .limit(bindparam("_limit"))
            .scalar_subquery()
        ),
        _ASLEEP,
    )
    .values(parked=jobs.c.parked - Parked.TOO_EARLY.value)
)
_OVERDUE = (
    select(jobs.c.id, jobs.c.deadline_us)
    .where(_WAITING, _HAS_DEADLINE, jobs.c.deadline_us < bindparam("_now"))
    .order_by(jobs.c.deadline_us)
    .limit(bindparam("_limit"))
)
_NEXT = (
    select(func.min(jobs.c.not_before_us)).where(_WAITING, _ASLEEP),
    # It may still be sent at the very instant of its deadline.
    select(func.min(jobs.c.deadline_us) + 1).where(_WAITING, _HAS_DEADLINE),
)
_SEEN = select(occurrences.c.closes_us).where(
    occurrences.c.window_name == bindparam("_window"), occurrences.c.key == bindparam("_key")
)
_NOT_SENT_YET = (JobState.WAITING.value, JobState.ADMITTED.value)
_PUT_ON_HOLD = (
    update(jobs)
    .where(jobs.c.id == bindparam("_id"), jobs.c.state.in_(_NOT_SENT_YET), jobs.c.on_hold_us.is_(None))
    .values(
        parked=jobs.c.parked + Parked.ON_HOLD.value,
        on_hold_us=bindparam("_at"),
        on_hold_by=bindparam("_by"),
        on_hold_reason=bindparam("_reason"),
    )
)
_RELEASE = (
    update(jobs)
    .where(jobs.c.id == bindparam("_id"), jobs.c.on_hold_us.is_not(None))
    .values(
        parked=jobs.c.parked - Parked.ON_HOLD.value, on_hold_us=None, on_hold_by=None, on_hold_reason=None
    )
)


class TimeRows(Moves):
    def wake_sleepers(self, now_us: int, limit: int) -> int:
        return self._run(_WAKE, {"_now": now_us, "_limit": limit}).rowcount

    def overdue_jobs(self, now_us: int, limit: int) -> list[tuple[int, int]]:
        rows = self._run(_OVERDUE, {"_now": now_us, "_limit": limit})
        return [(row.id, row.deadline_us) for row in rows]

    def next_time_us(self) -> int | None:
        found = [self._run(statement).scalar() for statement in _NEXT]
        return min((int(each) for each in found if each is not None), default=None)

    def record_occurrence(self, occurrence: Occurrence, at_us: int) -> bool:
        if self._run(_SEEN, {"_window": occurrence.window, "_key": occurrence.key}).first() is not None:
            return False
        row = {
            "window_name": occurrence.window,
            "key": occurrence.key,
            "opens_us": occurrence.opens_us,
            "closes_us": occurrence.closes_us,
            "seen_us": at_us,
        }
        self.insert_ignoring(occurrences, [row])
        return True

    def put_on_hold(self, job_id: int, actor: str, reason: str, at_us: int) -> bool:
        values = {"_id": job_id, "_at": at_us, "_by": actor, "_reason": reason}
        return self._run(_PUT_ON_HOLD, values).rowcount == 1

    def release(self, job_id: int) -> bool:
        return self._run(_RELEASE, {"_id": job_id}).rowcount == 1
