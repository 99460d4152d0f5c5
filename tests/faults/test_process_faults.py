"""What may happen to process, disk and database: real daemons, killed, stopped, copied, restored."""

from __future__ import annotations

import json
import shutil
import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import coda_server as coda
from tests.support.coda_account import TOKEN
from tests.support.coda_server import CodaServer, Fault
from tests.support.coda_thread import coda_in_thread
from tests.support.daemon import Daemon
from tests.support.disk import fill, small_disk
from tests.support.spool import qasm

BUSY = 75


def config(server: CodaServer, more: str = "") -> str:
    return f"""\
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


@pytest.fixture
def server() -> Iterator[CodaServer]:
    with coda_in_thread(token=TOKEN) as running:
        yield running


def daemon_in(folder: Path, server: CodaServer, more: str = "") -> Daemon:
    return Daemon(folder, config=config(server, more), environ={"CODA_API_TOKEN": TOKEN})


def start_armed(daemon: Daemon) -> None:
    daemon.start()
    daemon.call("arm", night="50.00", reason="a test")


def drop(daemon: Daemon, number: int = 1) -> None:
    daemon.drop(f"paid{number}.qasm", qasm(number, backend='"coda:iqm"', shots=100))


def rows(database: Path, sql: str) -> list[tuple[Any, ...]]:
    with sqlite3.connect(database) as books:
        found = books.execute(sql).fetchall()
    books.close()
    return found


def results(daemon: Daemon) -> list[dict[str, Any]]:
    return [json.loads((folder / "results.json").read_text()) for folder in daemon.result_folders()]


def test_fault_09_power_cut_after_the_intent(tmp_path: Path, server: CodaServer) -> None:
    """The disk as it is with the request on its way; nothing that was only in memory is there any more."""
    server.next_submits.append(coda.HANG_BILLED)
    first, second = tmp_path / "first", tmp_path / "second"
    daemon = daemon_in(first, server)
    try:
        start_armed(daemon)
        drop(daemon)
        daemon.until(lambda: server.posts == 1, "the request is on its way")
        daemon.process.send_signal(signal.SIGSTOP)
        shutil.copytree(first, second, ignore=shutil.ignore_patterns("*.sock", "*-shm", "lock"))
    finally:
        daemon.kill()
    with daemon_in(second, server) as again:
        again.until(lambda: again.states() == {"in_doubt": 1}, "the job is in doubt")
        assert "the daemon stopped after the intent was written" in again.needs()
        assert again.status()["night"]["in_doubt_usd"] == "1.30"
        assert (server.posts, len(server.bills)) == (1, 1), "it was not sent again"
        # Nothing is lost: with the provider's id, the result comes.
        job_id = server.bills[0].job_id
        again.call("resolve", job="1", **{"as": "accepted"}, provider_job_id=job_id, reason="it is listed")
        again.until(lambda: again.states() == {"completed": 1}, "its result is here")
    assert len(server.bills) == 1


def test_fault_10_disk_full_between_reply_and_commit(tmp_path: Path, server: CodaServer) -> None:
    """The reply gets to its file, whose room was taken before; the database hears of it after a crash."""
    server.next_submits.append(Fault(proper=True, then="keep", delay_s=2.0))
    with small_disk(tmp_path / "disk", "48m") as disk:
        daemon = daemon_in(disk / "home", server)
        daemon._log_path = tmp_path / "daemon.log"
        try:
            start_armed(daemon)
            drop(daemon)
            daemon.until(lambda: server.posts == 1, "the request is on its way")
            ballast = fill(disk)
            daemon.until(lambda: daemon.times_logged(" not written yet") > 0, "the store is full")
            daemon.kill()
            ballast.unlink()
            daemon.start()
            daemon.until(lambda: daemon.states() == {"completed": 1}, "the job is completed")
            assert "its reply file" in daemon.log
        finally:
            daemon.kill()
    assert (server.posts, len(server.bills)) == (1, 1)


def test_fault_12_two_daemons_one_queue(tmp_path: Path, server: CodaServer) -> None:
    first = daemon_in(tmp_path / "first", server)
    try:
        start_armed(first)
        shared = f'[store]\nurl = "sqlite:///{first.home.database}"'
        beside = daemon_in(tmp_path / "first", server)
        elsewhere = daemon_in(tmp_path / "second", server, shared)
        for other in (beside, elsewhere):
            other._log_path = tmp_path / "other.log"
            assert other.launch().process.wait(60) == BUSY
            assert "is in use" in other.log
        drop(first)
        first.until(lambda: first.states() == {"completed": 1}, "the first goes on")
    finally:
        first.kill()
    assert (server.posts, len(server.bills)) == (1, 1)


def test_fault_18_database_restored_from_a_backup(tmp_path: Path, server: CodaServer) -> None:
    """What the restored database forgot was paid: nothing more is, before a person has compared."""
    daemon, backup = daemon_in(tmp_path / "home", server), tmp_path / "backup.db"
    database = daemon.home.database
    try:
        start_armed(daemon)
        drop(daemon, 1)
        daemon.until(lambda: daemon.states() == {"completed": 1}, "the first job is paid")
        assert daemon.stop() == 0
        shutil.copyfile(database, backup)
        daemon.start()
        drop(daemon, 2)
        daemon.until(lambda: daemon.states() == {"completed": 2}, "the second job is paid")
        assert daemon.stop() == 0
        assert len(server.bills) == 2

        shutil.copyfile(backup, database)
        for suffix in ("-wal", "-shm"):
            database.with_name(database.name + suffix).unlink(missing_ok=True)
        daemon.start()
        drop(daemon, 3)
        daemon.until(lambda: daemon.states() == {"completed": 1, "waiting": 1}, "a job waits")
        daemon.until(lambda: "journal" in daemon.needs(), "it is said")
        assert "it was restored from a backup" in daemon.needs()
        # Free work goes on meanwhile, and a further start changes nothing.
        daemon.drop("free.qasm", qasm(4))
        daemon.until(lambda: daemon.states() == {"completed": 2, "waiting": 1}, "free work goes on")
        daemon.kill()
        daemon.start()
        assert "it was restored from a backup" in daemon.needs()
        assert len(server.bills) == 2

        with pytest.raises(Exception, match="reason"):
            daemon.call("backends_resume", backend="coda", reason="")
        daemon.call("backends_resume", backend="coda", gate="journal", reason="compared with the invoice")
        daemon.until(lambda: daemon.states() == {"completed": 3}, "and then it goes on")
        assert daemon.stop() == 0
    finally:
        daemon.kill()
    assert (server.posts, len(server.bills)) == (3, 3)
    assert len(results(daemon)) == 4, "and what was forgotten still has its result"
