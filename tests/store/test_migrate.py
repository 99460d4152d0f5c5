"""Upgrades lose no row, and the schema they lead to is the one in the code."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, create_engine, inspect, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from scheduler.errors import NightshotError, SchemaMismatch, TryAgain, Unreachable
from scheduler.store.migrate import (
    _config,
    backup,
    newest_revision,
    require_current,
    sqlite_path,
    upgrade,
)
from scheduler.store.open import open_store
from scheduler.store.schema import metadata
from tests.support.databases import Databases, Kind, run_alone

ROOT = Path(__file__).resolve().parents[2]
ROWS_0001: dict[str, list[dict[str, Any]]] = json.loads(
    (Path(__file__).parent / "rows_0001.json").read_text()
)


#: Later migrations added the others.
FIRST_TABLES = set(metadata.tables) - {"job_needs", "occurrences"}


def on_connection(url: str, work: Callable[[Connection], Any]) -> Any:
    """Run work in a transaction of its own on either database."""
    if url.startswith("sqlite"):
        engine = create_engine(url, poolclass=NullPool)
        with engine.begin() as connection:
            return work(connection)

    async def run() -> Any:
        engine = create_async_engine(url, poolclass=NullPool)
        try:
            async with engine.begin() as connection:
                return await connection.run_sync(work)
        finally:
            await engine.dispose()

    return run_alone(run())


def upgrade_to(url: str, revision: str) -> None:
    on_connection(url, lambda connection: command.upgrade(_config(connection), revision))


def insert_rows(connection: Connection) -> None:
    for table, rows in ROWS_0001.items():
        if table == "sequences":
            connection.execute(text("DELETE FROM sequences"))
        for row in rows:
            columns = ", ".join(f'"{name}"' for name in row)
            values = ", ".join(f":{name}" for name in row)
            connection.execute(text(f'INSERT INTO "{table}" ({columns}) VALUES ({values})'), row)


def rows_of(url: str) -> dict[str, list[str]]:
    """The rows of 0001's tables, only its columns, each as sorted text."""

    def read(connection: Connection) -> dict[str, list[str]]:
        found = {}
        for table, rows in ROWS_0001.items():
            columns = ", ".join(f'"{name}"' for name in rows[0])
            found[table] = sorted(
                repr([1 if v is True else 0 if v is False else v for v in row])
                for row in connection.execute(text(f'SELECT {columns} FROM "{table}"'))
            )
        return found

    return on_connection(url, read)


EXPECTED = {
    table: sorted(repr([1 if v is True else 0 if v is False else v for v in row.values()]) for row in rows)
    for table, rows in ROWS_0001.items()
}


# ------------------------------------------------------------------------------------------- the schema


def shape_of(connection: Connection) -> dict[str, Any]:
    """Everything the database says about its tables, in a form that can be compared."""
    inspector = inspect(connection)
    names = sorted(set(inspector.get_table_names()) - {"alembic_version"})
    shape: dict[str, Any] = {}
    for name in names:
        indexes = inspector.get_indexes(name)
        shape[name] = {
            "columns": {
                c["name"]: (str(c["type"]), c["nullable"], c["default"], c.get("autoincrement"))
                for c in inspector.get_columns(name)
            },
            "key": inspector.get_pk_constraint(name),
            "checks": sorted(
                (c["name"], " ".join(c["sqltext"].split())) for c in inspector.get_check_constraints(name)
            ),
            "uniques": sorted(
                (c["name"], tuple(c["column_names"])) for c in inspector.get_unique_constraints(name)
            ),
            "foreign": sorted(
                (
                    c["name"],
                    tuple(c["constrained_columns"]),
                    c["referred_table"],
                    tuple(c["referred_columns"]),
                )
                for c in inspector.get_foreign_keys(name)
            ),
            "indexes": sorted(
                (i["name"], tuple(map(str, i.get("expressions", i["column_names"]))), bool(i["unique"]))
                for i in indexes
            ),
        }
    return shape


def partial_clauses(connection: Connection) -> dict[str, str]:
    if connection.dialect.name == "sqlite":
        asked = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
    else:
        asked = "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'"
    return {name: " ".join(sql.split()) for name, sql in connection.execute(text(asked))}


@pytest.mark.filterwarnings("ignore:Skipped unsupported reflection of expression-based index")
def test_the_upgraded_schema_is_the_one_in_the_code(
    database_url: str, databases: Databases, database_kind: Kind, tmp_path: Path
) -> None:
    created = databases.make_empty(database_kind, tmp_path)
    on_connection(created, metadata.create_all)
    upgraded = on_connection(database_url, shape_of)
    assert set(upgraded) == set(metadata.tables)
    assert sum(len(table["checks"]) for table in upgraded.values()) > 10
    assert upgraded == on_connection(created, shape_of)
    clauses = on_connection(database_url, partial_clauses)
    clauses.pop("alembic_version_pkc", None)
    assert clauses == on_connection(created, partial_clauses)
    assert sum("WHERE" in clause for clause in clauses.values()) > 10


