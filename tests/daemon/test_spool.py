"""The daemon and its inbox in trouble: it lives, rests, says what is wrong, and goes on when that is over."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.daemon import WITHOUT_PRIVILEGES, Daemon
from tests.support.disk import fill, small_disk
from tests.support.spool import qasm

QUICK = """\
[spool]
scan_interval_s = 0.3
quiet_s = 0.3
"""


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    with Daemon(tmp_path / "home", config=QUICK) as daemon:
        yield daemon


@pytest.fixture
def plain_daemon(tmp_path: Path) -> Iterator[Daemon]:
    """A daemon for which permissions count, whoever runs the tests."""
    prefix = WITHOUT_PRIVILEGES if os.geteuid() == 0 else ()
    if prefix and shutil.which(prefix[0]) is None:
        pytest.skip("setpriv is missing, and root may read everything")
    with Daemon(tmp_path / "home", config=QUICK, prefix=prefix) as daemon:
        yield daemon


def completed(daemon: Daemon, number: int = 1) -> None:
    daemon.until(lambda: daemon.states().get("completed") == number, f"{number} jobs are completed")


def test_every_rename_is_heard_at_once(tmp_path: Path) -> None:
    """With scans an hour apart only the watcher can tell: of files and of folders."""
    config = "[spool]\nscan_interval_s = 3600\nquiet_s = 3600\n"
    with Daemon(tmp_path / "home", config=config) as daemon:
        for number, name in enumerate(["a.qasm", "b.qasm"], 1):
            daemon.drop(name, qasm(number))
            completed(daemon, number)
        daemon.drop(".staging/deep/c.qasm", qasm(3))
        (daemon.home.inbox / ".staging").rename(daemon.home.inbox / "night")
        completed(daemon, 3)
        daemon.drop("night/deep/d.qasm", qasm(4))
        completed(daemon, 4)


def test_a_name_that_is_not_utf8_is_heard_like_any_other(tmp_path: Path) -> None:
    config = "[spool]\nscan_interval_s = 3600\nquiet_s = 3600\n"
    with Daemon(tmp_path / "home", config=config) as daemon:
        daemon.drop(os.fsdecode(b"caf\xe9.qasm"), qasm(1))
        daemon.drop("a\nb.qasm", qasm(2))
        completed(daemon, 2)
        assert "a\nb.qasm" not in daemon.log


def test_a_storm_of_renames_loses_no_file(tmp_path: Path) -> None:
    """More renames than the kernel keeps events for: the scan is the truth."""
    with Daemon(
        tmp_path / "home",
        config=QUICK + 'max_jobs_per_file = 10\n[backends."local:simulator"]\nenabled = false\n',
    ) as daemon:
        staging = daemon.home.root / "staging"
        staging.mkdir()
        for number in range(2000):
            (staging / f"{number}.qasm").write_text(qasm(number))
        daemon.process.send_signal(19)  # SIGSTOP: nobody reads the events while they pile up
        noise = daemon.home.inbox / "noise.tmp"
        noise.touch()
        for number in range(20_000):
            os.rename(noise, daemon.home.inbox / f"noise{number}.tmp")
            noise = daemon.home.inbox / f"noise{number}.tmp"
        for path in staging.iterdir():
            os.rename(path, daemon.home.inbox / path.name)
        daemon.process.send_signal(18)
        daemon.until(lambda: len(daemon.jobs()) == 2000, "all files are taken")
        assert daemon.lives()


def test_a_file_that_is_written_slowly_is_taken_whole(daemon: Daemon) -> None:
    with (daemon.home.inbox / "slow.qasm").open("w") as file:
        for line in qasm(1).splitlines(keepends=True):
            file.write(line)
            file.flush()
            time.sleep(0.5)  # longer than the quiet time: a copy over a network may stall
            assert daemon.jobs() == []
    completed(daemon)
    (folder,) = daemon.written_folders(1)
    assert (folder / "slow.qasm").read_text() == qasm(1)


def test_an_inbox_that_is_removed_and_comes_back_is_watched_again(daemon: Daemon) -> None:
    daemon.home.inbox.rmdir()
    daemon.until(daemon.home.inbox.is_dir, "the inbox is made again")
    daemon.drop("a.qasm", qasm(1))
    completed(daemon)
    daemon.until(lambda: "inbox" not in daemon.needs(), "nothing is said any more")


def test_an_inbox_that_is_moved_away_takes_its_files_along(daemon: Daemon) -> None:
    elsewhere = daemon.home.root / "elsewhere"
    daemon.home.inbox.rename(elsewhere)
    (elsewhere / "not-ours.qasm").write_text(qasm(1))
    daemon.until(daemon.home.inbox.is_dir, "the inbox is made again")
    daemon.drop("a.qasm", qasm(2))
    completed(daemon)
    assert (elsewhere / "not-ours.qasm").exists()


def test_a_file_instead_of_the_inbox_is_told_once_and_costs_nothing(daemon: Daemon) -> None:
    daemon.home.inbox.rmdir()
    daemon.home.inbox.write_text("in the way")
    daemon.until(lambda: "the inbox cannot be read: Not a directory" in daemon.needs(), "it is said")
    assert daemon.cpu_share() < 0.2
    assert daemon.times_logged("the inbox cannot be read") == 1
    assert daemon.times_logged("watching the inbox failed") <= 1
    daemon.home.inbox.unlink()
    daemon.until(daemon.home.inbox.is_dir, "the inbox is made again")
    daemon.drop("a.qasm", qasm(1))
    completed(daemon)


def test_folders_too_deep_for_a_path_stop_neither_watch_nor_scan(daemon: Daemon) -> None:
    at = os.open(daemon.home.inbox, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d", dir_fd=at)
        deeper = os.open("d", os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = deeper
    os.close(at)
    daemon.kill()
    daemon.start()
    daemon.drop("a.qasm", qasm(1))
    completed(daemon)
    daemon.until(lambda: "this one is deeper" in daemon.needs(), "it is said")
    assert daemon.cpu_share() < 0.2
    assert daemon.stop() == 0
    subprocess.run(["rm", "-rf", daemon.home.inbox], check=True)  # shutil.rmtree cannot go so deep


def test_a_file_that_may_not_be_read_stays_and_is_taken_when_it_may(plain_daemon: Daemon) -> None:
    daemon = plain_daemon
    closed = daemon.home.inbox / "closed.qasm.tmp"
    closed.write_text(qasm(1))
    closed.chmod(0)
    closed.rename(daemon.home.inbox / "closed.qasm")
    daemon.drop("open.qasm", qasm(2))
    completed(daemon)
    daemon.until(lambda: "closed.qasm" in daemon.whys, "a note is written")
    assert daemon.whys["closed.qasm"].startswith("closed.qasm: the service may not read it, so it was left")
    assert "chmod g+r" in daemon.whys["closed.qasm"]
    assert "closed.qasm: the service may not read it" in daemon.needs()
    assert daemon.cpu_share() < 0.2
    assert daemon.times_logged(r"\] left in the inbox") == 1
    (daemon.home.inbox / "closed.qasm").chmod(0o644)
    completed(daemon, 2)
    daemon.until(lambda: daemon.whys == {}, "the note is gone")


def test_a_folder_that_may_not_be_looked_into_hides_no_other(plain_daemon: Daemon) -> None:
    daemon = plain_daemon
    closed = daemon.home.inbox / "closed"
    closed.mkdir()
    (closed / "hidden.qasm").write_text(qasm(1))
    closed.chmod(0)
    daemon.drop("open.qasm", qasm(2))
    completed(daemon)
    daemon.until(lambda: "the service cannot look into this folder" in daemon.needs(), "it is said")
    closed.chmod(0o755)
    completed(daemon, 2)


@pytest.mark.parametrize("mode", [0o500, 0o400])
def test_a_folder_that_may_not_be_changed_keeps_its_files(plain_daemon: Daemon, mode: int) -> None:
    daemon = plain_daemon
    fixed = daemon.home.inbox / "fixed"
    fixed.mkdir()
    (fixed / "a.qasm").write_text(qasm(1))
    fixed.chmod(mode)
    daemon.until(lambda: "inbox/fixed" in daemon.needs(), "it is said")
    assert daemon.jobs() == []
    fixed.chmod(0o755)
    completed(daemon)


def test_rejected_files_wait_in_the_inbox_while_rejected_is_read_only(plain_daemon: Daemon) -> None:
    daemon = plain_daemon
    daemon.home.rejected.chmod(stat.S_IRUSR | stat.S_IXUSR)
    (daemon.home.inbox / "link.qasm").symlink_to("nothing")
    daemon.drop("empty.qasm", "")
    daemon.drop("good.qasm", qasm(1))
    completed(daemon)
    daemon.until(lambda: "cannot be moved to rejected/" in daemon.needs(), "it is said")
    assert daemon.cpu_share() < 0.2
    daemon.home.rejected.chmod(0o755)
    daemon.until(lambda: set(daemon.whys) == {"empty.qasm", "link.qasm"}, "the reasons are written")
    daemon.until(lambda: daemon.needs() == "", "nothing is said any more")


def test_a_full_disk_stops_nothing_for_good(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "40m") as disk, Daemon(disk / "home", config=QUICK) as daemon:
        daemon.drop("before.qasm", qasm(1))
        completed(daemon)
        ballast = fill(disk)
        try:
            daemon.drop("during.qasm", "")
        except OSError:
            pass  # not even the user can write
        os.mkfifo(daemon.home.inbox / "pipe.qasm")
        daemon.until(lambda: "disk are free" in daemon.needs(), "it is said")
        assert daemon.cpu_share() < 0.3
        assert daemon.lives()
        ballast.unlink()
        daemon.drop("after.qasm", qasm(2))
        completed(daemon, 2)
        daemon.until(lambda: "disk" not in daemon.needs(), "nothing is said any more")
        assert len(daemon.written_folders(2)) == 2
        assert daemon.stop() == 0
