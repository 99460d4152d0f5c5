"""Making batches durable: all of a file or none of it, and never twice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import bindparam, insert, select

from scheduler.core.job import JobSpec
from scheduler.core.lifecycle import JobState
from scheduler.core.records import Received, ReceivedBatch
from scheduler.core.waits import Parked
from scheduler.store.needs import NeedRows
from scheduler.store.schema import batches, circuits, job_events, jobs, parts

_TOO_EARLY = Parked.TOO_EARLY.value
_KNOWN_KEYS = select(batches.c.ingest_key, batches.c.id).where(
    batches.c.ingest_key.in_(bindparam("_keys", expanding=True))
)
_OPEN_TWIN = select(batches.c.id, batches.c.digest, batches.c.user).where(
    batches.c.digest.in_(bindparam("_digests", expanding=True)), batches.c.ended_us.is_(None)
)
_BATCHES, _JOBS, _PARTS, _EVENTS = insert(batches), insert(jobs), insert(parts), insert(job_events)


def code_sha256(code: str) -> str:
    return hashlib.sha256(code.encode()).hexdigest()


def job_row(
    job_id: int, batch_id: int, ordinal: int, spec: JobSpec, sha: str, user: str, at_us: int
) -> dict[str, Any]:
    return {
        "id": job_id,
        "batch_id": batch_id,
        "ordinal": ordinal,
        "name": spec.name,
        "user": user,
        "project": spec.project,
        "tags": json.dumps(spec.tags) if spec.tags else "[]",
        "state": JobState.WAITING.value,
        "backend": spec.backend,
        "shots": spec.shots,
        "framework": spec.framework,
        "circuit_sha256": sha,
        "source_name": spec.source_name,
        "accept_overage": spec.accept_overage,
        "execution_hint": spec.execution_hint,
        "priority": spec.priority,
        "cap_microusd": spec.cap_microusd,
        "retries_left": spec.retries,
        "created_us": at_us,
        "window_name": spec.window,
        "not_before_us": spec.not_before_us,
        "deadline_us": spec.deadline_us,
        "parked": _TOO_EARLY if spec.not_before_us is not None and spec.not_before_us > at_us else 0,
        "waiting_on": 0,
    }


class Intake(NeedRows):
    def receive(self, batches_in: Sequence[ReceivedBatch]) -> list[Received]:
        known = self._known(batches_in)
        twins = self._open_twins(batches_in)
        fresh: dict[str, ReceivedBatch] = {}
        # Per batch in order: its number, or the key of the fresh batch of this very call that it repeats.
        found: list[tuple[int | str, bool]] = []
        for batch in batches_in:
            key, contents = batch.ingest_key, (batch.spec.digest, batch.user)
            if key in known:
                found.append((known[key], False))
            elif key in fresh:
                found.append((key, False))
            elif contents in twins and not batch.spec.again:
                found.append((twins[contents], True))
            else:
                fresh[key] = batch
                twins[contents] = key
                found.append((key, False))
        numbers = dict(zip(fresh, self._insert(list(fresh.values())), strict=True))
        answers = []
        for batch, (number, duplicate) in zip(batches_in, found, strict=True):
            is_new = not duplicate and fresh.pop(batch.ingest_key, None) is not None
            batch_id = numbers[number] if isinstance(number, str) else number
            answers.append(Received(batch.ingest_key, batch_id, is_new, duplicate))
        return answers

    def _known(self, batches_in: Sequence[ReceivedBatch]) -> dict[str, int]:
        keys = [batch.ingest_key for batch in batches_in]
        return {key: number for key, number in self._c.execute(_KNOWN_KEYS, {"_keys": keys})}

    def _open_twins(self, batches_in: Sequence[ReceivedBatch]) -> dict[tuple[str, str], int | str]:
        digests = sorted({batch.spec.digest for batch in batches_in})
        rows = self._c.execute(_OPEN_TWIN, {"_digests": digests})
        return {(digest, user): number for number, digest, user in rows}

    def _insert(self, fresh: Sequence[ReceivedBatch]) -> list[int]:
        if not fresh:
            return []
        batch_ids = self.take_numbers("batches", len(fresh))
        job_ids = iter(self.take_numbers("jobs", sum(len(batch.spec.jobs) for batch in fresh)))
        codes: dict[str, str] = {}
        rows: list[dict[str, Any]] = []
        for batch_id, batch in zip(batch_ids, fresh, strict=True):
            for ordinal, spec in enumerate(batch.spec.jobs, 1):
                sha = code_sha256(spec.code)
                codes.setdefault(sha, spec.code)
                rows.append(
                    job_row(next(job_ids), batch_id, ordinal, spec, sha, batch.user, batch.received_us)
                )
        needs = self.count_needs(fresh, rows)
        self._run(_BATCHES, [_batch_row(i, b) for i, b in zip(batch_ids, fresh, strict=True)])
        self.insert_ignoring(circuits, [{"sha256": sha, "code": code} for sha, code in codes.items()])
        self._run(_JOBS, rows)
        self._run(_PARTS, [{"job_id": r["id"], "ordinal": 1, "shots": r["shots"]} for r in rows])
        self._run(_EVENTS, [_received_event(row) for row in rows])
        self.insert_needs(needs)
        return list(batch_ids)


def _received_event(row: dict[str, Any]) -> dict[str, Any]:
    sentence = f"received from {row['source_name']}"
    return {"job_id": row["id"], "at_us": row["created_us"], "event": "receive", "sentence": sentence}


def _batch_row(batch_id: int, batch: ReceivedBatch) -> dict[str, Any]:
    return {
        "id": batch_id,
        "ingest_key": batch.ingest_key,
        "name": batch.spec.name,
        "user": batch.user,
        "source": batch.source,
        "digest": batch.spec.digest,
        "size": len(batch.spec.jobs),
        "created_us": batch.received_us,
    }
