"""Transactions that share a commit: what one does must not befall another, and nobody waits for ever."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from sqlalchemy import Connection, create_engine, event
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.pool import NullPool

from scheduler.errors import SettingsError, TryAgain
from scheduler.ports_store import Store
from scheduler.store.engine import SqliteStore, refuse_weak_pragmas, run_transaction, sqlite_engine
from scheduler.store.open import open_store
from scheduler.store.postgres import PostgresStore
from scheduler.store.tx import StoreTx
from tests.support.databases import Databases
from tests.support.stores import execute, make_batch, make_spec, query, receive_jobs


class Broken(Exception):
    pass


def insert(name: str) -> Callable[[StoreTx], StoreTx]:
    def work(tx: StoreTx) -> StoreTx:
        execute("INSERT INTO sequences (name, next) VALUES (:name, 1)", name=name)(tx)
        return tx

    return work


def insert_and_fail(name: str) -> Callable[[StoreTx], None]:
    def work(tx: StoreTx) -> None:
        insert(name)(tx)
        raise Broken(name)

    return work


async def names(store: Store) -> set[str]:
    rows = await store.read(query("SELECT name FROM sequences WHERE name NOT IN ('batches', 'jobs')"))
    return {name for (name,) in rows}


@asynccontextmanager
async def one_group(store: SqliteStore | PostgresStore) -> AsyncIterator[None]:
    """Whatever is written inside the block waits until its end, and then goes into one commit.

    The one that keeps it waiting is the first of that commit, and fails with it.
    """
    if isinstance(store, PostgresStore):
        yield  # its writer is a task of this very loop: it takes all that is there when we wait
        return
    started, release = threading.Event(), threading.Event()

    def wait(_tx: StoreTx) -> None:
        started.set()
        assert release.wait(30)

    blocking = asyncio.create_task(store.write(wait))
    assert await asyncio.to_thread(started.wait, 30)
    try:
        yield
        await asyncio.sleep(0)  # every task of the block has put its work into the queue
    finally:
        release.set()
    with suppress(TryAgain):
        await blocking


async def test_waiters_share_a_commit(store: SqliteStore | PostgresStore) -> None:
    async with one_group(store):
        tasks = [asyncio.create_task(store.write(insert(f"n{n}"))) for n in range(20)]
    transactions = await asyncio.gather(*tasks)
    assert len({id(tx) for tx in transactions}) == 1
    assert len(await names(store)) == 20


async def test_who_comes_while_another_runs_joins_its_commit(tmp_path: Path, databases: Databases) -> None:
    store = open_store(await asyncio.to_thread(databases.make, "sqlite", tmp_path))
    assert isinstance(store, SqliteStore)
    running, come = threading.Event(), threading.Event()

    def first(tx: StoreTx) -> StoreTx:
        insert("first")(tx)
        running.set()
        assert come.wait(30)
        return tx

    early = asyncio.create_task(store.write(first))
    assert await asyncio.to_thread(running.wait, 30)
    late = asyncio.create_task(store.write(lambda tx: (tx, query("SELECT name FROM sequences")(tx))))
    await asyncio.sleep(0)  # its work is in the queue
    come.set()
    joined, seen = await late
    assert joined is await early
    assert ("first",) in seen, "it sees what those before it have written"
    await store.close()


async def test_a_question_behind_a_write_sees_it_and_waits_for_it(store: SqliteStore | PostgresStore) -> None:
    async with one_group(store):
        writing = asyncio.create_task(store.write(insert("asked first")))
        asking = asyncio.create_task(store.read_behind(query("SELECT name FROM sequences")))
    assert ("asked first",) in await asking
    assert writing.done(), "it was answered no sooner than what it tells of was durable"


async def test_the_first_one_that_fails_is_alone_in_it(store: SqliteStore | PostgresStore) -> None:
    works = [insert_and_fail("a"), insert("b"), insert_and_fail("c"), insert("d")]
    outcomes = await asyncio.gather(*(store.write(work) for work in works), return_exceptions=True)
    assert [type(o) for o in outcomes] == [Broken, StoreTx, Broken, StoreTx]
    assert await names(store) == {"b", "d"}


async def test_more_than_a_group_is_several_commits_and_all_are_kept(
    store: SqliteStore | PostgresStore,
) -> None:
    async with one_group(store):
        tasks = [asyncio.create_task(store.write(insert(f"n{n}"))) for n in range(600)]
    transactions = await asyncio.gather(*tasks)
    assert len({id(tx) for tx in transactions}) == 3
    assert len(await names(store)) == 600


async def test_one_that_fails_takes_nothing_with_it(store: SqliteStore | PostgresStore) -> None:
    async with one_group(store):
        works = [
            insert("a"),
            insert_and_fail("b"),
            insert("c"),
            insert("a"),  # the database refuses it
            insert("d"),
            query("SELECT * FROM nothing_like_it"),
            insert("e"),
        ]
        tasks = [asyncio.create_task(store.write(work)) for work in works]
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    kinds = [type(o) for o in outcomes]
    assert kinds[:5] == [StoreTx, Broken, StoreTx, IntegrityError, StoreTx]
    assert isinstance(outcomes[5], DBAPIError)
    assert kinds[6] is StoreTx
    assert await names(store) == {"a", "c", "d", "e"}


async def test_an_exception_comes_back_as_it_was_and_leaves_nothing(store: Store) -> None:
    with pytest.raises(Broken, match="alone"):
        await store.write(insert_and_fail("alone"))
    assert await names(store) == set()
    await store.write(insert("after"))
    assert await names(store) == {"after"}


async def test_a_mistake_of_ours_is_not_called_weather(store: Store) -> None:
    for ask in (store.read, store.write):
        with pytest.raises(DBAPIError):
            await ask(query("SELECT * FROM nothing_like_it"))


async def test_a_waiter_that_was_cancelled_bothers_nobody(store: SqliteStore | PostgresStore) -> None:
    async with one_group(store):
        cancelled = asyncio.create_task(store.write(insert("cancelled")))
        other = asyncio.create_task(store.write(insert("other")))
        await asyncio.sleep(0)
        cancelled.cancel()
    await other
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    assert await names(store) == {"cancelled", "other"}, "what was asked for is done all the same"


async def test_many_writers_at_once_lose_no_update(store: Store) -> None:
    add = execute("UPDATE sequences SET next = next + 1 WHERE name = 'jobs'")
    changed = await asyncio.gather(*(store.write(add) for _ in range(400)))
    assert sum(changed) == 400
    assert await store.read(query("SELECT next FROM sequences WHERE name = 'jobs'")) == [(401,)]


async def test_connections_of_their_own_lose_no_update(store: Store, database_url: str) -> None:
    """SQLite's own transactions silently lost 273 of 400; there even reading first is safe with ours."""

    def add_one(tx: StoreTx) -> None:
        if tx._c.dialect.name == "postgresql":
            tx.take_numbers("jobs", 1)  # taken by one statement, so that nobody reads the same number
            return
        ((number,),) = query("SELECT next FROM sequences WHERE name = 'jobs'")(tx)
        execute("UPDATE sequences SET next = :next WHERE name = 'jobs'", next=number + 1)(tx)

    others = [open_store(database_url) for _ in range(3)]
    try:
        await asyncio.gather(*(others[n % 3].write(add_one) for n in range(90)))
    finally:
        for other in others:
            await other.close()
    assert await store.read(query("SELECT next FROM sequences WHERE name = 'jobs'")) == [(91,)]


