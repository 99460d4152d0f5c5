"""The last moment the clocks were believed, and the database's own time."""

from __future__ import annotations

import time

from scheduler.core.clocks import ClockMark
from scheduler.store.engine import SqliteStore
from scheduler.store.open import open_store
from scheduler.store.postgres import PostgresStore
from tests.support.databases import Kind
from tests.support.stores import NOW_US, query


async def test_at_first_no_clock_was_ever_believed(store: SqliteStore | PostgresStore) -> None:
    assert await store.read(lambda tx: tx.clock_mark()) is None


async def test_the_last_mark_is_the_one_that_counts_after_a_restart(
    store: SqliteStore | PostgresStore, database_url: str
) -> None:
    marks = [ClockMark(NOW_US, 5, "boot-1"), ClockMark(NOW_US + 9, 14, "boot-1"), ClockMark(1, 2, "boot-2")]
    for mark in marks:
        await store.write(lambda tx, m=mark: tx.set_clock_mark(m))
    again = open_store(database_url)
    try:
        assert await again.read(lambda tx: tx.clock_mark()) == marks[-1]
    finally:
        await again.close()
    assert await store.read(query("SELECT count(*) FROM clock_marks")) == [(1,)]


async def test_only_a_server_has_a_clock_of_its_own(
    store: SqliteStore | PostgresStore, database_kind: Kind
) -> None:
    before_us = time.time_ns() // 1000
    told = await store.read(lambda tx: tx.database_us())
    after_us = time.time_ns() // 1000
    if database_kind == "sqlite":
        assert told is None, "a file knows no other time than this machine's"
    else:
        assert told is not None
        # This server runs on this machine, so both read one clock.
        assert before_us - 1_000 <= told <= after_us + 1_000
