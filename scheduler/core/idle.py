"""Whether anything can still move without a person: what `run --until-idle` waits for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from scheduler.core.admission import NO_HOURS, BackendLoad, Candidate, DoubtLimits, Purse, closed_gates
from scheduler.core.lifecycle import JobState
from scheduler.core.windows import Hours

#: States that end by themselves, sooner or later.
MOVING = frozenset({JobState.ADMITTED, JobState.RUNNING})

#: Gates that a time of the day opens: whoever wants it then starts the daemon then, or lets it run.
APPOINTMENTS = frozenset({"not-before", "window"})


def only_people_can_move(
    counts: Mapping[str, int],
    heads: Mapping[str, Sequence[Candidate]],
    loads: Sequence[BackendLoad],
    purse: Purse,
    limits: DoubtLimits,
    now_us: int,
    hours: Mapping[str, Hours] = NO_HOURS,
) -> bool:
    """True when nothing is under way and every queue's first jobs wait behind a gate a person must open.

    A window that opens later and a `not_before` are appointments: nobody sits up until then.
    """
    if any(counts.get(state, 0) for state in MOVING):
        return False
    by_name = {load.name: load for load in loads}
    return all(
        any(
            gate.needs_person or gate.code in APPOINTMENTS
            for gate in closed_gates(job, by_name[name], purse, limits, now_us, hours)
        )
        for name, jobs in heads.items()
        for job in jobs
    )