async def test_closing_answers_everybody_who_asked_before(store: SqliteStore | PostgresStore) -> None:
    async with one_group(store):
        tasks = [asyncio.create_task(store.write(insert(f"n{n}"))) for n in range(50)]
        await asyncio.sleep(0)
        closing = asyncio.create_task(store.close())
    assert len(await asyncio.gather(*tasks)) == 50
    await closing


async def test_a_closed_store_says_so_at_once(store: Store) -> None:
    await store.write(insert("before"))
    await store.close()
    for ask in (store.read, store.write):
        with pytest.raises(TryAgain, match="closed"):
            await ask(query("SELECT 1"))
    await store.close()


async def test_a_reader_sees_one_moment_while_others_write(store: SqliteStore | PostgresStore) -> None:
    await store.write(insert("first"))
    seen: list[int] = []

    def look_twice(tx: StoreTx) -> None:
        for _ in range(2):
            seen.append(len(query("SELECT name FROM sequences")(tx)))
            if isinstance(store, SqliteStore) and len(seen) == 1:
                between.set()
                assert written.wait(30)

    between, written = threading.Event(), threading.Event()
    reading = asyncio.create_task(store.read(look_twice))
    if isinstance(store, SqliteStore):
        assert await asyncio.to_thread(between.wait, 30)
    await store.write(insert("second"))
    written.set()
    await reading
    assert seen[0] == seen[1]
    assert await names(store) == {"first", "second"}


async def test_a_read_that_writes_is_refused(store: Store) -> None:
    with pytest.raises((DBAPIError, TryAgain), match=r"read-?only"):
        await store.read(insert("sneaked in"))
    assert await names(store) == set()


