"""One daemon a home and one a database: locks that the kernel, or the server, lets go of when we die."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from scheduler.errors import TryAgain


def _locked(fd: int, patience_s: float) -> bool:
    end_s = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= end_s:
                return False
            time.sleep(0.05)
        else:
            return True


@contextlib.contextmanager
def file_lock(path: Path, what: str, *, patience_s: float = 0.0) -> Iterator[None]:
    """Hold an exclusive lock on a file inside the block, waiting for it at most `patience_s`.

    Raises TryAgain naming the process that has it.
    """
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise TryAgain(
            f"{what} cannot be locked: {error.strerror}: {path}",
            "free some space, or move what is in its place",
        ) from None
    try:
        if not _locked(fd, patience_s):
            holder = os.pread(fd, 64, 0).decode(errors="replace").strip()
            by = f" by process {holder}" if holder else ""
            raise TryAgain(
                f"{what} is in use{by}: a second daemon there would act on the same jobs",
                "stop that one first, or use another home: --home DIR",
            )
        # On a full disk the lock is held without saying by whom; the old number must not stand there then.
        with contextlib.suppress(OSError):
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(fd)
