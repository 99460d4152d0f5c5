"""The store on PostgreSQL: the same transactions on SQLAlchemy's asyncio engine, through `run_sync`.

A module of its own, because a daemon on SQLite would carry 6 MB of asyncio engine for nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from scheduler.errors import TryAgain, Unreachable
from scheduler.store.engine import (
    GROUP_LIMIT,
    Outcomes,
    Waiter,
    Work,
    answer_waiters,
    as_try_again,
    closed_store,
    is_weather,
    run_transaction,
)
from scheduler.store.tx import StoreTx

T = TypeVar("T")
#: Any fixed number, another one than the upgrade's.
DAEMON_LOCK = 7_464_101_402_660_642


#: How often the lock's connection is asked whether it lives, and how long it may take to say so.
WATCH_EVERY_S = 2.0
ANSWER_WITHIN_S = 10.0


class _DaemonLock:
    """The advisory lock of one daemon, and the connection that it lives and dies with."""

    def __init__(self, url: str) -> None:
        self._engine = create_async_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
        self._connection: AsyncConnection | None = None

    async def take(self) -> None:
        """Raises TryAgain when another daemon has it, Unreachable when nobody can say."""
        try:
            self._connection = await self._engine.connect()
            got = await self._connection.execute(text(f"SELECT pg_try_advisory_lock({DAEMON_LOCK})"))
            taken = bool(got.scalar_one())
        except (DBAPIError, OSError) as error:
            await self._let_go()
            raise Unreachable(f"the database cannot be reached: {error}", "check store.url") from error
        if not taken:
            await self._let_go()
            raise TryAgain(
                "the database is in use by another nightshot daemon",
                "stop that one first: several daemons on one database are not supported yet",
            )

    async def watch(self, lost: Callable[[str], None]) -> None:
        """Take it again when its connection died; tell `lost` and end when somebody else was quicker."""
        while True:
            await asyncio.sleep(WATCH_EVERY_S)
            if await self._is_held():
                continue
            await self._let_go()
            try:
                async with asyncio.timeout(ANSWER_WITHIN_S):
                    await self.take()
            except (Unreachable, TimeoutError):
                continue  # the store is as far away: no intent can be committed meanwhile
            except TryAgain as taken:
                lost(f"the connection that held the database's lock was lost, and {taken.message}")
                return

    async def _is_held(self) -> bool:
        if self._connection is None:
            return False
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S):
                await self._connection.execute(text("SELECT 1"))
        except (DBAPIError, OSError, TimeoutError):
            return False
        return True

    async def _let_go(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(DBAPIError, OSError):  # it may be dead already
                await connection.invalidate()
                await connection.close()

    async def close(self) -> None:
        await self._let_go()
        await self._engine.dispose()


@contextlib.asynccontextmanager
async def advisory_lock(url: str, lost: Callable[[str], None] | None = None) -> AsyncIterator[None]:
    """Hold the database for one daemon inside the block. Raises TryAgain when another daemon has it."""
    async with contextlib.AsyncExitStack() as stack:
        lock = _DaemonLock(url)
        stack.push_async_callback(lock.close)
        await lock.take()
        if lost is not None:
            watching = asyncio.create_task(lock.watch(lost), name="database-lock")
            stack.push_async_callback(_cancelled, watching)
        yield


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


class PostgresStore:
    """The store on PostgreSQL; `url` starts with `postgresql+asyncpg://`."""

    def __init__(self, url: str, *, readers: int = 4) -> None:
        self._engine: AsyncEngine = create_async_engine(
            url, pool_size=readers, max_overflow=2, pool_pre_ping=True
        )
        self._waiting: asyncio.Queue[Waiter | None] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    async def write(self, work: Callable[[StoreTx], T]) -> T:
        if self._closed:
            raise closed_store()
        if self._task is None:
            self._task = asyncio.create_task(self._write_loop(), name="store-writer")
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.put_nowait((work, future))
        return await future

    async def read_behind(self, work: Callable[[StoreTx], T]) -> T:
        return await self.write(work)

    async def read(self, work: Callable[[StoreTx], T]) -> T:
        if self._closed:
            raise closed_store()
        try:
            async with self._engine.connect() as connection:
                await connection.execution_options(
                    isolation_level="REPEATABLE READ", postgresql_readonly=True
                )
                return await connection.run_sync(lambda sync: work(StoreTx(sync)))
        except DBAPIError as error:
            raise (as_try_again(error) if is_weather(error) else error) from error
        except (OSError, PoolTimeout) as error:
            raise TryAgain(f"the database cannot be reached: {error}") from error

    async def _write_loop(self) -> None:
        while (first := await self._waiting.get()) is not None:
            group = [first]
            stop = False
            while not self._waiting.empty() and len(group) < GROUP_LIMIT and not stop:
                more = self._waiting.get_nowait()
                if more is None:
                    stop = True
                else:
                    group.append(more)
            outcomes: Outcomes = []
            while len(outcomes) < len(group):
                # Those behind one that fails first have not begun: they go into a transaction of their own.
                outcomes += await self._commit([work for work, _ in group[len(outcomes) :]])
            answer_waiters(group, outcomes)
            if stop:
                return

    async def _commit(self, works: list[Work]) -> Outcomes:
        try:
            async with self._engine.connect() as connection:
                return await self._run(connection, works)
        except DBAPIError as error:
            return [(None, as_try_again(error) if is_weather(error) else error)] * len(works)
        except (OSError, PoolTimeout) as error:
            return [(None, TryAgain(f"the database cannot be reached: {error}"))] * len(works)
        except Exception as error:  # noqa: BLE001 - it is handed to those who asked; the writer must live
            return [(None, error)] * len(works)

    async def _run(self, connection: AsyncConnection, works: list[Work]) -> Outcomes:
        return await connection.run_sync(run_transaction, works)

    async def close(self) -> None:
        self._closed = True
        if self._task is not None:
            self._waiting.put_nowait(None)
            await self._task
            self._task = None
        await self._engine.dispose()

    async def ping(self) -> None:
        async with self._engine.connect() as connection:
            await connection.execute(text("SELECT 1"))
