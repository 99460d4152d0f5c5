"""A full audit of a large journal beside plain SQL sums of the same lines, and what memory it takes.

The journal is generated: transactions of two and of four lines over a hundred accounts. There are no attempts
and holds in it; what is measured is what grows with the years. The floor is what anybody would write: the
sums by account and by transaction.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from benchmarks.homes import Workshop
from benchmarks.measure import Figure, in_turn, rate_figures, timed
from scheduler.store.engine import run_transaction, sqlite_engine

ACCOUNTS = 100
NOW_US = 1_795_356_000_000_000
#: New transactions since the last audit, as a night leaves behind.
NIGHT = 1_000
SUMS = (
    "SELECT count(*) FROM (SELECT account_id, SUM(amount) FROM entries GROUP BY account_id)",
    "SELECT count(*) FROM (SELECT txn_id, SUM(amount) FROM entries GROUP BY txn_id)",
)
_NUMBERS = "WITH RECURSIVE n(i) AS (SELECT {first} UNION ALL SELECT i + 1 FROM n WHERE i < {last})"


def run(workshop: Workshop, entries: int = 5_000_000, pairs: int = 3) -> list[Figure]:
    database = workshop.database("audit.db")
    generate(database, 1, entries // 3)
    lines = database.execute("SELECT count(*) FROM entries").fetchone()[0]
    path = workshop.folder / "audit.db"
    engine = sqlite_engine(str(path))
    with engine.connect() as connection:

        def audit(full: bool) -> None:
            ((report, error),) = run_transaction(connection, [lambda tx: tx.audit(full, NOW_US)])
            if error is not None or report.findings:
                raise RuntimeError(f"the generated journal is broken: {error or report.findings}")
            run_transaction(connection, [lambda tx: tx.record_audit(report, "benchmark", NOW_US)])

        def sums() -> None:
            for statement in SUMS:
                database.execute(statement).fetchall()

        before = reset_peak_mib()
        audit(True)
        grown = peak_mib() - before
        found = in_turn(lambda: timed(lines, lambda: audit(True)), lambda: timed(lines, sums), pairs)
        last = entries // 3
        generate(database, last + 1, last + NIGHT)
        start = timed(NIGHT, lambda: audit(False))
    engine.dispose()
    database.close()
    figures = rate_figures("audit", found, 0.3, "line")
    figures[0] = Figure("audit: ratio to plain SQL sums", *_rest(figures[0]))
    return [
        *figures,
        Figure(
            "audit: memory on top, at its peak",
            max(0.0, grown),
            "MiB",
            64,
            below=True,
            note=f"{lines:,} lines",
        ),
        Figure("audit at the start", start.wall_s * 1000, "ms", note=f"{NIGHT:,} new transactions"),
    ]


def _rest(figure: Figure) -> tuple[float, str, float | None, bool, str]:
    return figure.value, figure.unit, figure.goal, figure.below, figure.note


def generate(database: sqlite3.Connection, first: int, last: int) -> None:
    """Write transactions `first` to `last` and keep the balances, in the database itself."""
    numbers = _NUMBERS.format(first=first, last=last)
    database.execute("BEGIN IMMEDIATE")
    for i in range(ACCOUNTS if first == 1 else 0):
        kind, asset = ("outside", "credit") if i % 2 else ("payable", "usd")
        database.execute(
            "INSERT INTO accounts (id, asset, kind, guarded) VALUES (?, ?, ?, 0)",
            (f"{kind}:{i}", asset, kind),
        )
    database.execute(
        f"INSERT INTO txns (id, idem_key, kind, actor, reason, at_us) {numbers} "
        "SELECT i, 'key ' || i, 'adjust', 'benchmark', 'generated', i FROM n"
    )
    # An even account is dollars, an odd one credits; each pair of lines stays within its asset.
    database.execute(
        f"INSERT INTO entries (txn_id, line, account_id, amount) {numbers}, "
        "l(line) AS (SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4) "
        "SELECT i, line, CASE WHEN line < 3 THEN 'payable:' || ((i + line) * 2 % 100) "
        "ELSE 'outside:' || ((i + line) * 2 % 100 + 1) END, "
        "CASE WHEN line % 2 = 1 THEN i % 1000 + 1 ELSE -(i % 1000 + 1) END "
        "FROM n, l WHERE line < 3 OR i % 2 = 0"
    )
    database.execute(
        "UPDATE accounts SET posted = (SELECT COALESCE(SUM(amount), 0) FROM entries WHERE account_id = id)"
    )
    database.execute("COMMIT")
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def reset_peak_mib() -> float:
    """Forget the peak of this process's memory, and return what it takes now."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak_mib()


def peak_mib() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise OSError("/proc/self/status does not tell the peak of the memory")
