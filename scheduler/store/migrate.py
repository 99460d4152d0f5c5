"""Bring a database to this program's schema without losing a row.

SQLite: a file backup first, foreign keys off while tables are rebuilt (Alembic's batch mode with them on can
empty child tables), row counts compared and foreign keys checked before the commit. PostgreSQL: the whole
upgrade is one transaction under an advisory lock.
"""

from __future__ import annotations

import json
import sqlite3
import sys
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, event, inspect, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from scheduler.errors import NightshotError, SchemaMismatch, TryAgain, Unreachable
from scheduler.store.revision import migrations_dir, sqlite_path

#: Any fixed number: two upgraders of one PostgreSQL database wait for each other.
UPGRADE_LOCK = 7_464_101_402_660_641


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(migrations_dir()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    if connection is not None:
        config.attributes["connection"] = connection
    return config


def newest_revision() -> str:
    head = ScriptDirectory.from_config(_config()).get_current_head()
    if head is None:
        raise SchemaMismatch("this installation has no migrations", "install nightshot again")
    return head


def current_revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _refuse_newer(connection: Connection) -> str | None:
    now = current_revision(connection)
    known = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
    if now is not None and now not in known:
        raise SchemaMismatch(
            f"the database has schema {now}, which this version of nightshot does not know: it is newer",
            "install the version that wrote it, or restore the backup from before that upgrade",
        )
    return now


def _counts(connection: Connection) -> dict[str, int]:
    names = [name for name in inspect(connection).get_table_names() if name != "alembic_version"]
    return {name: connection.execute(text(f'SELECT count(*) FROM "{name}"')).scalar_one() for name in names}


def _upgrade_checked(connection: Connection) -> list[str]:
    before = _refuse_newer(connection)
    target = newest_revision()
    if before == target:
        return []
    counts = _counts(connection)
    command.upgrade(_config(connection), "head")
    after = _counts(connection)
    lost = {name: (n, after.get(name)) for name, n in counts.items() if after.get(name) != n}
    if lost:
        raise SchemaMismatch(f"the upgrade would have lost rows ({lost}); nothing was changed")
    return [f"schema {before or 'none'} → {target}"]


def upgrade(url: str, backup_dir: Path) -> list[str]:
    """Upgrade to the newest schema; returns sentences about what was done, none when nothing was needed.

    Raises SchemaMismatch when the database is newer or the upgrade would lose rows, Unreachable when it
    cannot be opened.
    """
    path = sqlite_path(url)
    try:
        return _upgrade_sqlite(path, backup_dir) if path else _upgrade_postgres(url)
    except DBAPIError as error:
        cause = str(error.orig).splitlines()[0] if error.orig else str(error)
        if "locked" in cause:
            raise TryAgain(f"the database is busy: {cause}") from error
        raise Unreachable(
            f"the database cannot be opened: {cause}", "check store.url and the disk"
        ) from error
    except OSError as error:
        raise Unreachable(f"the database cannot be reached: {error}", "check store.url") from error


def require_current(url: str) -> None:
    """Check that a PostgreSQL database has this program's schema. Raises SchemaMismatch or Unreachable."""
    import asyncio

    async def read() -> str | None:
        engine = create_async_engine(url, poolclass=NullPool)
        try:
            async with engine.connect() as connection:
                return await connection.run_sync(_refuse_newer)
        finally:
            await engine.dispose()

    try:
        found = asyncio.run(read())
    except (DBAPIError, OSError) as error:
        raise Unreachable(f"the database cannot be reached: {error}", "check store.url") from error
    if found != newest_revision():
        raise SchemaMismatch(
            f"the database has schema {found or 'none'}, and this program needs {newest_revision()}",
            "nightshot db upgrade",
        )


def _upgrade_sqlite(path: Path, backup_dir: Path) -> list[str]:
    engine = create_engine(f"sqlite:///{path}", poolclass=NullPool, connect_args={"isolation_level": None})

    @event.listens_for(engine, "connect")
    def foreign_keys_off(raw: Any, _record: Any) -> None:
        raw.execute("PRAGMA journal_mode=WAL")
        raw.execute("PRAGMA synchronous=FULL")
        raw.execute("PRAGMA foreign_keys=OFF")
        raw.execute("PRAGMA busy_timeout=10000")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    said = []
    with engine.connect() as connection:
        with connection.begin():
            before = _refuse_newer(connection)
        if before is not None and before != newest_revision():
            said.append(
                f"backup written to {backup_sqlite(path, backup_dir / f'before-upgrade-from-{before}.db')}"
            )
        with connection.begin():
            said += _upgrade_checked(connection)
            broken = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
            if broken:
                raise SchemaMismatch(
                    f"the upgrade would have broken a reference ({broken}); nothing was changed"
                )
    engine.dispose()
    return said


def _upgrade_postgres(url: str) -> list[str]:
    import asyncio

    async def run() -> list[str]:
        engine = create_async_engine(url, poolclass=NullPool)
        try:
            async with engine.begin() as connection:
                await connection.execute(text(f"SELECT pg_advisory_xact_lock({UPGRADE_LOCK})"))
                return await connection.run_sync(_upgrade_checked)
        finally:
            await engine.dispose()

    return asyncio.run(run())


def backup_sqlite(path: Path, target: Path) -> Path:
    """Copy a live SQLite database, consistently, without stopping anybody; never overwrites a file."""
    target.parent.mkdir(parents=True, exist_ok=True)
    free = target
    number = 1
    while free.exists():
        number += 1
        free = target.with_name(f"{target.stem}-{number}{target.suffix}")
    source, copy = sqlite3.connect(path), sqlite3.connect(free)
    try:
        source.backup(copy)
    finally:
        copy.close()
        source.close()
    return free


def backup(url: str, target: Path) -> Path:
    """Write a consistent copy of a SQLite database; returns the file. PostgreSQL has pg_dump for this."""
    path = sqlite_path(url)
    if path is None:
        raise SchemaMismatch(
            "this database is PostgreSQL", "use pg_dump, which copies a live database consistently"
        )
    if not path.exists():
        raise Unreachable(f"there is no database at {path} yet", "nightshot run makes one")
    return backup_sqlite(path, target)


def main(url: str, backup_dir: str) -> None:
    """Upgrade and tell on stdout, as JSON, what was done or why not: for `revision.upgrade_apart`."""
    try:
        print(json.dumps({"done": upgrade(url, Path(backup_dir))}))
    except NightshotError as error:
        print(json.dumps({"code": error.code, "message": error.message, "hint": error.hint}))


if __name__ == "__main__":
    main(*sys.argv[1:])
