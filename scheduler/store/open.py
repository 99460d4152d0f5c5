"""Open the store a URL names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scheduler.errors import SettingsError
from scheduler.store.engine import SqliteStore
from scheduler.store.revision import sqlite_path

if TYPE_CHECKING:
    from scheduler.store.postgres import PostgresStore


def open_store(url: str) -> SqliteStore | PostgresStore:
    """Open an upgraded database: `sqlite:///FILE` or `postgresql+asyncpg://…`. Raises SettingsError."""
    path = sqlite_path(url)
    if path is not None:
        return SqliteStore(str(path))
    if url.startswith("postgresql+asyncpg://"):
        from scheduler.store.postgres import PostgresStore

        return PostgresStore(url)
    raise SettingsError(
        f"store.url: {url.partition(':')[0]!r} is not a database nightshot knows",
        "leave it empty for SQLite in the home directory, or write postgresql://user@host/name",
    )
