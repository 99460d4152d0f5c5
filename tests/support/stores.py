"""Jobs, batches and attempts in any state, made through the very methods that the stages call."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from sqlalchemy import text

from scheduler.core.admission import BackendLoad, Candidate, judge_money
from scheduler.core.caps import CapBooks, Use, Window
from scheduler.core.job import BatchSpec, JobRef, JobSpec
from scheduler.core.lifecycle import AttemptEvent, AttemptState, JobEvent, JobState
from scheduler.core.records import ArmingRecord, Quote, ReceivedBatch
from scheduler.core.rules import Rules
from scheduler.core.settlement import settle
from scheduler.core.spending import Spending
from scheduler.core.task import BIT_0_FIRST, Accepted, Completed, CostFacts
from scheduler.stages.purse import caps_in_force, night_window, purse_for
from scheduler.store.tx import StoreTx

T = TypeVar("T")

#: A Sunday afternoon in November 2026, and the night it belongs to.
NOW_US = 1_795_356_000_000_000
SECOND_US = 1_000_000
DAY_US = 86_400 * SECOND_US
NIGHT = "2026-11-22"
RULES = Rules(backend=lambda _name: None)
#: The row in which the night's cap counts.
NIGHT_KEY = night_window(RULES, NOW_US).key
BACKEND = "coda:iqm"
COST = 1_300_000
PLENTY = 1_000 * COST

_numbers = itertools.count(1)


class Refused(Exception):
    """A hold was refused; raising it rolls the transaction back, as the stage does."""


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


def price_jobs(tx: StoreTx, job_ids: list[int], cost_microusd: int = COST, now_us: int = NOW_US) -> None:
    tx.record_quotes(
        [
            Quote(job_id, cost_microusd, "price list", "1 × $1.30 per task", "{}", now_us, now_us + SECOND_US)
            for job_id in job_ids
        ]
    )


def priced_jobs(tx: StoreTx, count: int = 1, cost_microusd: int = COST, **other: Any) -> list[int]:
    job_ids = receive_jobs(tx, count, **other)
    price_jobs(tx, job_ids, cost_microusd)
    return job_ids


def tonight(limit_microusd: int | None = PLENTY, now_us: int = NOW_US) -> Window:
    """The night's window, as `arm` sets its limit."""
    return night_window(RULES, now_us, limit_microusd)


def arm(tx: StoreTx, limit_microusd: int = PLENTY, *, once: str | None = None, now_us: int = NOW_US) -> None:
    record = ArmingRecord(limit_microusd, once, "ada", "tonight's run", now_us)
    tx.arm(record, tonight(limit_microusd, now_us))


def night_books(tx: StoreTx, now_us: int = NOW_US) -> CapBooks:
    """What the night's window has, held and posted, under the limit in force."""
    (cap, *_) = caps_in_force(tx.arming(), RULES)
    window = replace(tonight(None, now_us), cap=cap)
    ((_, books),) = tx.cap_books([window])
    return books


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


def spending_of(amount_microusd: int, *windows: Window) -> Spending:
    """A wish for so much, of the night's cap alone unless windows are given."""
    return Spending(Use(amount_microusd, shots=100), windows or (tonight(),), (), False)


def hold(tx: StoreTx, case: Case, amount_microusd: int = COST, *windows: Window) -> None:
    """Hold what was planned some time ago, whatever the books say by now. Raises Refused."""
    refused = tx.take_hold(case.attempt_id, spending_of(amount_microusd, *windows), NOW_US)
    if refused is not None:
        raise Refused(refused)


def plan_and_hold(tx: StoreTx, case: Case, amount_microusd: int = COST, now_us: int = NOW_US) -> None:
    """Decide and hold in one transaction, as the stage does with the intent. Raises Refused."""
    job = replace(tx.candidate_of(case.job_id), estimate_microusd=amount_microusd)
    purse = purse_for(tx, [job], RULES, now_us)
    load = BackendLoad(job.backend, True, 8)
    spending, gates = judge_money(job, load, purse, RULES.doubt_limits, now_us)
    if gates or spending is None:
        raise Refused("; ".join(f"{gate.code}: {gate.sentence}" for gate in gates))
    refused = tx.take_hold(case.attempt_id, spending, now_us)
    if refused is not None:
        raise Refused(refused)


