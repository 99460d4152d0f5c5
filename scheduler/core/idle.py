"""Whether anything can still move without a person: what `run --until-idle` waits for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from scheduler.core.admission import BackendLoad, Candidate, DoubtLimits, Purse, closed_gates
from scheduler.core.lifecycle import JobState

#: States that end by themselves, sooner or later.
MOVING = frozenset({JobState.ADMITTED, JobState.RUNNING})


def only_people_can_move(
    counts: Mapping[str, int],
    heads: Mapping[str, Sequence[Candidate]],
    loads: Sequence[BackendLoad],
    purse: Purse,
    limits: DoubtLimits,
    now_us: int,
) -> bool:
    """True when nothing is under way and every queue's first jobs wait behind a gate a person must open."""
    if any(counts.get(state, 0) for state in MOVING):
        return False
    by_name = {load.name: load for load in loads}
    return all(
        any(gate.needs_person for gate in closed_gates(job, by_name[name], purse, limits, now_us))
        for name, jobs in heads.items()
        for job in jobs
    )
