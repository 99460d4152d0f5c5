"""Jobs, batches and attempts in any state, made through the very methods that the stages call."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import text

from scheduler.core.admission import Candidate
from scheduler.core.job import BatchSpec, JobRef, JobSpec
from scheduler.core.lifecycle import AttemptEvent, AttemptState, JobEvent, JobState
from scheduler.core.records import ArmingRecord, Quote, ReceivedBatch
from scheduler.core.settlement import settle
from scheduler.core.task import BIT_0_FIRST, Accepted, Completed, CostFacts
from scheduler.store.tx import StoreTx

T = TypeVar("T")

#: A Sunday afternoon in November 2026, and the night it belongs to.
NOW_US = 1_795_356_000_000_000
SECOND_US = 1_000_000
NIGHT = "2026-11-22"
BACKEND = "coda:iqm"
COST = 1_300_000
PLENTY = 1_000 * COST

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Case:
    """A job with the attempt that was asked for."""

    job_id: int
    attempt_id: str


def make_spec(name: str = "bell", *, backend: str = BACKEND, **other: Any) -> JobSpec:
    code = other.pop("code", f'OPENQASM 3.0;\ninclude "stdgates.inc";\n// {name}\nqubit q;\n')
    return JobSpec(name, code, "openqasm3", backend, **other)


def make_batch(*specs: JobSpec, key: str | None = None, user: str = "ada", **other: Any) -> ReceivedBatch:
    """A batch of the given jobs, or of one; its digest is its jobs' unless one is given."""
    jobs = specs or (make_spec(f"bell {next(_numbers)}"),)
    digest = other.pop("digest", hashlib.sha256(repr(jobs).encode()).hexdigest())
    return ReceivedBatch(
        ingest_key=key or f"key {next(_numbers)}",
        spec=BatchSpec(other.pop("name", "sweep"), jobs, digest),
        user=user,
        source="spool",
        received_us=other.pop("received_us", NOW_US),
    )


def receive_jobs(tx: StoreTx, count: int = 1, *, backend: str = BACKEND, **other: Any) -> list[int]:
    """Receive a batch of `count` waiting jobs; returns their ids."""
    specs = [make_spec(f"bell {next(_numbers)}", backend=backend, **other) for _ in range(count)]
    (received,) = tx.receive([make_batch(*specs)])
    return tx.job_ids_of(JobRef(received.batch_id))


def price_jobs(tx: StoreTx, job_ids: list[int], cost_microusd: int = COST) -> None:
    tx.record_quotes(
        [
            Quote(job_id, cost_microusd, "price list", "1 × $1.30 per task", "{}", NOW_US, NOW_US + SECOND_US)
            for job_id in job_ids
        ]
    )


def priced_jobs(tx: StoreTx, count: int = 1, cost_microusd: int = COST, **other: Any) -> list[int]:
    job_ids = receive_jobs(tx, count, **other)
    price_jobs(tx, job_ids, cost_microusd)
    return job_ids


def arm(tx: StoreTx, limit_microusd: int = PLENTY, *, once: str | None = None, night: str = NIGHT) -> None:
    tx.arm(ArmingRecord(limit_microusd, once, "ada", "tonight's run", NOW_US), night)


def prepare(tx: StoreTx, job_ids: list[int]) -> list[Case]:
    """Admit priced jobs, each with a prepared attempt."""
    pairs: list[tuple[Candidate, str]] = [(tx.candidate_of(i), f"attempt-{next(_numbers)}") for i in job_ids]
    moved = tx.prepare_attempts(pairs, NOW_US)
    assert moved == sorted(job_ids)
    return [Case(job.job_id, attempt_id) for job, attempt_id in pairs]


def accepted(
    attempt_id: str, cost_microusd: int | None = COST, *, provider_job_id: str | None = None
) -> Accepted:
    cost = CostFacts(cost_microusd, 0, 0)
    return Accepted(provider_job_id or f"p-{attempt_id}", "queued", cost, '{"job_id": "…"}')


def intend(tx: StoreTx, case: Case, amount_microusd: int | None = COST) -> None:
    """Commit the intent, and the hold unless the amount is None, as a free backend has none."""
    assert tx.commit_intent(case.attempt_id, NOW_US, NOW_US + 60 * SECOND_US)
    if amount_microusd is not None:
        assert tx.take_hold(case.attempt_id, NIGHT, amount_microusd, NOW_US)


def accept(tx: StoreTx, case: Case, cost_microusd: int | None = COST) -> None:
    assert tx.attempt_accepted(case.attempt_id, accepted(case.attempt_id, cost_microusd), NOW_US)
    assert tx.move_job(case.job_id, JobEvent.ACCEPTED, NOW_US, "accepted")


def lose_sight(tx: StoreTx, case: Case) -> None:
    assert tx.lose_sight(case.attempt_id, NOW_US, "the connection broke")
    assert tx.move_job(case.job_id, JobEvent.LOSE_SIGHT, NOW_US, "in doubt")


def finish(tx: StoreTx, case: Case) -> None:
    task = tx.open_task(case.attempt_id)
    assert task is not None
    report = Completed(({"00": 48, "11": 52},), BIT_0_FIRST, '{"counts": "…"}', (("seed", "7"),))
    assert tx.finish_completed(task, report, NOW_US)


