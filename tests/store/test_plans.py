"""The hot path walks partial indexes only: finished history costs it nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import event

from scheduler.core.admission import BackendLoad
from scheduler.core.caps import Scope
from scheduler.core.job import Earlier
from scheduler.core.lifecycle import AttemptState, JobEvent, JobState
from scheduler.core.waits import Rule
from scheduler.store.engine import SqliteStore
from scheduler.store.postgres import PostgresStore
from scheduler.store.tx import StoreTx
from tests.support.stores import (
    BACKEND,
    NOW_US,
    attempt_in,
    execute,
    job_in,
    make_batch,
    make_spec,
    price_jobs,
    receive_jobs,
)

HISTORY = 4_000
LATER_US = NOW_US + 10**9

#: question -> indexes its plans must name; the rest of a plan is the planner's own business.
WANTED: dict[str, tuple[Callable[[StoreTx], Any], set[str]]] = {
    "unpriced": (lambda tx: tx.unpriced_jobs(BACKEND, NOW_US, 50), {"ix_jobs_unpriced"}),
    "heads": (lambda tx: tx.queue_heads(BACKEND, NOW_US, 50), {"ix_jobs_ready"}),
    "waiting backends": (lambda tx: tx.waiting_backends(), {"ix_jobs_unpriced", "ix_jobs_ready"}),
    "waiting counts": (lambda tx: tx.waiting_by_backend(), {"ix_jobs_unpriced", "ix_jobs_ready"}),
    "prices will come": (lambda tx: tx.prices_will_come(BACKEND), {"ix_jobs_unpriced"}),
    "loads": (
        lambda tx: tx.fill_loads([BackendLoad(BACKEND, True, 4)]),
        {"ix_attempts_in_flight", "ix_attempts_lost"},
    ),
    "doubts": (lambda tx: tx.fill_doubts(BackendLoad(BACKEND, True, 4)), {"ix_attempts_lost"}),
    "promised": (lambda tx: tx.prepared_candidates(), {"ix_attempts_prepared"}),
    "prepared": (lambda tx: tx.prepared_attempts(50, frozenset()), {"ix_attempts_prepared"}),
    "due polls": (lambda tx: tx.due_tasks(LATER_US, 50, frozenset()), {"ix_attempts_due"}),
    "next due": (lambda tx: tx.next_due_us(), {"ix_attempts_due"}),
    "troubled polls": (lambda tx: tx.oldest_troubled_polls(1, 10), {"ix_attempts_due"}),
    "lost": (lambda tx: tx.lost_attempts(), {"ix_attempts_lost"}),
    "finished": (lambda tx: tx.finished_tasks(50), {"ix_attempts_finished"}),
    "unpublished": (lambda tx: tx.ended_unpublished(50), {"ix_jobs_unpublished"}),
    "open counts": (lambda tx: tx.state_counts(LATER_US), {"ix_jobs_open", "ix_jobs_ended"}),
    "in doubt": (lambda tx: tx.jobs_in_state(JobState.IN_DOUBT, 10), {"ix_jobs_open"}),
    "stale heads": (lambda tx: tx.stale_heads(BACKEND, LATER_US, 50), {"ix_jobs_ready"}),
    "heads of windows": (lambda tx: tx.queue_heads(BACKEND, NOW_US, 50, ("night",)), {"ix_jobs_ready"}),
    "place in the queue": (
        lambda tx: tx.jobs_ahead(BACKEND, 0, HISTORY + 5, NOW_US, 50, ("night",)),
        {"ix_jobs_ready"},
    ),
    "who would open a window": (lambda tx: tx.waiting_job_of(Scope.USER, "nobody"), {"ix_jobs_open"}),
    "sleepers": (lambda tx: tx.wake_sleepers(LATER_US, 50), {"ix_jobs_asleep"}),
    "overdue": (lambda tx: tx.overdue_jobs(LATER_US, 50), {"ix_jobs_deadline"}),
    "next time": (lambda tx: tx.next_time_us(), {"ix_jobs_asleep", "ix_jobs_deadline"}),
    "broken needs": (lambda tx: tx.broken_needs(50), {"ix_job_needs_broken"}),
    "an end": (
        lambda tx: tx.move_job(HISTORY + 1, JobEvent.CANCEL, LATER_US, "it is told"),
        {"ix_job_needs_open"},
    ),
    "open twins": (lambda tx: tx.receive([make_batch()]), {"ix_batches_open"}),
    "batch counts": (lambda tx: tx.latest_batches(3), {"ix_jobs_batch_state"}),
}


def fill(tx: StoreTx) -> None:
    """Much that ended long ago, and a little that is alive in every state."""
    tx.receive([make_batch(*(make_spec(f"{b}.{n}") for n in range(10))) for b in range(HISTORY // 10)])
    price_jobs(tx, list(range(1, HISTORY + 1)))
    execute(
        "UPDATE jobs SET state = 'completed', ended_us = created_us + id, published_us = created_us + id"
    )(tx)
    execute("UPDATE batches SET ended_us = created_us")(tx)
    execute(
        "INSERT INTO attempts (id, job_id, part_ordinal, ordinal, state, posts, backend, provider, "
        "provider_job_id, estimate_microusd, prepared_us, sent_us, next_poll_us, ended_us) "
        "SELECT 'old-' || id, id, 1, 1, 'settled', 1, 'coda:iqm', 'coda', 'old-' || id, 5, 1, 1, id, 1 "
        "FROM jobs"
    )(tx)
    for state in AttemptState:
        for _ in range(3):
            attempt_in(tx, state)
    execute(
        "INSERT INTO holds (attempt_id, amount_microusd, state, posted_microusd) "
        "SELECT id, 5, 'posted', 5 FROM attempts WHERE id LIKE 'old-%'"
    )(tx)
    for state in JobState:
        job_in(tx, state)
    receive_jobs(tx, 5)
    park(tx)


def park(tx: StoreTx) -> None:
    """Far more that nothing can be done about now than what may start."""
    tx.receive([make_batch(*(make_spec(f"early {n}", not_before_us=LATER_US * 2 + n) for n in range(40)))])
    late = [make_spec(f"late {n}", deadline_us=LATER_US * 2 + n, window="noon") for n in range(40)]
    tx.receive([make_batch(*late)])
    after = [make_spec(f"after {n}", after=(Earlier(Rule.OK, "1", 1),) if n else ()) for n in range(40)]
    tx.receive([make_batch(*after)])
    execute(
        "INSERT INTO job_needs (job_id, before_id, rule, state)"
        f" SELECT id, id - 1, 'ok', 'met' FROM jobs WHERE id BETWEEN 2 AND {HISTORY}"
    )(tx)
    execute("UPDATE jobs SET estimate_microusd = 5 WHERE state = 'waiting' AND estimate_microusd IS NULL")(tx)
    receive_jobs(tx, 5)


def plans_of(tx: StoreTx, ask: Callable[[StoreTx], Any]) -> str:
    """Ask, and explain every statement that the question was made of."""
    asked: list[tuple[str, Any]] = []

    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, many: bool) -> None:
        if not many and statement.startswith(("SELECT", "UPDATE", "DELETE")):
            asked.append((statement, parameters))

    event.listen(tx._c, "before_cursor_execute", note)
    try:
        ask(StoreTx(tx._c))  # a new one: whether anybody listens is asked once for a transaction
    finally:
        event.remove(tx._c, "before_cursor_execute", note)
    assert asked, "nothing was asked"
    explain = "EXPLAIN " if tx._c.dialect.name == "postgresql" else "EXPLAIN QUERY PLAN "
    lines = []
    for statement, parameters in asked:
        rows = tx._c.exec_driver_sql(explain + statement, tuple(parameters))
        lines += [str(tuple(row)) for row in rows]
    return "\n".join(lines)


async def test_every_question_of_the_hot_path_is_answered_by_its_index(
    store: SqliteStore | PostgresStore,
) -> None:
    await store.write(fill)
    await store.write(lambda tx: tx._c.exec_driver_sql("ANALYZE") and None)
    wrong = []
    for what, (ask, indexes) in WANTED.items():
        plan = await store.write(lambda tx, a=ask: plans_of(tx, a))
        lacking = {name for name in indexes if name not in plan}
        walked = [table for table in ("jobs", "attempts", "job_needs") if walks_all_of(table, plan)]
        if lacking or walked:
            wrong.append(f"{what}: without {lacking or 'nothing'}, all of {walked or 'nothing'}\n{plan}")
    assert wrong == [], "\n\n".join(wrong)


def walks_all_of(table: str, plan: str) -> bool:
    """SQLite says SCAN for a whole table, and SCAN … USING INDEX for a walk along an index."""
    return f"SCAN {table}'" in plan or f"Seq Scan on {table} " in plan