# -------------------------------------------------------------------------------------------- bad weather


def big_batch(tx: StoreTx) -> None:
    tx.receive([make_batch(make_spec(f"big {id(tx)}", code="x" * 200_000))])


async def test_on_a_full_disk_every_waiter_may_try_again_and_nothing_is_half_done(
    database_url: str, store: Store
) -> None:
    if isinstance(store, SqliteStore):

        def fill(tx: StoreTx) -> None:
            pages = tx._c.exec_driver_sql("PRAGMA page_count").scalar()
            tx._c.exec_driver_sql(f"PRAGMA max_page_count = {pages + 20}")

        def clear(tx: StoreTx) -> None:
            tx._c.exec_driver_sql("PRAGMA max_page_count = 1000000")
    else:
        # The server's own error of a full disk, raised where it would come from: while writing a row.
        def fill(tx: StoreTx) -> None:
            tx._c.exec_driver_sql(
                "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF "
                "length(NEW.code) > 100000 THEN RAISE EXCEPTION 'could not extend file: disk full' "
                "USING ERRCODE = '53100'; END IF; RETURN NEW; END $$"
            )
            tx._c.exec_driver_sql(
                "CREATE TRIGGER full_disk BEFORE INSERT ON circuits FOR EACH ROW EXECUTE FUNCTION full_disk()"
            )

        def clear(tx: StoreTx) -> None:
            tx._c.exec_driver_sql("DROP TRIGGER full_disk ON circuits")

    await store.write(fill)
    async with one_group(store):
        small = [asyncio.create_task(store.write(insert(f"n{n}"))) for n in range(5)]
        tasks = [*small, asyncio.create_task(store.write(big_batch))]
        tasks += [asyncio.create_task(store.write(insert(f"m{n}"))) for n in range(5)]
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes[:6]] == [TryAgain] * 6
    assert "full" in str(outcomes[0])
    assert "free some space" in str(outcomes[0])
    # Those behind it had not begun: they are in a commit of their own.
    assert [type(outcome) for outcome in outcomes[6:]] == [StoreTx] * 5
    with pytest.raises(TryAgain):
        await store.write(big_batch)
    assert await names(store) == {f"m{n}" for n in range(5)}
    assert await store.read(query("SELECT count(*) FROM batches")) == [(0,)]

    await store.write(insert("small"))
    await store.write(clear)
    await store.write(big_batch)
    assert await names(store) == {"small", *(f"m{n}" for n in range(5))}


async def test_whatever_a_commit_fails_with_everybody_of_its_group_is_told(
    tmp_path: Path, databases: Databases
) -> None:
    """A waiter without an answer would wait for ever: a submission's outcome, perhaps."""
    engine = sqlite_engine((await asyncio.to_thread(databases.make, "sqlite", tmp_path))[len("sqlite:///") :])

    @event.listens_for(engine, "commit")
    def no_memory(_connection: Connection) -> None:
        raise MemoryError("at the commit")

    with engine.connect() as connection:
        outcomes = run_transaction(connection, [insert("a"), insert("b"), insert("c")])
    assert [(value, type(error)) for value, error in outcomes] == [(None, MemoryError)] * 3
    engine.dispose()


@pytest.mark.parametrize("past_sqlalchemy", [False, True])
async def test_a_commit_that_fails_leaves_a_store_that_works(
    tmp_path: Path, databases: Databases, past_sqlalchemy: bool
) -> None:
    """A disk that fills up at the commit must not end the one connection that writes, for good."""
    store = open_store(await asyncio.to_thread(databases.make, "sqlite", tmp_path))

    def orphan(tx: StoreTx) -> None:
        if past_sqlalchemy:
            assert tx._driver is not None
            tx._driver.execute("PRAGMA defer_foreign_keys = ON")
            tx._driver.execute("INSERT INTO parts (job_id, ordinal, shots) VALUES (4711, 1, 1)")
        else:
            tx._c.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
            tx._c.exec_driver_sql("INSERT INTO parts (job_id, ordinal, shots) VALUES (4711, 1, 1)")

    with pytest.raises(IntegrityError, match="FOREIGN KEY"):
        await store.write(orphan)
    await store.write(insert("past SQLAlchemy"))
    await store.write(lambda tx: receive_jobs(tx, 1))  # and through it
    assert await names(store) == {"past SQLAlchemy"}
    assert await store.read(query("SELECT job_id FROM parts")) == [(1,)]
    await store.close()


