"""The intent journal on disk: one line before every paid request, in a folder that no database backup has.

A line is there, whole and synced, before the first byte of its request leaves. Lines that arrive together
share one sync. What stands behind the last newline is what a crash leaves of a request that was never sent:
it is cut off. Any other damage is none that a crash makes: it is named, and the file is left as evidence.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
import threading
import zlib
from pathlib import Path

from scheduler.core.intents import Intent, JournalRead
from scheduler.errors import TryAgain

_FILE = re.compile(r"intents-([0-9]{6,})\.log")


def _line(intent: Intent) -> bytes:
    body = json.dumps([intent.epoch, intent.sequence, intent.attempt_id, intent.at_us])
    return f"{zlib.crc32(body.encode()):08x} {body}\n".encode()


def _parse(line: bytes) -> Intent | None:
    checksum, _, body = line.partition(b" ")
    with contextlib.suppress(ValueError, TypeError):
        if int(checksum, 16) == zlib.crc32(body):
            epoch, sequence, attempt_id, at_us = json.loads(body)
            return Intent(int(epoch), int(sequence), str(attempt_id), int(at_us))
    return None


class IntentJournal:
    """The journal in one folder: a file an epoch, `intents-000001.log`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._fd: int | None = None
        self._epoch: int | None = None
        self._written = 0
        self._synced = 0
        self._dropped = 0
        #: Epochs whose file somebody else changed: nothing is written there before the next start.
        self._changed: set[int] = set()
        self._write_lock = threading.Lock()
        self._sync_lock = threading.Lock()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def newest(self) -> JournalRead:
        """Everything that can be read of the newest epoch, and what cannot. Blocks."""
        try:
            names = os.listdir(self._folder)
        except OSError as error:
            return JournalRead(damage=f"the intent journal cannot be read: {error.strerror}: {self._folder}")
        epochs = [int(match[1]) for name in names if (match := _FILE.fullmatch(name))]
        if not epochs:
            return JournalRead()
        path = self._path(max(epochs))
        try:
            found, damage = _read(path)
        except OSError as error:
            told = f"the intent journal cannot be read: {error.strerror or error}: {path}"
            return JournalRead(max(epochs), damage=told)
        intents = (intent for line in found if (intent := _parse(line)))
        return JournalRead(max(epochs), tuple(intents), damage)

    def _path(self, epoch: int) -> Path:
        return self._folder / f"intents-{epoch:06d}.log"

    def begin(self, epoch: int) -> None:
        try:
            with self._write_lock:
                if self._epoch != epoch:
                    self._open(epoch)
        except OSError as error:
            raise TryAgain(f"the intent journal cannot be made: {error.strerror or error}") from error

    def append(self, intent: Intent) -> None:
        """Put a line on disk; returns when it is there. Raises TryAgain when it cannot be. Blocks."""
        try:
            self._sync(self._write(intent))
        except OSError as error:
            raise TryAgain(
                f"the intent journal cannot be written: {error.strerror or error}",
                f"nothing paid is sent without it: look at {self._folder}",
            ) from error

    def _write(self, intent: Intent) -> int:
        with self._write_lock:
            try:
                if self._epoch != intent.epoch:
                    self._open(intent.epoch)
                assert self._fd is not None
                self._require_own_file(self._fd)
                line = _line(intent)
                if os.write(self._fd, line) != len(line):
                    raise OSError("the disk took half a line")
            except OSError:
                # Before anybody writes behind the torn line: the next one to open the file cuts it off.
                self._drop()
                raise
            self._written += 1
            return self._written

    def _require_own_file(self, fd: int) -> None:
        """The file that the next start will read is this one, and ends where we stopped writing.

        A folder put back from a copy lacks lines of requests that have left; with one more line behind them
        the next start would take those for never sent. So nothing is written until that start has compared.
        """
        assert self._epoch is not None
        path = self._path(self._epoch)
        ours = os.fstat(fd)
        try:
            there = os.stat(path, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            there = None
        same = there is not None and (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)
        if not same or ours.st_size != os.lseek(fd, 0, os.SEEK_CUR):
            self._changed.add(self._epoch)
            raise _changed(path)

    def _sync(self, mine: int) -> None:
        with self._sync_lock:
            # First: a later success says nothing about lines whose own sync failed.
            if self._dropped >= mine or self._fd is None:
                raise OSError("its file was closed before the line was on disk")
            if self._synced >= mine:
                return
            upto = self._written
            try:
                os.fdatasync(self._fd)
            except OSError:
                # What reached the disk is unknown now: whoever waits with us is told the same.
                self._dropped = upto
                raise
            self._synced = upto

    def _open(self, epoch: int) -> None:
        if self._fd is not None:
            with self._sync_lock:  # lines of the old epoch that still wait for their sync
                os.fdatasync(self._fd)
                self._synced = self._written
        self._drop()
        path = self._path(epoch)
        if epoch in self._changed:
            raise _changed(path)
        whole = _whole_size(path)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        os.ftruncate(fd, whole)
        os.lseek(fd, 0, os.SEEK_END)
        os.fsync(fd)
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        self._fd, self._epoch = fd, epoch

    def close(self) -> None:
        with self._write_lock:
            self._drop()

    def _drop(self) -> None:
        """Close the file; lines that were not synced are not there, whatever the disk says later."""
        with self._sync_lock:  # never under a sync: its number may be another file's by then
            fd, self._fd, self._epoch = self._fd, None, None
            self._dropped = self._written
            if fd is not None:
                os.close(fd)


def _changed(path: Path) -> OSError:
    return OSError(f"{path} was changed by somebody else: stop the daemon and start it again")


def _whole_size(path: Path) -> int:
    """Up to where a file is good; what no newline ends is torn, however well it reads. Raises OSError."""
    try:
        lines, damage = _read(path)
    except FileNotFoundError:
        return 0
    if damage:
        raise OSError(damage)  # cut nowhere: what is in it says what was sent
    return sum(len(line) + 1 for line in lines)


def _read(path: Path) -> tuple[list[bytes], str]:
    """A file's whole lines, and what is wrong with the others. Raises OSError."""
    # Without waiting: a pipe in its place must not hold the start up.
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    with open(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError("it is not a file")
        lines = file.read().split(b"\n")[:-1]
    whole = [line for line in lines if _parse(line) is not None]
    if len(whole) == len(lines):
        return whole, ""
    first = next(place for place, line in enumerate(lines, 1) if _parse(line) is None)
    return whole, f"line {first} of the intent journal is damaged ({len(lines) - len(whole)} in all): {path}"
