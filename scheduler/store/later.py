"""What the end of a job means for those that come after it; part of the one write that ends jobs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import bindparam, case, text, update

from scheduler.core.lifecycle import JobState
from scheduler.core.waits import Need, Parked, Rule
from scheduler.store.schema import job_needs, jobs

#: Fewer than a database takes values in one statement.
_GROUP = 500
#: Written out, because an index that holds a part of the rows is only used for its very words.
_OPEN: Any = text(f"state = '{Need.OPEN}'")


def _told(met: Any) -> Any:
    return (
        update(job_needs)
        .where(job_needs.c.before_id == bindparam("_id"), _OPEN)
        .values(state=met)
        .returning(job_needs.c.job_id, job_needs.c.state)
    )


_COMPLETED = _told(Need.MET.value)
_ENDED = _told(case((job_needs.c.rule == Rule.ANY.value, Need.MET.value), else_=Need.BROKEN.value))
_LAST = jobs.c.waiting_on == 1
_ONE_LESS = (
    update(jobs)
    .where(jobs.c.id.in_(bindparam("_ids", expanding=True)))
    .values(
        waiting_on=jobs.c.waiting_on - 1,
        parked=case((_LAST, jobs.c.parked - Parked.AFTER_OTHERS.value), else_=jobs.c.parked),
    )
)


def tell_later_jobs(run: Callable[..., Any], job_id: int, state: JobState) -> None:
    """Say that a job has ended to the jobs that come after it; mostly there are none."""
    told = list(run(_COMPLETED if state is JobState.COMPLETED else _ENDED, {"_id": job_id}))
    met = [row.job_id for row in told if row.state == Need.MET.value]
    for start in range(0, len(met), _GROUP):
        run(_ONE_LESS, {"_ids": met[start : start + _GROUP]})
