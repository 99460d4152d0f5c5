"""The intent journal: a line that was promised is on disk, and a torn one was never sent."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.core.intents import Intent, JournalRead
from scheduler.errors import TryAgain
from scheduler.journal import IntentJournal


def intent(number: int, epoch: int = 1) -> Intent:
    return Intent(epoch, number, f"attempt-{number}", 1_795_356_000_000_000 + number)


@contextlib.contextmanager
def open_journal(folder: Path) -> Iterator[IntentJournal]:
    journal = IntentJournal(folder)
    try:
        yield journal
    finally:
        journal.close()


def written(folder: Path, *numbers: int) -> Path:
    with open_journal(folder) as journal:
        for number in numbers:
            journal.append(intent(number))
    return folder / "intents-000001.log"


def read(folder: Path) -> tuple[int | None, list[int]]:
    with open_journal(folder) as journal:
        found = journal.newest()
    assert not found.damage
    return found.epoch, [line.sequence for line in found.intents]


def test_a_folder_without_a_journal_says_so(tmp_path: Path) -> None:
    with open_journal(tmp_path / "journal") as journal:
        assert journal.newest() == JournalRead()
    assert (tmp_path / "journal").stat().st_mode & 0o077 == 0, "attempts are nobody else's business"


def test_an_epoch_that_has_begun_is_not_one_that_is_missing(tmp_path: Path) -> None:
    with open_journal(tmp_path) as journal:
        journal.begin(1)
        journal.begin(1)
        assert journal.newest() == JournalRead(1)


def test_lines_come_back_as_they_were_after_a_restart(tmp_path: Path) -> None:
    path = written(tmp_path, 1, 2)
    with open_journal(tmp_path) as journal:
        assert journal.newest() == JournalRead(
            1,
            (
                intent(1),
                intent(2),
            ),
        )
        journal.append(intent(3))
        assert journal.newest() == JournalRead(
            1,
            (
                intent(1),
                intent(2),
                intent(3),
            ),
        )
    assert path.stat().st_mode & 0o077 == 0


def test_a_line_is_there_before_its_request_may_leave(tmp_path: Path) -> None:
    """Another process sees it at once: nothing of it waits in a buffer of ours."""
    with open_journal(tmp_path) as journal:
        for number in (1, 2, 3):
            journal.append(intent(number))
            assert (tmp_path / "intents-000001.log").read_bytes().count(b"\n") == number


# ------------------------------------------------------------------------------------- what a crash leaves


@settings(deadline=None, max_examples=60)  # real disks sync when they like
@given(cut=st.integers(1, 200))
def test_a_torn_last_line_is_cut_off_wherever_it_was_torn(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    path = written(folder, 1, 2, 3)
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    torn = whole[: max(len(whole) - cut, 0)]
    path.write_bytes(torn)
    left = [number for number in (1, 2, 3) if len(b"".join(lines[:number])) <= len(torn)]
    assert read(folder) == (1, left), "a line without its newline was never promised to anybody"
    with open_journal(folder) as journal:
        journal.append(intent(9))
    assert read(folder) == (1, [*left, 9]), "the next line does not begin in the middle of the torn one"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda line: line.replace(b"attempt-", b"attempt-7"),
        lambda line: line.replace(b"[1, ", b"[1, 3"),
        lambda line: b"0" * 8 + line[8:],
        lambda line: b"zzzzzzzz" + line[8:],
        lambda line: b"\x00" * len(line),
        lambda line: b"\xff\xfe" + line,
        lambda line: b"",
    ],
)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_line_that_its_checksum_does_not_know_is_named_and_kept(
    tmp_path: Path, spoil: Callable[[bytes], bytes], place: int
) -> None:
    """The last one too: a line is torn before its newline is there, and never behind it."""
    path = written(tmp_path, 1, 2, 3)
    lines = path.read_bytes().split(b"\n")[:3]
    lines[place] = spoil(lines[place])
    path.write_bytes(b"\n".join([*lines, b""]))
    left = path.read_bytes()
    with open_journal(tmp_path) as journal:
        found = journal.newest()
        assert f"line {place + 1} of the intent journal is damaged" in found.damage
        assert str(path) in found.damage
        assert {line.sequence for line in found.intents} == {1, 2, 3} - {place + 1}
        for work in (lambda: journal.begin(1), lambda: journal.append(intent(4))):
            with pytest.raises(TryAgain, match="is damaged"):
                work()
        assert path.read_bytes() == left, "what was sent stands in it"
        journal.append(intent(1, epoch=2))
        assert journal.newest() == JournalRead(2, (intent(1, epoch=2),))


@pytest.mark.parametrize("tail", [b"", b"0badc0de [1, 4, "])
def test_a_torn_end_does_not_hide_the_damage_before_it(tmp_path: Path, tail: bytes) -> None:
    path = written(tmp_path, 1, 2)
    first, second = path.read_bytes().split(b"\n")[:2]
    path.write_bytes(b"\n".join([b"\0" * len(first), second, tail]))
    with open_journal(tmp_path) as journal:
        assert "line 1 of" in journal.newest().damage


@pytest.mark.parametrize(
    "name", ["intents-000001.log~", "intents-old.log", "intents-1.log", "x-intents-000007.log"]
)
def test_what_only_looks_like_a_journal_is_none(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("copied by hand")
    with open_journal(tmp_path) as journal:
        assert journal.newest() == JournalRead()


def in_place_of(path: Path, what: str) -> None:
    path.unlink(missing_ok=True)
    match what:
        case "pipe":
            os.mkfifo(path)
        case "directory":
            path.mkdir()
        case "link to nothing":
            path.symlink_to("nowhere")


@pytest.mark.parametrize("what", ["pipe", "directory", "link to nothing"])
def test_what_is_not_a_file_cannot_be_read_and_is_said_so(tmp_path: Path, what: str) -> None:
    in_place_of(written(tmp_path, 1), what)
    with open_journal(tmp_path) as journal:
        found = journal.newest()
        assert (found.epoch, found.intents) == (1, ())
        assert "the intent journal cannot be read" in found.damage
        with pytest.raises(TryAgain):
            journal.append(intent(2))


def put_back(path: Path, copy: bytes) -> None:
    """As a folder restored from a copy: another file by the same name."""
    path.with_name("copy").write_bytes(copy)
    path.with_name("copy").rename(path)


def put_back_in_place(path: Path, copy: bytes) -> None:
    path.write_bytes(copy)


def taken_away(path: Path, copy: bytes) -> None:
    path.unlink()


@pytest.mark.parametrize("replace", [put_back, put_back_in_place, taken_away])
def test_a_file_that_somebody_replaces_under_a_running_daemon_takes_no_more_lines(
    tmp_path: Path, replace: Callable[[Path, bytes], None]
) -> None:
    """One more line behind the copy would make the lines that it lacks look as if they were never sent."""
    path = written(tmp_path, 1)
    copy = path.read_bytes()
    with open_journal(tmp_path) as journal:
        journal.append(intent(2))
        replace(path, copy)
        for _ in range(2):
            with pytest.raises(TryAgain, match="changed by somebody else"):
                journal.append(intent(3))
        journal.append(intent(1, epoch=2))  # a person has compared, and began another file
    assert not path.exists() or path.read_bytes() == copy


KILLED = """
import os, sys
from pathlib import Path
from scheduler.core.intents import Intent
from scheduler.journal import IntentJournal
journal = IntentJournal(Path(sys.argv[1]))
for number in range(1, 10_000_000):
    journal.append(Intent(1, number, f"attempt-{number}", number))
    os.write(1, f"{number}\\n".encode())  # the request leaves