def settle_all(tx: StoreTx) -> int:
    tasks = tx.finished_tasks(1000)
    tx.settle_attempts([(task, settle(task.hold_microusd, task.cost)) for task in tasks], NOW_US)
    return len(tasks)


def end(tx: StoreTx, case: Case, event: AttemptEvent) -> None:
    assert tx.end_attempt(case.attempt_id, event, NOW_US, f"it was {event}")
    assert tx.move_job(case.job_id, JobEvent.SEND_BACK, NOW_US, "back in the queue")


def attempt_in(
    tx: StoreTx, state: AttemptState, *, hold: int | None = COST, cost: int | None = COST, **other: Any
) -> Case:
    """A new job with an attempt in `state`; its job is where the stages would have put it."""
    if hold is not None and tx.arming() is None:
        arm(tx)
    (case,) = prepare(tx, priced_jobs(tx, 1, hold or 0, **other))
    if state is AttemptState.PREPARED:
        return case
    intend(tx, case, hold)
    match state:
        case AttemptState.SUBMITTING:
            pass
        case AttemptState.REFUSED:
            end(tx, case, AttemptEvent.REFUSE)
        case AttemptState.NOT_SENT:
            end(tx, case, AttemptEvent.NOT_SENT)
        case AttemptState.IN_DOUBT | AttemptState.WRITTEN_OFF:
            lose_sight(tx, case)
        case _:
            accept(tx, case, cost)
    if state is AttemptState.WRITTEN_OFF:
        assert tx.write_off(case.attempt_id, NOW_US, "nobody will ever know")
        assert tx.move_job(case.job_id, JobEvent.FAIL, NOW_US, "given up", cost_microusd=hold)
    if state in (AttemptState.FINISHED, AttemptState.SETTLED):
        finish(tx, case)
    if state is AttemptState.SETTLED:
        settle_all(tx)
    return case


_ATTEMPT_OF: Mapping[JobState, AttemptState] = {
    JobState.ADMITTED: AttemptState.PREPARED,
    JobState.RUNNING: AttemptState.SUBMITTED,
    JobState.IN_DOUBT: AttemptState.IN_DOUBT,
    JobState.COMPLETED: AttemptState.SETTLED,
    JobState.FAILED: AttemptState.WRITTEN_OFF,
}


def job_in(tx: StoreTx, state: JobState, **other: Any) -> int:
    """A new job in `state`, brought there the usual way; returns its id."""
    if state in _ATTEMPT_OF:
        return attempt_in(tx, _ATTEMPT_OF[state], **other).job_id
    (job_id,) = priced_jobs(tx, 1, **other)
    if state is JobState.CANCELLED:
        assert tx.move_job(job_id, JobEvent.CANCEL, NOW_US, "cancelled by ada")
    if state is JobState.REJECTED:
        assert tx.move_job(job_id, JobEvent.REJECT, NOW_US, "too many qubits")
    return job_id


def query(statement: str, **values: Any) -> Callable[[StoreTx], list[tuple[Any, ...]]]:
    """Work that looks at the rows themselves: `await store.read(query("SELECT …"))`."""
    return lambda tx: [tuple(row) for row in tx._c.execute(text(statement), values)]


def execute(statement: str, **values: Any) -> Callable[[StoreTx], int]:
    """Work that changes rows behind the store's back, and says how many."""
    return lambda tx: tx._c.execute(text(statement), values).rowcount


def attempt_state(attempt_id: str) -> Callable[[StoreTx], str]:
    return lambda tx: query("SELECT state FROM attempts WHERE id = :id", id=attempt_id)(tx)[0][0]


#: Sentences that must be true of the books whatever happened, as questions that must return no rows.
BOOKS_MUST_AGREE = {
    "held is the sum of the open holds": """
        SELECT nights.key FROM nights WHERE held_microusd <> (
          SELECT COALESCE(SUM(amount_microusd), 0) FROM holds
          WHERE holds.night = nights.key AND holds.state = 'open')""",
    "posted is the sum of what holds posted": """
        SELECT nights.key FROM nights WHERE posted_microusd <> (
          SELECT COALESCE(SUM(holds.posted_microusd), 0) FROM holds
          WHERE holds.night = nights.key AND holds.state = 'posted')""",
    "an attempt that may have been sent was posted once": """
        SELECT id FROM attempts WHERE posts <> 1 AND
          state NOT IN ('prepared', 'refused', 'not_sent')""",
    "a part has at most one live attempt": """
        SELECT job_id, part_ordinal FROM attempts
        WHERE state NOT IN ('refused', 'not_sent', 'written_off')
        GROUP BY job_id, part_ordinal HAVING COUNT(*) > 1""",
    "an open hold belongs to an attempt that may still cost money": """
        SELECT attempts.id FROM attempts JOIN holds ON holds.attempt_id = attempts.id
        WHERE holds.state = 'open' AND
          attempts.state NOT IN ('submitting', 'submitted', 'in_doubt', 'finished')""",
    "an attempt that costs nothing has its hold back": """
        SELECT attempts.id FROM attempts JOIN holds ON holds.attempt_id = attempts.id
        WHERE (holds.state = 'voided') <> (attempts.state IN ('refused', 'not_sent'))""",
}


def broken_books(tx: StoreTx) -> list[str]:
    """The sentences that do not hold; none when all is well."""
    return [sentence for sentence, sql in BOOKS_MUST_AGREE.items() if query(sql)(tx)]
