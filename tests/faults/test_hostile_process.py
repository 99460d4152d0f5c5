"""Whoever may touch the home or the database, and means no harm or does: nothing is paid twice."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from scheduler.store.postgres import DAEMON_LOCK
from tests.support.coda_account import TOKEN
from tests.support.coda_server import CodaServer
from tests.support.coda_thread import coda_in_thread
from tests.support.daemon import Daemon
from tests.support.databases import Databases
from tests.support.spool import qasm

BUSY = 75
#: The daemon's lock, held and waited for.
LOCKS = (
    "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND database ="
    " (SELECT oid FROM pg_database WHERE datname = current_database()) AND granted = {}"
)


@pytest.fixture
def server() -> Iterator[CodaServer]:
    with coda_in_thread(token=TOKEN) as running:
        yield running


def daemon_in(folder: Path, server: CodaServer, more: str = "") -> Daemon:
    settings = f"""\
{more}
[spool]
scan_interval_s = 0.3
quiet_s = 0.2
[providers.coda]
kind = "coda"
base_url = "{server.base_url}"
[poll]
min_interval_s = 0.1
max_interval_s = 0.5
"""
    return Daemon(folder, config=settings, environ={"CODA_API_TOKEN": TOKEN})


def pay_for(daemon: Daemon, number: int) -> None:
    daemon.drop(f"paid{number}.qasm", qasm(number, backend='"coda:iqm"', shots=100))


@pytest.mark.parametrize("running", [True, False], ids=["under a running daemon", "between two"])
def test_a_journal_put_back_from_a_copy_pays_for_nothing(
    tmp_path: Path, server: CodaServer, running: bool
) -> None:
    daemon = daemon_in(tmp_path / "home", server)
    journal, copy = daemon.home.journal, tmp_path / "copy"
    try:
        daemon.start()
        daemon.call("arm", night="50.00", reason="a test")
        pay_for(daemon, 1)
        daemon.until(lambda: daemon.states() == {"completed": 1}, "the first job is paid")
        shutil.copytree(journal, copy)
        pay_for(daemon, 2)
        daemon.until(lambda: daemon.states() == {"completed": 2}, "the second job is paid")
        if not running:
            daemon.kill()
        shutil.rmtree(journal)
        shutil.copytree(copy, journal)
        if not running:
            daemon.start()
        pay_for(daemon, 3)
        daemon.until(lambda: daemon.states() == {"completed": 2, "waiting": 1}, "the third job waits")
        if running:
            daemon.until(
                lambda: "changed by somebody else" in str(daemon.call("show", job="3")), "it is said"
            )
            daemon.kill()
            daemon.start()
        daemon.until(lambda: "it was restored from a backup" in daemon.needs(), "the start has compared")
        assert (server.posts, len(server.bills)) == (2, 2)
        daemon.call("backends_resume", backend="coda", gate="journal", reason="compared with the invoice")
        daemon.until(lambda: daemon.states() == {"completed": 3}, "and then it goes on")
    finally:
        daemon.kill()
    assert (server.posts, len(server.bills)) == (3, 3)


async def test_a_daemon_whose_database_another_one_took_stops_with_a_sentence(
    tmp_path: Path, server: CodaServer, databases: Databases
) -> None:
    """The connection that held PostgreSQL's lock dies, and somebody stood in line for it."""
    url = await asyncio.to_thread(databases.make, "postgresql", tmp_path)
    daemon = daemon_in(tmp_path / "home", server, f'[store]\nurl = "{url}"')
    engine = create_async_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    try:
        await asyncio.to_thread(daemon.start)
        async with engine.connect() as next_in_line, engine.connect() as killer, asyncio.timeout(60):
            taking = text(f"SELECT pg_advisory_lock({DAEMON_LOCK})")
            waiting = asyncio.create_task(next_in_line.execute(taking))
            while True:
                if (await killer.execute(text(LOCKS.format("false")))).first() is not None:
                    break
                await asyncio.sleep(0.02)
            pid = (await killer.execute(text(LOCKS.format("true")))).scalar_one()
            await killer.execute(text(f"SELECT pg_terminate_backend({pid})"))
            await waiting
            assert await asyncio.to_thread(daemon.process.wait, 50) == BUSY
    finally:
        daemon.kill()
        await engine.dispose()
    assert "the database is in use by another nightshot daemon" in daemon.log
