"""The intent journal on disk: one line before every paid request, in a folder that no database backup has.

A line is there, whole and synced, before the first byte of its request leaves. Lines that arrive together
share one sync. A torn last line is what a crash leaves of a request that was never sent: it is cut off.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import zlib
from pathlib import Path

from scheduler.core.intents import Intent
from scheduler.errors import TryAgain


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
        self._write_lock = threading.Lock()
        self._sync_lock = threading.Lock()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def newest(self) -> tuple[int | None, list[Intent]]:
        """The newest epoch and its lines; (None, []) when there is no journal. Blocks."""
        files = sorted(self._folder.glob("intents-*.log"))
        if not files:
            return None, []
        found = [intent for line in _whole_lines(files[-1]) if (intent := _parse(line))]
        return int(files[-1].stem.partition("-")[2]), found

    def begin(self, epoch: int) -> None:
        try:
            with self._write_lock:
                if self._epoch != epoch:
                    self._open(epoch)
        except OSError as error:
            raise TryAgain(f"the intent journal cannot be made: {error.strerror}") from error

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
                line = _line(intent)
                if os.write(self._fd, line) != len(line):
                    raise OSError("the disk took half a line")
            except OSError:
                # Before anybody writes behind the torn line: the next one to open the file cuts it off.
                self._drop()
                raise
            self._written += 1
            return self._written

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
        path = self._folder / f"intents-{epoch:06d}.log"
        whole = sum(len(line) + 1 for line in _whole_lines(path))
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


def _whole_lines(path: Path) -> list[bytes]:
    """The lines up to the first that is torn; what no newline ends is torn, however well it reads."""
    if not path.exists():
        return []
    lines = []
    for line in path.read_bytes().split(b"\n")[:-1]:
        if _parse(line) is None:
            break  # what follows a torn line was never synced either
        lines.append(line)
    return lines
