"""Open the store a URL names."""

from __future__ import annotations

from scheduler.errors import SettingsError
from scheduler.store.engine import PostgresStore, SqliteStore
from scheduler.store.migrate import sqlite_path


def open_store(url: str) -> SqliteStore | PostgresStore:
    """Open an upgraded database: `sqlite:///FILE` or `postgresql+asyncpg://…`. Raises SettingsError."""
    path = sqlite_path(url)
    if path is not None:
        return SqliteStore(str(path))
    if url.startswith("postgresql+asyncpg://"):
        return PostgresStore(url)
    raise SettingsError(
        f"store.url: {url.partition(':')[0]!r} is not a database nightshot knows",
        "leave it empty for SQLite in the home directory, or write postgresql://user@host/name",
    )