def test_alembic_finds_nothing_left_to_change(database_url: str) -> None:
    def difference(connection: Connection) -> list[Any]:
        return list(compare_metadata(MigrationContext.configure(connection), metadata))

    assert on_connection(database_url, difference) == []


# ------------------------------------------------------------------------------------------- upgrading


def test_an_empty_database_gets_the_newest_schema_and_then_nothing_more(
    empty_database_url: str, tmp_path: Path
) -> None:
    assert upgrade(empty_database_url, tmp_path / "backups") == [f"schema none → {newest_revision()}"]
    assert upgrade(empty_database_url, tmp_path / "backups") == []
    assert not (tmp_path / "backups").exists(), "there was nothing to back up"


def test_rows_of_the_first_schema_survive_the_upgrade_to_the_newest(
    empty_database_url: str, tmp_path: Path
) -> None:
    upgrade_to(empty_database_url, "0001")
    on_connection(empty_database_url, insert_rows)
    said = upgrade(empty_database_url, tmp_path / "backups")
    changes = newest_revision() != "0001"
    assert bool(said) == changes
    assert (tmp_path / "backups").exists() == (changes and sqlite_path(empty_database_url) is not None)
    assert rows_of(empty_database_url) == EXPECTED
    assert set(ROWS_0001) == FIRST_TABLES, "no table of the first schema is without a row"

    async def jobs() -> int:
        store = open_store(empty_database_url)
        try:
            listed = await store.read(
                lambda tx: tx.list_jobs(state=None, backend=None, batch=None, after=None, limit=1000)
            )
            return len(listed)
        finally:
            await store.close()

    assert run_alone(jobs()) == len(ROWS_0001["jobs"])


def test_two_upgraders_of_one_database_do_it_once(tmp_path: Path, databases: Databases) -> None:
    url = databases.make_empty("postgresql", tmp_path)
    with ThreadPoolExecutor(4) as pool:
        said = list(pool.map(lambda _: upgrade(url, tmp_path), range(4)))
    assert sorted(said) == [[], [], [], [f"schema none → {newest_revision()}"]]


# --------------------------------------------------------------------------- a program one schema further

NEXT = """
import sqlalchemy as sa
from alembic import op
revision = "9999"
down_revision = "{newest}"
def upgrade():
    {body}
"""
REBUILD = """with op.batch_alter_table("jobs", recreate="auto") as jobs:
        jobs.add_column(sa.Column("further_us", sa.BigInteger()))
        jobs.alter_column("name", type_=sa.String(400))
    with op.batch_alter_table("batches") as batches:
        batches.drop_constraint(op.f("ck_batches_not_empty"), type_="check")
        batches.create_check_constraint(op.f("ck_batches_not_empty"), "size >= 1")"""
LOSE = 'op.execute("DELETE FROM job_events")'
BREAK = 'op.execute("UPDATE parts SET job_id = 4711 WHERE job_id = 1")'
RAISE = 'op.add_column("jobs", sa.Column("half", sa.Integer()))\n    raise OSError("the power went")'
UPGRADE = """
import sys, pathlib
from scheduler.errors import NightshotError
from scheduler.store.migrate import upgrade
try:
    print(upgrade(sys.argv[1], pathlib.Path(sys.argv[2])))
except NightshotError as error:
    print(type(error).__name__, error)
"""


def further_program(folder: Path, body: str) -> Callable[[str, Path], str]:
    """A copy of this program with one more migration, run as a process of its own."""
    program = folder / "program"
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "scheduler", program / "scheduler", ignore=ignore)
    shutil.copytree(ROOT / "migrations", program / "migrations", ignore=ignore)
    further = NEXT.format(newest=newest_revision(), body=body)
    (program / "migrations" / "versions" / "9999_next.py").write_text(further)

    def run(url: str, backups: Path) -> str:
        arguments = [sys.executable, "-c", UPGRADE, url, str(backups)]
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        done = subprocess.run(
            arguments, cwd=program, env=environment, capture_output=True, text=True, timeout=120, check=True
        )
        return done.stdout

    return run


def test_an_upgrade_that_rebuilds_tables_keeps_every_row(empty_database_url: str, tmp_path: Path) -> None:
    url = empty_database_url
    upgrade_to(url, newest_revision())
    on_connection(url, insert_rows)
    said = further_program(tmp_path, REBUILD)(url, tmp_path / "backups")
    assert f"schema {newest_revision()} → 9999" in said
    assert rows_of(url) == EXPECTED
    columns = on_connection(url, lambda c: {column["name"] for column in inspect(c).get_columns("jobs")})
    assert "deadline_us" in columns
    if sqlite_path(url) is not None:
        (kept,) = (tmp_path / "backups").iterdir()
        assert str(kept) in said
        assert rows_of(f"sqlite:///{kept}") == EXPECTED, "the backup is from before, and whole"
        assert upgrade(f"sqlite:///{kept}", tmp_path / "other") == []

    for refuse in (lambda: upgrade(url, tmp_path / "other"), lambda: require_current_of(url)):
        with pytest.raises(SchemaMismatch, match="newer"):
            refuse()
    assert rows_of(url) == EXPECTED
    assert not (tmp_path / "other").exists()