"""


def test_a_kill_forgets_no_line_whose_request_has_left(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    sent = [process.stdout.readline() for _ in range(20)]
    process.kill()
    rest = process.stdout.read()
    process.stdout.close()
    assert process.wait() == -signal.SIGKILL
    told = [line for line in (b"".join(sent) + rest).splitlines() if line]
    _, found = read(tmp_path)
    assert found[: len(told)] == [int(line) for line in told]
    assert len(found) - len(told) in (0, 1), "at most the one that was about to leave"


# ------------------------------------------------------------------------------------------- many at once


def test_lines_that_arrive_together_are_all_there_and_whole(tmp_path: Path) -> None:
    together = threading.Barrier(8)

    def write(number: int) -> None:
        if number <= 8:
            together.wait()
        journal.append(intent(number))

    with open_journal(tmp_path) as journal, ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(1, 201)))
        found = journal.newest().intents
    assert sorted(line.sequence for line in found) == list(range(1, 201))
    assert {line.attempt_id for line in found} == {f"attempt-{n}" for n in range(1, 201)}


# ------------------------------------------------------------------------------------------ what goes wrong


@contextlib.contextmanager
def files_at_most(size: int) -> Iterator[None]:
    """As on a full disk: a write beyond it takes what still fits, or fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


@pytest.mark.parametrize("fits", [0, 5, 40])
def test_on_a_full_disk_nothing_paid_is_sent_and_later_it_goes_on(tmp_path: Path, fits: int) -> None:
    path = written(tmp_path, 1)
    with open_journal(tmp_path) as journal:
        with files_at_most(path.stat().st_size + fits):
            for _ in range(2):
                with pytest.raises(TryAgain, match="intent journal cannot be written") as refused:
                    journal.append(intent(2))
        assert str(tmp_path) in str(refused.value)
        assert [line.sequence for line in journal.newest().intents] == [1], "half a line is none"
        journal.append(intent(3))
    assert read(tmp_path) == (1, [1, 3])
    assert len(path.read_bytes().splitlines()) == 2


