"""`nightshot db`: who may upgrade when, and what a copy is."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from scheduler.home import Home, make_folders
from scheduler.locks import file_lock
from tests.cli.conftest import Command


def test_a_new_database_is_upgraded_once(nightshot: Command, home: Home) -> None:
    assert "schema none → " in nightshot("db", "upgrade").out
    assert nightshot("db", "upgrade").out == "Nothing to do: the database is of this version.\n"
    assert home.database.exists()


def test_nothing_is_upgraded_under_a_daemon(nightshot: Command, home: Home) -> None:
    make_folders(home)
    # A daemon holds this lock from before it listens until after it has stopped.
    with file_lock(home.lock, "the home"):
        done = nightshot("db", "upgrade")
    assert done.code == 75
    assert "is in use" in done.err
    assert not home.database.exists()


def test_a_copy_is_a_whole_database_and_overwrites_nothing(
    nightshot: Command, home: Home, tmp_path: Path
) -> None:
    nightshot("db", "upgrade")
    target = tmp_path / "copies" / "monday.db"
    assert nightshot("db", "backup", str(target), "-q").out == f"{target}\n"
    with sqlite3.connect(target) as copy:
        tables = {name for (name,) in copy.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    copy.close()
    assert {"jobs", "attempts", "results"} <= tables
    again = nightshot("db", "backup", str(target))
    assert (again.code, "exists already" in again.err) == (2, True)


def test_a_copy_without_a_name_lies_beside_the_state(nightshot: Command, home: Home) -> None:
    nightshot("db", "upgrade")
    written = Path(nightshot("db", "backup", "-q").out.strip())
    assert written.parent == home.state / "backups"
    assert written.is_file()
