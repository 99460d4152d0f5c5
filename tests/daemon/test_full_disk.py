"""The disk fills up before a paid request, between it and its reply, and after: no answer is ever lost."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.coda_server import CodaServer, Fault
from tests.support.coda_thread import coda_in_thread
from tests.support.daemon import Daemon
from tests.support.disk import fill, small_disk
from tests.support.spool import qasm

CONFIG = """\
[spool]
scan_interval_s = 0.3
quiet_s = 0.3
[poll]
min_interval_s = 0.2
max_interval_s = 0.5
[providers.coda]
kind = "coda"
base_url = "{url}"
"""
SLOWLY = Fault(proper=True, then="keep", delay_s=3.0)


@contextmanager
def armed_daemon(folder: Path) -> Iterator[tuple[Daemon, CodaServer, Path]]:
    """A daemon on a small disk, armed for tonight, and the Coda it pays."""
    with coda_in_thread() as coda, small_disk(folder, "48m") as disk:
        daemon = Daemon(
            disk / "home",
            config=CONFIG.format(url=coda.base_url),
            environ={"CODA_API_TOKEN": "coda_canary_5f1e77"},
        )
        # Beside the small disk, or nobody would learn what happened on it.
        daemon._log_path = folder.parent / "daemon.log"
        with daemon:
            arm(daemon)
            yield daemon, coda, disk


def arm(daemon: Daemon) -> None:
    armed = daemon.ask("arm", "--night", "50.00")
    assert armed.returncode == 0, armed.stderr


def drop_paid(daemon: Daemon) -> None:
    daemon.drop("paid.qasm", qasm(1, backend='"coda:iqm"', shots=100))


def attempts(daemon: Daemon) -> list[dict[str, object]]:
    found = daemon.call("show", job="1")["attempts"]
    assert isinstance(found, list)
    return found


def assert_paid_once_and_kept(daemon: Daemon, coda: CodaServer) -> None:
    daemon.until(lambda: daemon.states() == {"completed": 1}, "the job is completed")
    daemon.until(daemon.result_folders, "its result is written")
    assert coda.posts == 1
    assert len(coda.bills) == 1
    (attempt,) = attempts(daemon)
    assert attempt["provider_job_id"] == coda.bills[0].job_id
    (folder,) = daemon.written_folders(1)
    assert json.loads((folder / "results.json").read_text())["counts"] == [{"11": 52, "00": 48}]


def test_nothing_paid_is_sent_while_there_is_no_room_for_its_reply(tmp_path: Path) -> None:
    with armed_daemon(tmp_path / "disk") as (daemon, coda, disk):
        ballast = fill(disk, 256 * 1024)
        drop_paid(daemon)
        daemon.until(lambda: "disk are free" in daemon.needs(), "it is said")
        assert coda.posts == 0
        ballast.unlink()
        assert_paid_once_and_kept(daemon, coda)


def test_a_disk_that_fills_up_before_the_reply_loses_it_not(tmp_path: Path) -> None:
    with armed_daemon(tmp_path / "disk") as (daemon, coda, disk):
        coda.next_submits.append(SLOWLY)
        drop_paid(daemon)
        daemon.until(lambda: coda.posts == 1, "the request is on its way")
        ballast = fill(disk)
        daemon.until(lambda: daemon.times_logged(" not written yet") > 0, "the store is full")
        assert daemon.lives()
        assert daemon.cpu_share() < 0.3
        ballast.unlink()
        assert_paid_once_and_kept(daemon, coda)
        assert daemon.status()["counts"].get("in_doubt", 0) == 0


def test_a_kill_on_the_full_disk_loses_it_neither(tmp_path: Path) -> None:
    """Only the reply file knows the answer: the store was full until the process died."""
    with armed_daemon(tmp_path / "disk") as (daemon, coda, disk):
        coda.next_submits.append(SLOWLY)
        drop_paid(daemon)
        daemon.until(lambda: coda.posts == 1, "the request is on its way")
        ballast = fill(disk)
        daemon.until(lambda: daemon.times_logged(" not written yet") > 0, "the store is full")
        daemon.kill()
        daemon.launch()
        daemon.until(
            lambda: daemon.process.poll() is not None or daemon.answers(), "it starts or says why not"
        )
        if daemon.process.poll() is not None:
            assert daemon.process.returncode in (69, 75)
        assert "Traceback" not in daemon.log
        daemon.kill()
        ballast.unlink()
        daemon.start()
        assert "its reply file" in daemon.log
        assert_paid_once_and_kept(daemon, coda)


def test_a_stop_on_the_full_disk_is_a_clean_one(tmp_path: Path) -> None:
    with armed_daemon(tmp_path / "disk") as (daemon, coda, disk):
        coda.next_submits.append(SLOWLY)
        settings = daemon.home.root / "nightshot.toml"
        settings.write_text(settings.read_text() + "[drain]\ntimeout_s = 1\n")
        daemon.stop()
        daemon.start()
        drop_paid(daemon)
        daemon.until(lambda: coda.posts == 1, "the request is on its way")
        ballast = fill(disk)
        daemon.until(lambda: daemon.times_logged(" not written yet") > 0, "the store is full")
        assert daemon.stop() == 0, daemon.log
        assert "Traceback" not in daemon.log
        ballast.unlink()
        daemon.start()
        assert_paid_once_and_kept(daemon, coda)


def test_results_that_cannot_be_written_are_written_later(tmp_path: Path) -> None:
    with armed_daemon(tmp_path / "disk") as (daemon, coda, _disk):
        daemon.home.results.rmdir()
        daemon.home.results.write_text("in the way")
        drop_paid(daemon)
        daemon.until(lambda: "the results of job 1 cannot be written yet" in daemon.needs(), "it is said")
        assert daemon.cpu_share() < 0.2
        daemon.home.results.unlink()
        daemon.home.results.mkdir()
        assert_paid_once_and_kept(daemon, coda)
        daemon.until(lambda: daemon.needs() == "", "nothing is said any more")