def test_a_folder_that_is_gone_is_said_so(tmp_path: Path) -> None:
    folder = tmp_path / "journal"
    with open_journal(folder) as journal:
        folder.rmdir()
        for work in (lambda: journal.append(intent(1)), lambda: journal.begin(2)):
            with pytest.raises(TryAgain, match="intent journal"):
                work()


def test_a_link_in_the_journals_place_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "elsewhere"
    target.write_text("precious")
    folder = tmp_path / "journal"
    folder.mkdir()
    (folder / "intents-000001.log").symlink_to(target)
    with open_journal(folder) as journal, pytest.raises(TryAgain):
        journal.append(intent(1))
    assert target.read_text() == "precious"


# ------------------------------------------------------------------------------------------------- epochs


def test_a_new_epoch_has_a_file_of_its_own_and_the_old_one_stays(tmp_path: Path) -> None:
    old = written(tmp_path, 1, 2)
    kept = old.read_bytes()
    with open_journal(tmp_path) as journal:
        journal.append(intent(1, epoch=2))
        assert journal.newest() == JournalRead(2, (intent(1, epoch=2),))
    assert old.read_bytes() == kept


def test_the_newest_epoch_is_the_highest_number_and_not_the_latest_file(tmp_path: Path) -> None:
    with open_journal(tmp_path) as journal:
        for epoch in (1, 12, 9):
            journal.append(intent(1, epoch=epoch))
        os.utime(tmp_path / "intents-000009.log")
        assert journal.newest() == JournalRead(12, (intent(1, epoch=12),))


def test_the_next_line_may_belong_to_another_epoch(tmp_path: Path) -> None:
    with open_journal(tmp_path) as journal:
        for number, epoch in ((1, 1), (1, 2), (2, 2)):
            journal.append(intent(number, epoch=epoch))
    assert read(tmp_path) == (2, [1, 2])