def commit_intent(tx: StoreTx, case: Case, *, paid: bool = True) -> bool:
    return tx.commit_intent(case.attempt_id, NOW_US, NOW_US + 60 * SECOND_US, False, paid=paid)


def intend(tx: StoreTx, case: Case, amount_microusd: int | None = COST) -> None:
    """Commit the intent, and the hold unless the amount is None, as a free backend has none."""
    assert commit_intent(tx, case, paid=amount_microusd is not None)
    if amount_microusd is not None:
        hold(tx, case, amount_microusd)


def accept(tx: StoreTx, case: Case, cost_microusd: int | None = COST) -> None:
    assert tx.attempt_accepted(case.attempt_id, accepted(case.attempt_id, cost_microusd), NOW_US)
    assert tx.move_job(case.job_id, JobEvent.ACCEPTED, NOW_US, "accepted")


def lose_sight(tx: StoreTx, case: Case) -> None:
    assert tx.lose_sight(case.attempt_id, NOW_US, "the connection broke")
    assert tx.move_job(case.job_id, JobEvent.LOSE_SIGHT, NOW_US, "in doubt")


def finish(tx: StoreTx, case: Case, *, failure: str | None = None) -> None:
    task = tx.open_task(case.attempt_id)
    assert task is not None
    if failure is not None:
        assert tx.finish_failed(case.attempt_id, failure, "{}", False, NOW_US)
        return
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
        assert tx.write_off(case.attempt_id, NOW_US, "ada", "nobody will ever know")
        assert tx.move_job(case.job_id, JobEvent.FAIL, NOW_US, "given up", cost_microusd=hold)
    if state in (AttemptState.FINISHED, AttemptState.SETTLED, AttemptState.FAILED):
        finish(tx, case, failure="calibration" if state is AttemptState.FAILED else None)
    if state in (AttemptState.SETTLED, AttemptState.FAILED):
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
    "held is the sum of the open parts": """
        SELECT w.key FROM cap_windows w WHERE w.held <> (
          SELECT COALESCE(SUM(p.amount), 0) FROM cap_parts p
          JOIN holds ON holds.attempt_id = p.attempt_id
          WHERE p.window_key = w.key AND holds.state = 'open')""",
    "posted is the sum of what parts were settled with": """
        SELECT w.key FROM cap_windows w WHERE w.posted <> (
          SELECT COALESCE(SUM(p.settled), 0) FROM cap_parts p WHERE p.window_key = w.key)""",
    "the night knows of every dollar of every hold": """
        SELECT holds.attempt_id FROM holds JOIN cap_parts p ON p.attempt_id = holds.attempt_id
        JOIN cap_windows w ON w.key = p.window_key AND w.measure = 'cost'
        WHERE p.amount <> holds.amount_microusd
          OR (holds.state = 'posted' AND p.settled <> holds.posted_microusd)
          OR (holds.state = 'voided' AND p.settled <> 0)
          OR (holds.state = 'open' AND p.settled IS NOT NULL)""",
    "a paid attempt that may have been sent has its hold": """
        SELECT id FROM attempts WHERE paid AND posts = 1
          AND NOT EXISTS (SELECT 1 FROM holds WHERE holds.attempt_id = attempts.id)""",
    "an attempt that may have been sent was posted once": """
        SELECT id FROM attempts WHERE posts <> 1 AND
          state NOT IN ('prepared', 'refused', 'not_sent')""",
    "a part has at most one live attempt": """
        SELECT job_id, part_ordinal FROM attempts
        WHERE state NOT IN ('refused', 'not_sent', 'failed', 'written_off')
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
