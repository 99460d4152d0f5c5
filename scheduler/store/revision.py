"""Which schema a SQLite database has, told and changed without loading Alembic into the process that asks.

Alembic and its templates take 8 MB, and a daemon needs them once in many months.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from scheduler.errors import NightshotError, SchemaMismatch, TryAgain, Unreachable

_PACKAGE = Path(__file__).resolve().parent.parent
_KINDS: dict[str, type[NightshotError]] = {
    kind.code: kind for kind in (SchemaMismatch, TryAgain, Unreachable, NightshotError)
}


def sqlite_path(url: str) -> Path | None:
    """The file of a `sqlite:///…` URL, or None for any other database."""
    prefix, found, path = url.partition(":///")
    return Path(path) if found and prefix.startswith("sqlite") else None


def migrations_dir() -> Path:
    """The migrations beside this checkout, or inside the installed wheel."""
    shipped = _PACKAGE / "_migrations"
    return shipped if shipped.is_dir() else _PACKAGE.parent / "migrations"


def newest_by_name() -> str:
    """The newest revision, from the files' names: `0002_what_it_does.py` makes revision `0002`."""
    names = [path.name for path in (migrations_dir() / "versions").glob("[0-9]*_*.py")]
    return max(names, default="").partition("_")[0]


def is_current(path: Path) -> bool:
    """True when the database at `path` has this program's schema; False when in any doubt. Blocks."""
    if not path.is_file():
        return False  # connecting would make it
    try:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            found = connection.execute("SELECT version_num FROM alembic_version").fetchall()
    except sqlite3.Error:
        return False
    return found == [(newest_by_name(),)]


def upgrade_apart(url: str, backup_dir: Path) -> list[str]:
    """Do `migrate.upgrade` of a SQLite database in a process of its own: the same sentences and errors."""
    command = [sys.executable, "-m", "scheduler.store.migrate", url, str(backup_dir)]
    # This very package, wherever the command was started.
    environment = {**os.environ, "PYTHONPATH": str(_PACKAGE.parent)}
    ended = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment, check=False
    )
    try:
        told = json.loads(ended.stdout)
    except ValueError:
        last = ended.stderr.strip().splitlines()[-1:]
        raise NightshotError(
            f"the upgrade of the database ended with code {ended.returncode}: {last}"
        ) from None
    if "code" in told:
        raise _KINDS.get(told["code"], NightshotError)(told["message"], told["hint"])
    return [str(sentence) for sentence in told["done"]]
