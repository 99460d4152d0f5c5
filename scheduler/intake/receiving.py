"""Make read documents durable; one whose `after` names no job is refused and harms no other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from scheduler.core.records import Received, ReceivedBatch
from scheduler.errors import SpecError
from scheduler.ports_store import IntakeTx


def receive(
    tx: IntakeTx, batches: Sequence[ReceivedBatch], files: Mapping[str, str]
) -> tuple[list[Received], dict[str, SpecError]]:
    """Receive what can be; `files` are names by ingest key, as the refusals have them.

    Which jobs are queued already is known here and nowhere before: the same transaction asks and inserts.
    """
    refused: dict[str, SpecError] = {}
    if any(job.after for batch in batches for job in batch.spec.jobs):
        for key, (line, sentence) in tx.refused_needs(batches).items():
            refused[key] = SpecError(sentence, file=files[key], line=line)
    good = [batch for batch in batches if batch.ingest_key not in refused]
    return (tx.receive(good) if good else []), refused
