"""Which schema a database has is told without Alembic, and never differently from Alembic."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from scheduler.errors import SchemaMismatch, Unreachable
from scheduler.store.migrate import newest_revision
from scheduler.store.revision import is_current, newest_by_name, upgrade_apart


def test_the_newest_file_name_is_the_newest_revision() -> None:
    assert newest_by_name() == newest_revision()


def test_an_upgrade_apart_makes_a_current_database(tmp_path: Path) -> None:
    path = tmp_path / "new.db"
    assert not is_current(path)
    assert not path.exists(), "asking makes nothing"
    assert upgrade_apart(f"sqlite:///{path}", tmp_path) == [f"schema none → {newest_by_name()}"]
    assert is_current(path)
    assert upgrade_apart(f"sqlite:///{path}", tmp_path) == []


def _set_revision(path: Path, revision: str) -> None:
    upgrade_apart(f"sqlite:///{path}", path.parent)
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))
    connection.close()


@pytest.mark.parametrize(
    "make",
    [
        lambda path: path.touch(),
        lambda path: path.write_bytes(b"this is no database" * 100),
        lambda path: path.mkdir(),
        lambda path: _set_revision(path, "9999"),
    ],
    ids=["empty", "garbage", "a folder", "newer"],
)
def test_what_is_in_doubt_is_not_current(tmp_path: Path, make: Callable[[Path], None]) -> None:
    path = tmp_path / "some.db"
    make(path)
    assert not is_current(path)


def test_an_upgrade_apart_refuses_in_the_same_words(tmp_path: Path) -> None:
    path = tmp_path / "newer.db"
    _set_revision(path, "9999")
    with pytest.raises(
        SchemaMismatch, match="9999, which this version of nightshot does not know"
    ) as refused:
        upgrade_apart(f"sqlite:///{path}", tmp_path)
    assert "restore the backup" in refused.value.hint
    with pytest.raises(Unreachable, match="cannot be opened"):
        upgrade_apart(f"sqlite:///{tmp_path / 'no' / 'such' / 'folder.db'}", tmp_path)


@pytest.mark.parametrize("module", ["alembic", "mako", "sqlalchemy.ext.asyncio", "ruamel.yaml", "qiskit"])
def test_a_daemon_on_sqlite_never_loads_what_it_does_not_use(module: str) -> None:
    ask = f"import sys, scheduler.daemon; sys.exit({module!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", ask], check=False).returncode == 0