async def test_a_locked_file_is_weather(tmp_path: Path, databases: Databases) -> None:
    url = await asyncio.to_thread(databases.make, "sqlite", tmp_path)
    store = open_store(url)
    # Another program has the file for longer than we wait; one second of patience is enough here.
    await store.write(lambda tx: tx._c.exec_driver_sql("PRAGMA busy_timeout = 50"))
    other = create_engine(url, poolclass=NullPool, connect_args={"isolation_level": None})
    with other.connect() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        with pytest.raises(TryAgain, match="locked"):
            await store.write(insert("blocked"))
        assert await names(store) == set(), "readers are not kept out"
        connection.exec_driver_sql("ROLLBACK")
    await store.write(insert("free again"))
    await store.close()


async def test_a_connection_that_the_server_cut_is_weather(tmp_path: Path, databases: Databases) -> None:
    url = await asyncio.to_thread(databases.make, "postgresql", tmp_path)
    store, other = open_store(url), open_store(url)

    async def cut(pid: int) -> None:
        await other.write(query("SELECT pg_terminate_backend(:pid)", pid=pid))

    (pid,) = (await store.write(query("SELECT pg_backend_pid()")))[0]
    await cut(pid)
    await store.write(insert("after a pause"))  # a dead connection in the pool is noticed before its use

    def cut_myself(tx: StoreTx) -> None:
        insert("half done")(tx)
        query("SELECT pg_terminate_backend(pg_backend_pid())")(tx)

    with pytest.raises(TryAgain):
        await store.write(cut_myself)
    with pytest.raises(TryAgain):
        await store.read(query("SELECT pg_terminate_backend(pg_backend_pid())"))
    await store.write(insert("and on"))
    assert await names(store) == {"after a pause", "and on"}
    await store.close()
    await other.close()


async def test_a_database_that_is_not_there_is_said_so_to_each_waiter(
    tmp_path: Path, databases: Databases
) -> None:
    url = await asyncio.to_thread(databases.make, "postgresql", tmp_path)
    away = open_store("postgresql+asyncpg://postgres@/nightshot?host=/nowhere/at/all")
    gone = open_store(url.replace("/test_", "/no_such_database_"))
    for store, kind in ((away, TryAgain), (gone, DBAPIError)):
        outcomes = await asyncio.gather(
            *(store.write(query("SELECT 1")) for _ in range(3)),
            store.read(query("SELECT 1")),
            return_exceptions=True,
        )
        assert all(isinstance(outcome, kind) for outcome in outcomes), outcomes
        await store.close()


# ------------------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("pragma", "value", "named"),
    [
        ("synchronous", "NORMAL", "synchronous"),
        ("foreign_keys", "OFF", "foreign_keys"),
        ("journal_mode", "DELETE", "journal_mode"),
    ],
)
def test_a_connection_that_may_lose_something_is_refused(
    tmp_path: Path, pragma: str, value: str, named: str
) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'x.db'}", poolclass=NullPool)
    with engine.connect() as connection:
        for name, good in (("journal_mode", "WAL"), ("synchronous", "FULL"), ("foreign_keys", "ON")):
            connection.exec_driver_sql(f"PRAGMA {name} = {good}")
        refuse_weak_pragmas(connection)
        connection.exec_driver_sql(f"PRAGMA {pragma} = {value}")
        with pytest.raises(SettingsError, match=named):
            refuse_weak_pragmas(connection)


def test_a_database_in_memory_is_refused_because_it_forgets() -> None:
    with pytest.raises(SettingsError, match="journal_mode"):
        SqliteStore(":memory:")


@pytest.mark.parametrize("url", ["mysql://root@/x", "postgresql://ada@/x", "nonsense", ""])
def test_a_database_we_do_not_know_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match=r"store\.url"):
        open_store(url)


async def test_the_sqlite_store_keeps_what_it_said_it_kept(tmp_path: Path, databases: Databases) -> None:
    """A copy of the file and its log, taken the moment a write returned, holds the row."""
    url = await asyncio.to_thread(databases.make, "sqlite", tmp_path)
    store = open_store(url)
    path = Path(url.removeprefix("sqlite:///"))
    copy = tmp_path / "copy"
    copy.mkdir()
    ids = await store.write(lambda tx: receive_jobs(tx, 3))
    for name in (path.name, f"{path.name}-wal"):
        (copy / name).write_bytes((path.parent / name).read_bytes())
    await store.close()
    again = open_store(f"sqlite:///{copy / path.name}")
    assert await again.read(query("SELECT id FROM jobs ORDER BY id")) == [(i,) for i in ids]
    await again.close()
