"""One daemon a home and a database; it starts on what a dead one left, ends when asked, and idles truly."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from scheduler.home import socket_address
from tests.support.daemon import PATIENCE_S, Daemon
from tests.support.spool import qasm

DISABLED = '[backends."local:simulator"]\nenabled = false\n'
PAID = """\
[providers.coda]
kind = "coda"
base_url = "http://127.0.0.1:9/v0/coda"
"""


def test_a_second_daemon_on_one_home_is_refused_by_name(tmp_path: Path) -> None:
    with Daemon(tmp_path / "home") as first:
        second = first.ask("run")
        assert second.returncode == 75
        assert f"the home {first.home.root} is in use by process {first.pid}" in second.stderr
        assert "a second daemon there would act on the same jobs" in second.stderr
        assert "Traceback" not in second.stderr
        assert first.lives()


@pytest.mark.parametrize("way", ["the same path", "a link to the file", "a link to the folder"])
def test_two_homes_on_one_database_are_refused(tmp_path: Path, way: str) -> None:
    database = tmp_path / "shared" / "night.db"
    database.parent.mkdir()
    other = database
    if way == "a link to the file":
        other = tmp_path / "link.db"
        other.symlink_to(database)
    if way == "a link to the folder":
        (tmp_path / "way").symlink_to(database.parent)
        other = tmp_path / "way" / "night.db"
    with Daemon(tmp_path / "one", config=f'[store]\nurl = "sqlite:///{database}"\n') as first:
        second = Daemon(tmp_path / "two", config=f'[store]\nurl = "sqlite:///{other}"\n')
        refused = second.ask("run")
        assert refused.returncode == 75
        assert f"is in use by process {first.pid}" in refused.stderr
        assert first.lives()


def test_a_command_beside_the_daemon_takes_no_lock(tmp_path: Path) -> None:
    with Daemon(tmp_path / "home") as daemon:
        asked = daemon.ask("status", "--json")
        assert asked.returncode == 0, asked.stderr
        assert f'"pid": {daemon.pid}' in asked.stdout


def test_it_starts_on_the_socket_and_lock_of_a_dead_one(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path / "home")
    for _ in range(3):
        daemon.start()
        assert daemon.status()["pid"] == daemon.pid
        daemon.kill()
        assert daemon.home.socket.exists(), "a killed daemon cannot clean up"
    assert daemon.ask("status", "--json").returncode == 0, "without a daemon the command answers itself"


@pytest.mark.parametrize("length", [100, 108, 109, 250])
def test_a_home_of_any_path_length_works(tmp_path: Path, length: int) -> None:
    root = tmp_path / ("h" * max(1, length - len(str(tmp_path)) - len("/state/nightshot.sock") - 1))
    with Daemon(root) as daemon:
        daemon.drop("a.qasm", qasm(1))
        daemon.until(lambda: daemon.states() == {"completed": 1}, "the job is completed")
        asked = daemon.ask("jobs", "--json")
        assert asked.returncode == 0, asked.stderr
        assert daemon.stop() == 0
        assert not daemon.home.socket.exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_when_asked_and_goes_on_after_the_next_start(tmp_path: Path, number: int) -> None:
    with Daemon(tmp_path / "home") as daemon:
        for job in range(30):
            daemon.drop(f"{job}.qasm", qasm(job))
        daemon.until(lambda: daemon.states().get("completed", 0) >= 2, "some are completed")
        daemon.process.send_signal(number)
        assert daemon.process.wait(PATIENCE_S) == 0
        assert "Traceback" not in daemon.log
        daemon.start()
        daemon.until(lambda: daemon.states() == {"completed": 30}, "all are completed")
        daemon.until(lambda: len(daemon.result_folders()) == 30, "all results are written")
        assert list(daemon.home.claimed.iterdir()) == []


def test_a_caller_who_never_ends_his_question_keeps_no_daemon_alive(tmp_path: Path) -> None:
    with Daemon(tmp_path / "home") as daemon, socket.socket(socket.AF_UNIX) as caller:
        with socket_address(daemon.home.socket) as address:
            caller.connect(address)
        caller.sendall(b"POST /control/v1/status HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf")
        time.sleep(0.2)  # it must be inside the question
        before_s = time.monotonic()
        assert daemon.stop() == 0
        assert time.monotonic() - before_s < 15


def test_a_log_that_nobody_reads_stops_nothing(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path / "home")
    reading, writing = os.pipe()
    daemon._process = subprocess.Popen(
        daemon.command("run"), stdin=subprocess.DEVNULL, stdout=writing, stderr=writing, env=daemon._environ
    )
    os.close(writing)
    with daemon._process:
        daemon.until(daemon.answers, "the daemon answers")
        os.close(reading)
        daemon.drop("bad.qasm", "")
        daemon.drop("good.qasm", qasm(1))
        daemon.until(lambda: daemon.states() == {"completed": 1}, "the job is completed")
        daemon.until(lambda: set(daemon.whys) == {"bad.qasm"}, "the reason is written")
        daemon.kill()


def test_an_idle_daemon_costs_next_to_nothing(tmp_path: Path) -> None:
    with Daemon(tmp_path / "home") as daemon:
        daemon.drop("a.qasm", qasm(1))
        daemon.until(lambda: daemon.states() == {"completed": 1}, "the job is completed")
        time.sleep(1.0)
        assert daemon.cpu_share(3.0) < 0.05


# -------------------------------------------------------------------------------------------- --until-idle


def test_until_idle_ends_when_there_is_nothing(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path / "home", first_start=True)
    assert not daemon.home.database.exists()
    assert daemon.run_until_idle() == 0
    assert daemon.home.database.exists()


def test_until_idle_takes_all_there_is_first(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path / "home")
    for number in range(5):
        daemon.drop(f"{number}.qasm", qasm(number))
    daemon.drop("bad.qasm", qasm(9, shotz=1))
    (daemon.home.inbox / "fresh.qasm").write_text(qasm(7))
    assert daemon.run_until_idle() == 0
    assert len(daemon.result_folders()) == 6
    assert set(daemon.whys) == {"bad.qasm"}
    assert list(daemon.home.queue.iterdir()) == []
    assert list(daemon.home.inbox.iterdir()) == []


def test_until_idle_waits_for_no_unfinished_file(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path / "home")
    (daemon.home.inbox / "a.qasm.tmp").write_text(qasm(1))
    (daemon.home.inbox / ".b.qasm").write_text(qasm(1))
    assert daemon.run_until_idle() == 0
    assert len(list(daemon.home.inbox.iterdir())) == 2


def test_until_idle_waits_for_no_person(tmp_path: Path) -> None:
    """A paid job without a price or without arming is for somebody to decide: that is no failure."""
    daemon = Daemon(tmp_path / "home", config=PAID)
    daemon.drop("paid.qasm", qasm(1, backend='"coda:iqm"'))
    daemon.drop("free.qasm", qasm(2))
    assert daemon.run_until_idle() == 0
    with daemon:
        states = daemon.states()
    assert states == {"completed": 1, "waiting": 1}
    assert (daemon.home.queue / "1-paid.qasm").exists() or (daemon.home.queue / "2-paid.qasm").exists()


def test_until_idle_waits_for_no_backend_that_is_switched_off(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path / "home", config=DISABLED)
    daemon.drop("a.qasm", qasm(1))
    assert daemon.run_until_idle() == 0
    with daemon:
        assert daemon.states() == {"waiting": 1}


def test_it_does_not_start_where_a_file_is_in_the_place_of_a_folder(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path / "home")
    daemon.home.inbox.rmdir()
    daemon.home.inbox.write_text("in the way")
    assert daemon.run_until_idle() == 78
    assert f"{daemon.home.inbox} is in the way: it is not a folder" in daemon.log


def test_until_idle_waits_for_no_folder_that_a_person_must_clear(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path / "home")
    daemon.drop("bad.qasm", "")
    (daemon.home.inbox / "link.qasm").symlink_to("nothing")
    (daemon.home.rejected / "bad.qasm").mkdir()
    assert daemon.run_until_idle() == 0
    assert set(daemon.whys) == {"bad-2.qasm", "link.qasm"}
