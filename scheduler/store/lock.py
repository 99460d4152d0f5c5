"""One daemon a database, wherever its home is: a file lock beside SQLite, an advisory lock on PostgreSQL."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from scheduler.errors import TryAgain, Unreachable
from scheduler.locks import file_lock
from scheduler.store.migrate import sqlite_path

#: Any fixed number, another one than the upgrade's.
DAEMON_LOCK = 7_464_101_402_660_642


@contextlib.asynccontextmanager
async def database_lock(url: str) -> AsyncIterator[None]:
    """Hold the database for one daemon inside the block. Raises TryAgain when another daemon has it."""
    path = sqlite_path(url)
    if path is not None:
        # By its own name: two homes may call one file by different ones, through links.
        path = path.resolve()
        with file_lock(path.with_name(f"{path.name}.lock"), f"the database {path}"):
            yield
        return
    engine = create_async_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    try:
        try:
            connection = await engine.connect()
        except (DBAPIError, OSError) as error:
            raise Unreachable(f"the database cannot be reached: {error}", "check store.url") from error
        try:
            got = await connection.execute(text(f"SELECT pg_try_advisory_lock({DAEMON_LOCK})"))
            if not got.scalar_one():
                raise TryAgain(
                    "the database is in use by another nightshot daemon",
                    "stop that one first: several daemons on one database are not supported yet",
                )
            yield
        finally:
            await connection.close()
    finally:
        await engine.dispose()
