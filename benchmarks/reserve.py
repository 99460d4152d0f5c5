"""A reservation over three caps, beside a bare conditional update of one row in the same database.

Both commit each time and wait for the disk. The reservation also writes the hold and its three parts, which
is what makes it a reservation; a grant is not part of it.
"""

from __future__ import annotations

import sqlite3

from benchmarks.homes import Workshop
from benchmarks.measure import Figure, in_turn, rate_figures, timed
from scheduler.core.caps import Cap, Measure, Period, Scope, Spender, Use, windows_of
from scheduler.core.spending import Spending
from scheduler.store.engine import run_transaction, sqlite_engine

NOW_US = 1_795_356_000_000_000
COST = 1_300_000
CAPS = (
    Cap("night", Measure.COST, Scope.EVERYONE, Period.NIGHT, 10**15),
    Cap("people", Measure.COST, Scope.USER, Period.MONTH, 10**15),
    Cap("runs", Measure.TASKS, Scope.BACKEND, Period.TOTAL, 10**15),
)
SPENDING = Spending(
    Use(COST), tuple(windows_of(CAPS, Spender("ada", None, "coda:iqm", 1, 1), NOW_US)), (), False
)
_BARE = "UPDATE sequences SET next = next + 1 WHERE name = 'bare' AND next + 1 <= 1000000000"


def run(workshop: Workshop, count: int = 1_000, pairs: int = 5) -> list[Figure]:
    database = workshop.database("reserve.db")
    prepare(database, count * (pairs + 1))
    engine = sqlite_engine(str(workshop.folder / "reserve.db"))
    numbers = iter(range(1, count * (pairs + 1) + 1))
    with engine.connect() as connection:

        def reserve() -> None:
            for _ in range(count):
                attempt_id = f"a{next(numbers)}"
                ((refused, error),) = run_transaction(
                    connection, [lambda tx, a=attempt_id: tx.take_hold(a, SPENDING, NOW_US)]
                )
                if refused is not None or error is not None:
                    raise RuntimeError(f"the reservation was refused: {refused or error}")

        def update() -> None:
            for _ in range(count):
                database.execute("BEGIN IMMEDIATE")
                if database.execute(_BARE).rowcount != 1:
                    raise RuntimeError("the bare update changed nothing")
                database.execute("COMMIT")

        found = in_turn(lambda: timed(count, reserve), lambda: timed(count, update), pairs)
    engine.dispose()
    database.close()
    return rate_figures("reserve", found, 0.5, "hold")


def prepare(database: sqlite3.Connection, count: int) -> None:
    """Attempts that wait for their holds, in one batch."""
    numbers = f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})"
    database.execute("BEGIN IMMEDIATE")
    database.execute("INSERT INTO sequences VALUES ('bare', 0)")
    database.execute("INSERT INTO circuits VALUES ('sha', 'code')")
    database.execute(
        "INSERT INTO batches (id, ingest_key, name, user, source, digest, size, created_us) "
        f"VALUES (1, 'key', 'b', 'ada', 'spool', 'd', {count}, 1)"
    )
    database.execute(
        "INSERT INTO jobs (id, batch_id, ordinal, name, user, tags, state, backend, shots, framework, "
        f"circuit_sha256, source_name, accept_overage, priority, created_us) {numbers} "
        "SELECT i, 1, i, 'j', 'ada', '[]', 'admitted', 'coda:iqm', 100, 'openqasm3', 'sha', 's', 0, 0, 1 "
        "FROM n"
    )
    database.execute(f"INSERT INTO parts (job_id, ordinal, shots) {numbers} SELECT i, 1, 100 FROM n")
    database.execute(
        "INSERT INTO attempts (id, job_id, part_ordinal, ordinal, state, posts, backend, provider, "
        f"estimate_microusd, prepared_us) {numbers} "
        f"SELECT 'a' || i, i, 1, 1, 'submitting', 1, 'coda:iqm', 'coda', {COST}, 1 FROM n"
    )
    database.execute("COMMIT")
