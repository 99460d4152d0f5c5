"""One daemon a database: the second is refused, and a dead one holds nothing."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from scheduler.errors import TryAgain, Unreachable
from scheduler.store.lock import database_lock
from scheduler.store.open import open_store
from scheduler.store.postgres import DAEMON_LOCK
from tests.support.databases import Databases
from tests.support.stores import query

ROOT = Path(__file__).resolve().parents[2]
HOLD_FOR_EVER = """
import asyncio, sys
from scheduler.store.lock import database_lock
async def main():
    async with database_lock(sys.argv[1]):
        print("held", flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
"""


@contextlib.asynccontextmanager
async def another_daemon(url: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A real process that holds the database, and is killed at the end if it still lives."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOLD_FOR_EVER, url, stdout=asyncio.subprocess.PIPE, cwd=ROOT
    )
    assert process.stdout is not None
    try:
        assert await asyncio.wait_for(process.stdout.readline(), 60) == b"held\n"
        yield process
    finally:
        if process.returncode is None:
            os.kill(process.pid, signal.SIGKILL)
        await process.communicate()


async def test_a_second_daemon_is_refused_and_a_killed_one_holds_nothing(database_url: str) -> None:
    async with another_daemon(database_url) as process:
        with pytest.raises(TryAgain, match="in use"):
            async with database_lock(database_url):
                pytest.fail("two daemons on one database")
        os.kill(process.pid, signal.SIGKILL)
        await process.wait()
        # The PostgreSQL server notices a dead client a moment later than the kernel lets go of a file.
        async with asyncio.timeout(30):
            while True:
                try:
                    async with database_lock(database_url):
                        return
                except TryAgain:
                    await asyncio.sleep(0.01)


async def test_the_lock_of_a_file_names_the_process_that_has_it(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'x.db'}"
    async with another_daemon(url) as process:
        with pytest.raises(TryAgain, match=f"by process {process.pid}"):
            async with database_lock(url):
                pytest.fail("two daemons on one database")


async def test_the_lock_is_free_again_after_the_block(database_url: str) -> None:
    for _ in range(2):
        async with database_lock(database_url):
            with pytest.raises(TryAgain):
                async with database_lock(database_url):
                    pytest.fail("two daemons on one database")


async def test_the_lock_keeps_no_reader_or_writer_away(database_url: str) -> None:
    async with database_lock(database_url):
        store = open_store(database_url)
        assert await store.write(query("SELECT 1")) == [(1,)]
        await store.close()


async def test_a_database_that_cannot_be_reached_is_said_so(tmp_path: Path, databases: Databases) -> None:
    url = await asyncio.to_thread(databases.make_empty, "postgresql", tmp_path)
    for broken in (
        "postgresql+asyncpg://postgres@/nightshot?host=/nowhere/at/all",
        url.replace("/test_", "/no_such_database_"),
    ):
        with pytest.raises(Unreachable, match="cannot be reached"):
            async with database_lock(broken):
                pytest.fail("a lock on nothing")


# ------------------------------------------------------------- the connection that holds PostgreSQL's lock


def holders(states: str) -> str:
    """SQL: the backends that hold, or wait for, the daemon's lock of this database."""
    return (
        "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND database ="
        f" (SELECT oid FROM pg_database WHERE datname = current_database()) AND {states}"
    )


@contextlib.asynccontextmanager
async def sessions(url: str, count: int) -> AsyncIterator[list[AsyncConnection]]:
    engine = create_async_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(engine.dispose)
        yield [await stack.enter_async_context(engine.connect()) for _ in range(count)]


async def until_found(connection: AsyncConnection, sql: str) -> list[int]:
    async with asyncio.timeout(30):
        while True:
            if found := list((await connection.execute(text(sql))).scalars()):
                return found
            await asyncio.sleep(0.02)


async def kill_the_holder(connection: AsyncConnection) -> int:
    (pid,) = await until_found(connection, holders("granted"))
    await connection.execute(text(f"SELECT pg_terminate_backend({pid})"))
    return pid


@pytest.fixture
def postgres_url(databases: Databases, tmp_path: Path) -> str:
    return databases.make_empty("postgresql", tmp_path)


async def test_a_lock_whose_connection_died_is_taken_again(postgres_url: str) -> None:
    lost: list[str] = []
    async with database_lock(postgres_url, lost.append), sessions(postgres_url, 1) as (other,):
        dead = await kill_the_holder(other)
        assert await until_found(other, f"{holders('granted')} AND pid <> {dead}")
        with pytest.raises(TryAgain, match="in use"):
            async with database_lock(postgres_url):
                pytest.fail("two daemons on one database")
    assert lost == []


async def test_a_lock_that_another_daemon_took_meanwhile_is_said_to_be_lost(postgres_url: str) -> None:
    lost: asyncio.Queue[str] = asyncio.Queue()
    async with database_lock(postgres_url, lost.put_nowait), sessions(postgres_url, 2) as (other, third):
        waiting = asyncio.create_task(other.execute(text(f"SELECT pg_advisory_lock({DAEMON_LOCK})")))
        await until_found(third, holders("NOT granted"))
        await kill_the_holder(third)
        await waiting
        assert "another nightshot daemon" in await asyncio.wait_for(lost.get(), 30)