def require_current_of(url: str) -> None:
    if sqlite_path(url) is None:
        require_current(url)
    else:
        upgrade(url, Path("never used"))


@pytest.mark.parametrize(
    ("body", "told"), [(LOSE, "would have lost rows"), (RAISE, "the power went"), (BREAK, "reference")]
)
def test_an_upgrade_that_would_lose_something_changes_nothing(
    empty_database_url: str, tmp_path: Path, body: str, told: str
) -> None:
    url = empty_database_url
    upgrade_to(url, newest_revision())
    on_connection(url, insert_rows)
    said = further_program(tmp_path, body)(url, tmp_path / "backups")
    if body is BREAK and sqlite_path(url) is None:
        assert "foreign key" in said, "PostgreSQL refuses the statement itself"
    else:
        assert told in said
    assert rows_of(url) == EXPECTED
    assert upgrade(url, tmp_path / "backups") == [], "the database still has the schema it had"


# ------------------------------------------------------------------------------------- what is refused


def test_a_database_without_a_schema_is_not_run_on(tmp_path: Path, databases: Databases) -> None:
    url = databases.make_empty("postgresql", tmp_path)
    with pytest.raises(SchemaMismatch, match="nightshot db upgrade"):
        require_current(url)
    upgrade(url, tmp_path)
    require_current(url)


@pytest.mark.parametrize("ask", [upgrade, lambda url, _: require_current(url)])
def test_a_server_that_is_away_is_said_so(tmp_path: Path, ask: Callable[[str, Path], object]) -> None:
    with pytest.raises(Unreachable, match=r"store\.url"):
        ask("postgresql+asyncpg://postgres@/nightshot?host=/nowhere/at/all", tmp_path)


def test_a_database_that_does_not_exist_is_said_so(tmp_path: Path, databases: Databases) -> None:
    url = databases.make_empty("postgresql", tmp_path).replace("/test_", "/no_such_database_")
    for ask in (lambda: upgrade(url, tmp_path), lambda: require_current(url)):
        with pytest.raises(Unreachable, match=r"store\.url"):
            ask()


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    path.write_bytes(b"these are my notes, not a database" * 200)
    with pytest.raises(NightshotError):
        upgrade(f"sqlite:///{path}", tmp_path)
    assert path.read_bytes() == b"these are my notes, not a database" * 200


def test_a_folder_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="cannot be opened"):
        upgrade(f"sqlite:///{tmp_path / 'no' / 'such' / 'x.db'}", tmp_path)


@pytest.mark.slow  # sqlite3 itself waits five seconds for the file
def test_a_busy_file_may_be_tried_again(tmp_path: Path, databases: Databases) -> None:
    url = databases.make("sqlite", tmp_path)
    path = sqlite_path(url)
    assert path is not None
    # An exclusive lock on a file that is not in WAL mode yet is met at the very first pragma.
    other = create_engine(url, poolclass=NullPool, connect_args={"isolation_level": None})
    with other.connect() as connection:
        connection.exec_driver_sql("PRAGMA journal_mode = DELETE")
        connection.exec_driver_sql("BEGIN EXCLUSIVE")
        with pytest.raises(TryAgain, match="busy"):
            upgrade(url, tmp_path)
        connection.exec_driver_sql("ROLLBACK")
    assert upgrade(url, tmp_path) == []


# --------------------------------------------------------------------------------------------- backups


def test_a_backup_of_a_live_database_is_whole_and_overwrites_nothing(
    tmp_path: Path, databases: Databases
) -> None:
    url = databases.make("sqlite", tmp_path)
    on_connection(url, insert_rows)
    first = backup(url, tmp_path / "kept" / "copy.db")
    second = backup(url, tmp_path / "kept" / "copy.db")
    assert first != second
    for copy in (first, second):
        assert rows_of(f"sqlite:///{copy}") == EXPECTED


def test_a_backup_of_nothing_makes_no_file(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="no database"):
        backup(f"sqlite:///{tmp_path / 'x.db'}", tmp_path / "copy.db")
    assert list(tmp_path.iterdir()) == []


def test_postgresql_is_backed_up_by_its_own_tool() -> None:
    with pytest.raises(SchemaMismatch, match="pg_dump"):
        backup("postgresql+asyncpg://ada@/x", Path("copy.db"))
