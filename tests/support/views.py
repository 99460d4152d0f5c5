"""Answers as the daemon gives them, for tests of the command: every field, ordinary values."""

from __future__ import annotations

from typing import Any

from scheduler.core.views import BackendView, JobView, NightView, ShowView, StatusView

AS_OF = "2026-11-22T20:41:07Z"


def job_view(job: str = "12", **changed: Any) -> JobView:
    view: JobView = {
        "job": job,
        "batch": int(job.split(".")[0]),
        "name": "bell.py",
        "user": "ada",
        "state": "completed",
        "backend": "local:simulator",
        "shots": 100,
        "framework": "qiskit",
        "priority": 0,
        "project": None,
        "tags": [],
        "created_at": AS_OF,
        "ended_at": AS_OF,
        "estimate_usd": "0.45",
        "cost_usd": "0.445",
        "reason": None,
    }
    return {**view, **changed}  # type: ignore[typeddict-item]


def night_view(**changed: Any) -> NightView:
    view: NightView = {
        "key": "2026-11-22",
        "name": "Sun 22 → Mon 23 Nov",
        "opens_at": "2026-11-22T11:00:00Z",
        "closes_at": "2026-11-23T11:00:00Z",
        "limit_usd": None,
        "held_usd": "0.00",
        "posted_usd": "0.00",
        "in_doubt_usd": "0.00",
        "free_usd": None,
    }
    return {**view, **changed}  # type: ignore[typeddict-item]


def backend_view(**changed: Any) -> BackendView:
    view: BackendView = {
        "name": "coda:iqm",
        "provider": "coda",
        "kind": "coda",
        "paid": True,
        "slots": 4,
        "in_flight": 2,
        "waiting": 12,
        "in_doubt": 1,
        "gates": [
            {"code": "disarmed", "sentence": "nothing paid is sent", "fix": "nightshot arm --night 50.00"}
        ],
    }
    return {**view, **changed}  # type: ignore[typeddict-item]


def status_view(**changed: Any) -> StatusView:
    view: StatusView = {
        "as_of": AS_OF,
        "version": "0.1.0",
        "daemon": True,
        "pid": 4711,
        "home": "/home/ada/nightshot",
        "timezone": "Europe/Berlin",
        "armed": None,
        "night": night_view(),
        "counts": {"waiting": 12, "in_doubt": 1},
        "backends": [backend_view()],
        "batches": [
            {
                "id": 12,
                "name": "sweep.jsonl",
                "user": "ada",
                "source": "spool",
                "created_at": AS_OF,
                "size": 13,
                "counts": {"waiting": 12, "in_doubt": 1},
            }
        ],
        "needs_you": [
            {
                "what": "in doubt",
                "job": "12.3",
                "sentence": "no reply within 120 s",
                "fix": "nightshot why 12.3",
            }
        ],
    }
    return {**view, **changed}  # type: ignore[typeddict-item]


def show_view(job: JobView | None = None, **changed: Any) -> ShowView:
    view: ShowView = {
        "as_of": AS_OF,
        "job": job or job_view(),
        "gates": [],
        "quote": "price list: 1 × $0.30 per task + 100 × $0.00145 per shot",
        "attempts": [
            {
                "attempt": "a1",
                "ordinal": 1,
                "state": "settled",
                "provider_job_id": "7f6c",
                "provider_status": "completed",
                "prepared_at": AS_OF,
                "sent_at": AS_OF,
                "ended_at": AS_OF,
                "hold_usd": "1.30",
                "hold_state": "posted",
                "estimated_cost_usd": "1.30",
                "credits_applied": None,
                "charge": None,
                "charge_evidence": None,
                "overage_usd": None,
                "reason": None,
            }
        ],
        "events": [{"at": AS_OF, "event": "accepted", "sentence": "the provider took it as 7f6c"}],
        "result": None,
        "code_sha256": "ab" * 32,
    }
    return {**view, **changed}  # type: ignore[typeddict-item]
