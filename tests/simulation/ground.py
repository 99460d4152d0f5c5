"""Where nights take place: a folder in memory with the upgraded database, made new for each of them.

The store here is the real one's connections, pragmas and transactions without its threads: a night asks one
thing at a time, and one seed must give one order of events.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, event

from scheduler.core.audit import AuditReport
from scheduler.store.engine import (
    Outcomes,
    read_snapshot,
    refuse_weak_pragmas,
    run_transaction,
    sqlite_engine,
)
from scheduler.store.migrate import upgrade
from scheduler.store.tx import StoreTx

T = TypeVar("T")


#: sqlite3 keeps 128 statements a connection, and a night asks more different ones than that again and again.
_STATEMENTS_KEPT = 1024


class OneThreadStore:
    """The `Store` port on SQLite, answered at once."""

    def __init__(self, writer: Connection, reader: Connection) -> None:
        self._writer = writer
        self._reader = reader

    async def write(self, work: Callable[[StoreTx], T]) -> T:
        value: T = _only(run_transaction(self._writer, [work]))
        return value

    async def read(self, work: Callable[[StoreTx], T]) -> T:
        value: T = _only(read_snapshot(self._reader, [work]))
        return value

    async def read_behind(self, work: Callable[[StoreTx], T]) -> T:
        return await self.write(work)

    async def close(self) -> None:
        """As after a kill: what was not committed is undone. The connections belong to the ground."""
        self._writer.rollback()
        self._reader.rollback()


def _keep_statements(_dialect: Any, _record: Any, _arguments: Any, options: dict[str, Any]) -> None:
    options["cached_statements"] = _STATEMENTS_KEPT


def _only(outcomes: Outcomes) -> Any:
    ((value, error),) = outcomes
    if error is not None:
        raise error
    return value


class Ground:
    """A folder and the engines on its database, kept from night to night: compiled statements are dear."""

    def __init__(self) -> None:
        # In memory when the machine has room for it there; the pragmas are the same everywhere.
        memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self._place = tempfile.TemporaryDirectory(prefix="nights-", dir=memory)
        root = Path(self._place.name)
        self._template = root / "template.db"
        upgrade(f"sqlite:///{self._template}", root)
        with contextlib.closing(sqlite3.connect(self._template)) as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self.folder = root / "night"
        self.database = self.folder / "night.db"
        self._backup = self.folder / "backup.db"
        self._engines = (sqlite_engine(str(self.database)), sqlite_engine(str(self.database), read_only=True))
        for engine in self._engines:
            event.listen(engine, "do_connect", _keep_statements)
        self._connections: tuple[Connection, Connection] | None = None

    def clear(self) -> None:
        """Make everything new: an upgraded database with nothing in it, and no other file."""
        self._disconnect()
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        shutil.copyfile(self._template, self.database)

    def open_store(self) -> OneThreadStore:
        """A process's store. SQLite keeps nothing in a connection that a killed process would have lost."""
        return OneThreadStore(*self._connect())

    def _connect(self) -> tuple[Connection, Connection]:
        if self._connections is None:
            writer, reader = (engine.connect() for engine in self._engines)
            refuse_weak_pragmas(writer)
            writer.rollback()
            self._connections = writer, reader
        return self._connections

    def _disconnect(self) -> None:
        for connection in self._connections or ():
            connection.close()
        self._connections = None

    def audit(self) -> AuditReport:
        """Run the program's own full audit beside everything; an expiry not booked yet is no finding."""
        _, reader = self._connect()
        with reader.begin():
            return StoreTx(reader).audit(True, 0)

    def back_up(self) -> None:
        with (
            contextlib.closing(sqlite3.connect(self.database)) as source,
            contextlib.closing(sqlite3.connect(self._backup)) as target,
        ):
            source.backup(target)

    def restore(self) -> None:
        """Put the backup in the database's place; nothing may have it open."""
        self._disconnect()
        for left in self.folder.glob("night.db*"):
            left.unlink()
        shutil.copyfile(self._backup, self.database)

    def close(self) -> None:
        self._disconnect()
        for engine in self._engines:
            engine.dispose()
        self._place.cleanup()
