"""Fresh homes to measure in: real folders, real settings, a real database with the migrations' schema."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scheduler.composition import Place, build_kit, resolve_place
from scheduler.home import CONFIG_NAME, Home, make_folders
from scheduler.ports import Kit, Provider
from scheduler.settings import load_settings
from scheduler.store.engine import SqliteStore
from scheduler.store.migrate import upgrade

#: Tables that taking in a job fills, in the order their references allow.
INTAKE_TABLES = ("batches", "circuits", "jobs", "parts", "job_events")


def say_nothing(_event: str, **_facts: Any) -> None:
    """A log for what is measured without its log."""


@dataclass(frozen=True, slots=True)
class Workshop:
    """A folder on the disk to be measured, and a database template, so that no run pays for migrations."""

    folder: Path
    template: Path

    @classmethod
    def open(cls, folder: Path) -> Workshop:
        folder.mkdir(parents=True, exist_ok=True)
        template = folder / "template.db"
        template.unlink(missing_ok=True)
        upgrade(f"sqlite:///{template}", folder / "backups")
        connection = sqlite3.connect(template)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
        return cls(folder, template)

    def home(self, name: str, configuration: str = "", environ: Mapping[str, str] | None = None) -> Place:
        """A new home of this name, in place of the last one."""
        root = self.folder / name
        shutil.rmtree(root, ignore_errors=True)
        home = Home(root, config_candidates=(root / CONFIG_NAME,))
        make_folders(home)
        (root / CONFIG_NAME).write_text(configuration)
        shutil.copyfile(self.template, home.database)
        # Nobody else's dirty pages shall be written out within our first sync.
        os.sync()
        return resolve_place(home, load_settings(home, None, environ or {}))

    def database(self, name: str) -> sqlite3.Connection:
        """A new database with the same schema and pragmas as the store's, opened without any of its code."""
        path = self.folder / name
        for suffix in ("", "-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        shutil.copyfile(self.template, path)
        os.sync()
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")
        return connection


def kit_of(
    place: Place,
    store: SqliteStore,
    providers: Mapping[str, Provider] | None = None,
    wake: Callable[[str], None] = lambda _stage: None,
) -> Kit:
    return build_kit(place.loaded.settings, store, providers or {}, wake, say_nothing)


@dataclass(frozen=True, slots=True)
class Rows:
    """Whole rows of one table, and the statement that puts them back."""

    table: str
    statement: str
    rows: list[tuple[Any, ...]]


def rows_in(database: Path, tables: Sequence[str] = INTAKE_TABLES) -> list[Rows]:
    """Read back what the program wrote, so that its floor writes exactly the same."""
    connection = sqlite3.connect(database)
    found = []
    for name in tables:
        cursor = connection.execute(f'SELECT * FROM "{name}" ORDER BY rowid')
        columns = ", ".join(f'"{column[0]}"' for column in cursor.description)
        marks = ", ".join("?" * len(cursor.description))
        found.append(Rows(name, f'INSERT INTO "{name}" ({columns}) VALUES ({marks})', cursor.fetchall()))
    connection.close()
    return found
