"""Databases for every test that wants one, and no test that is skipped without being on the list."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from scheduler.store.engine import SqliteStore
from scheduler.store.open import open_store
from scheduler.store.postgres import PostgresStore
from tests.support.databases import Databases, Kind
from tests.support.skips import ALLOWED_SKIPS, unlisted_skips

# The hundreds of processes that tests start need not compile the program each anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


@pytest.fixture(scope="session")
def databases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Databases]:
    """Makes databases on request; the PostgreSQL server starts with the first one that needs it."""
    with Databases(tmp_path_factory.mktemp("databases")) as databases:
        yield databases


@pytest.fixture(params=["sqlite", "postgresql"])
def database_kind(request: pytest.FixtureRequest) -> Kind:
    kind: Kind = request.param
    return kind


@pytest.fixture
def empty_database_url(databases: Databases, database_kind: Kind, tmp_path: Path) -> str:
    """The URL of a new database without a single table."""
    return databases.make_empty(database_kind, tmp_path)


@pytest.fixture
def database_url(databases: Databases, database_kind: Kind, tmp_path: Path) -> str:
    """The URL of a new database with this program's schema and nothing in it."""
    return databases.make(database_kind, tmp_path)


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[SqliteStore | PostgresStore]:
    opened = open_store(database_url)
    yield opened
    await opened.close()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--nights", type=int, default=200, help="how many simulated nights to live through")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """What `-n auto` means: one more than there are cores, since many a test waits for something."""
    return len(os.sched_getaffinity(0)) + 1


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A test that was skipped did not pass: without a line on the list the run fails."""
    terminal = session.config.pluginmanager.get_plugin("terminalreporter")
    if terminal is None:
        return  # a worker of pytest-xdist: the one that started it looks at all reports
    allowed = ALLOWED_SKIPS.read_text().splitlines()
    found = unlisted_skips(terminal.stats.get("skipped", []), allowed)
    for line in found:
        terminal.write_line(f"skipped without being on {ALLOWED_SKIPS.name}: {line}", red=True)
    if found and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
