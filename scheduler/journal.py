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
        self._write_lock = threading.Lock()
        self._sync_lock = threading.Lock()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def newest(self) -> tuple[int | None, list[Intent]]:
        """The newest epoch and its lines; (None, []) when there is no journal. Blocks."""
        files = sorted(self._folder.glob("intents-*.log"))
        if not files:
            return None, []
        found = []
        for line in files[-1].read_bytes().split(b"\n"):
            intent = _parse(line)
            if intent is None:
                break  # the torn end, or nothing: what follows a torn line was never synced either
            found.append(intent)
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
            with self._write_lock:
                if self._epoch != intent.epoch:
                    self._open(intent.epoch)
                fd = self._fd
                assert fd is not None
                line = _line(intent)
                if os.write(fd, line) != len(line):
                    raise OSError("the disk took half a line")
                self._written += 1
                mine = self._written
            with self._sync_lock:
                if self._synced < mine:
                    upto = self._written
                    os.fdatasync(fd)
                    self._synced = upto
        except OSError as error:
            self.close()  # the next line starts after the torn one was cut off
            raise TryAgain(
                f"the intent journal cannot be written: {error.strerror or error}",
                f"nothing paid is sent without it: look at {self._folder}",
            ) from error

    def _open(self, epoch: int) -> None:
        self.close()
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
        fd, self._fd, self._epoch = self._fd, None, None
        if fd is not None:
            os.close(fd)


def _whole_lines(path: Path) -> list[bytes]:
    if not path.exists():
        return []
    lines = []
    for line in path.read_bytes().split(b"\n"):
        if _parse(line) is None:
            break
        lines.append(line)
    return lines
