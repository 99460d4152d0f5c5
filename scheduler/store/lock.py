"""One daemon a database, wherever its home is: a file lock beside SQLite, an advisory lock on PostgreSQL."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable

from scheduler.locks import file_lock
from scheduler.store.revision import sqlite_path


@contextlib.asynccontextmanager
async def database_lock(url: str, lost: Callable[[str], None] | None = None) -> AsyncIterator[None]:
    """Hold the database for one daemon inside the block. Raises TryAgain when another daemon has it.

    PostgreSQL's lock lives as long as its connection. With `lost` it is watched, and taken again when that
    dies; `lost` is told, once, when somebody else has it by then. A file's lock lives as long as we do.
    """
    path = sqlite_path(url)
    if path is None:
        from scheduler.store.postgres import advisory_lock

        async with advisory_lock(url, lost):
            yield
        return
    # By its own name: two homes may call one file by different ones, through links.
    path = path.resolve()
    with file_lock(path.with_name(f"{path.name}.lock"), f"the database {path}"):
        yield
