"""What keeps a waiting job, worked out at the moment of asking by the function that admits.

`show` lists what is closed, `why` says all of it; both look here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from scheduler.api.desk import Desk
from scheduler.api.views import label_of
from scheduler.core.admission import BackendLoad, Candidate, Gate, Purse, closed_gates, gate_rank
from scheduler.core.checks import Asked, Place, turn_gate
from scheduler.core.lifecycle import JobState
from scheduler.core.records import JobRecord
from scheduler.core.windows import open_windows
from scheduler.ports_store import Tx
from scheduler.stages.purse import purse_for

#: Nobody's question depends on whether ten or eleven thousand are before them.
COUNTED = 10_000
NAMED = 3
#: Jobs in doubt that are looked through for the oldest one of a backend.
_DOUBTS_LOOKED_AT = 100


@dataclass(frozen=True, slots=True)
class Look:
    """Everything about a waiting job; `lasting` is what no time, completion or command here will change."""

    asked: Asked
    closed: tuple[Gate, ...]
    place: Place | None
    lasting: tuple[str, ...] = ()


def look_at(desk: Desk, tx: Tx, job: JobRecord) -> Look:
    """Ask everything that admission asks, of rows as they are now; `job` is waiting."""
    house, now_us = desk.kit.rules, desk.now_us()
    rules = house.backend(job.backend)
    unusable = _unusable(desk, job.backend)
    # Where nobody knows whether it costs money, it does.
    load = load_of(tx, job.backend, rules is None or rules.paid, rules.slots if rules else 1)
    candidate = _named(tx, tx.candidate_of(job.job_id))
    purse = _purse(desk, tx, candidate, now_us)
    asked = Asked(candidate, load, purse, house.doubt_limits, house.hours, now_us)
    closed = [*closed_gates(candidate, load, purse, house.doubt_limits, now_us, house.hours)]
    closed = sorted([*closed, *unusable], key=lambda gate: gate_rank(gate.code))
    place = _place(tx, asked, job.priority) if asked.is_queued else None
    if not closed:
        # A job whose gates are all open is in the queue.
        closed = [turn_gate(place or Place(0), job.backend)]
    return Look(asked, tuple(closed), place, tuple(gate.sentence for gate in unusable))


def load_of(tx: Tx, backend: str, paid: bool, slots: int) -> BackendLoad:
    """A backend as it is now, with the name of its oldest doubt."""
    (load,) = tx.fill_loads([BackendLoad(backend, paid, slots)])
    if not load.in_doubt:
        return load
    doubts = tx.jobs_in_state(JobState.IN_DOUBT, _DOUBTS_LOOKED_AT)
    first = next((label_of(doubt) for doubt in doubts if doubt.backend == backend), None)
    return replace(load, first_in_doubt=first)


def _unusable(desk: Desk, backend: str) -> list[Gate]:
    rules = desk.kit.rules.backend(backend)
    if rules is None:
        remedy = "add the provider to nightshot.toml, or cancel the job"
        return [Gate("backend-offline", f"no provider is configured for {backend}: {remedy}")]
    if not rules.enabled:
        return [Gate("breaker", f"{backend} is switched off in nightshot.toml")]
    return []


def _named(tx: Tx, candidate: Candidate) -> Candidate:
    if not candidate.terms.waiting_on:
        return candidate
    return replace(candidate, terms=replace(candidate.terms, before=tx.needs_of(candidate.job_id)))


def _purse(desk: Desk, tx: Tx, candidate: Candidate, now_us: int) -> Purse:
    """The money as a pass would see it: what is admitted and not sent yet is promised already."""
    house = desk.kit.rules
    prepared = [job for job in tx.prepared_candidates() if job.job_id != candidate.job_id]
    free = {rules.name for job in prepared if (rules := house.backend(job.backend)) and not rules.paid}
    promised = [job for job in prepared if job.backend not in free]
    purse = purse_for(tx, [candidate, *promised], house, now_us)
    for job in promised:
        purse = purse.after(job, now_us)
    return purse


def _place(tx: Tx, asked: Asked, priority: int) -> Place:
    job, now_us = asked.job, asked.now_us
    windows = open_windows(asked.hours, now_us)
    ahead = tx.jobs_ahead(job.backend, priority, job.job_id, now_us, COUNTED + 1, windows)
    heads = tx.queue_heads(job.backend, now_us, min(ahead, NAMED), windows) if ahead else []
    first = tuple((label_of(tx.job_record(head.job_id)), head.user) for head in heads)
    return Place(min(ahead, COUNTED), ahead > COUNTED, first)
