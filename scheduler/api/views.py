"""From records to the shapes people and programs get; the only place that writes money and time as text."""

from __future__ import annotations

import json
from pathlib import Path

from scheduler.core.admission import BackendLoad, Gate, backend_gates
from scheduler.core.caps import CapBooks
from scheduler.core.job import job_label
from scheduler.core.money import Credits, Money
from scheduler.core.records import (
    AttemptRecord,
    BatchRecord,
    EventRecord,
    JobRecord,
    ResultRecord,
)
from scheduler.core.rules import BackendRules
from scheduler.core.timing import Night, iso, iso_or_none
from scheduler.core.views import (
    AttemptView,
    BackendView,
    BatchView,
    EventView,
    GateView,
    JobView,
    NightView,
    ResultView,
)


def usd(microusd: int | None) -> str | None:
    """A decimal string of dollars; None is unknown and stays so."""
    return None if microusd is None else Money(microusd).decimal_text()


def label_of(job: JobRecord) -> str:
    return job_label(job.batch_id, job.ordinal, job.batch_size)


def gate_view(gate: Gate) -> GateView:
    return {
        "code": gate.code,
        "sentence": gate.sentence,
        "opens_at": iso_or_none(gate.opens_us),
        "fix": gate.fix,
    }


def job_view(job: JobRecord) -> JobView:
    return {
        "job": label_of(job),
        "batch": job.batch_id,
        "name": job.name,
        "user": job.user,
        "state": job.state.value,
        "backend": job.backend,
        "shots": job.shots,
        "framework": job.framework,
        "priority": job.priority,
        "project": job.project,
        "tags": list(job.tags),
        "created_at": iso(job.created_us),
        "ended_at": iso_or_none(job.ended_us),
        "estimate_usd": usd(job.estimate_microusd),
        "cost_usd": usd(job.cost_microusd),
        "reason": job.reason,
    }


def attempt_view(attempt: AttemptRecord) -> AttemptView:
    applied, charge = attempt.cost.credits_applied_microcredits, attempt.charge
    return {
        "attempt": attempt.attempt_id,
        "ordinal": attempt.ordinal,
        "state": attempt.state.value,
        "provider_job_id": attempt.provider_job_id,
        "provider_status": attempt.provider_status,
        "prepared_at": iso(attempt.prepared_us),
        "sent_at": iso_or_none(attempt.sent_us),
        "ended_at": iso_or_none(attempt.ended_us),
        "hold_usd": usd(attempt.hold_microusd),
        "hold_state": attempt.hold_state,
        "estimated_cost_usd": usd(attempt.cost.estimated_cost_microusd),
        "credits_applied": None if applied is None else str(Credits(applied)),
        "overage_usd": usd(attempt.cost.overage_microusd),
        "charge": charge.word if charge else None,
        "charge_evidence": charge.evidence if charge else None,
        "reason": attempt.reason,
    }


def event_view(event: EventRecord) -> EventView:
    return {"at": iso(event.at_us), "event": event.event, "sentence": event.sentence}


def result_view(job: JobRecord, results: list[ResultRecord], folder: Path | None) -> ResultView | None:
    if not results:
        return None
    returned = [shots for result in results for shots in result.shots_returned]
    return {
        "job": label_of(job),
        "counts": [counts for result in results for counts in json.loads(result.counts_json)],
        "bit_order": results[0].bit_order,
        "shots_asked": job.shots,
        "shots_returned": returned,
        "shots_match": all(shots == job.shots for shots in returned),
        "folder": str(folder) if folder is not None and folder.is_dir() else None,
    }


def batch_view(batch: BatchRecord) -> BatchView:
    return {
        "id": batch.batch_id,
        "name": batch.name,
        "user": batch.user,
        "source": batch.source,
        "created_at": iso(batch.created_us),
        "size": batch.size,
        "counts": batch.counts,
    }


def night_view(night: Night, armed: bool, books: CapBooks, in_doubt_microusd: int) -> NightView:
    return {
        "key": night.key,
        "name": night.name,
        "opens_at": iso(night.opens_us),
        "closes_at": iso(night.closes_us),
        "limit_usd": usd(books.limit) if armed else None,
        "held_usd": Money(books.held).decimal_text(),
        "posted_usd": Money(books.posted).decimal_text(),
        "in_doubt_usd": Money(in_doubt_microusd).decimal_text(),
        "free_usd": usd(books.free) if armed else None,
    }


def backend_view(load: BackendLoad, rules: BackendRules, waiting: int, now_us: int) -> BackendView:
    return {
        "name": load.name,
        "provider": rules.provider,
        "kind": rules.kind,
        "paid": load.paid,
        "slots": load.slots,
        "in_flight": load.in_flight,
        "waiting": waiting,
        "in_doubt": load.in_doubt,
        "gates": [gate_view(gate) for gate in backend_gates(load, now_us)],
    }
