"""A real file system that is small enough to be filled."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """Mount a file system of `size` (24m) on a folder; skip where that is not permitted."""
    folder.mkdir(parents=True, exist_ok=True)
    options = f"size={size},mode=755"
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "nightshot-test", str(folder)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip("mounting a small file system is not permitted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path, leave_bytes: int = 0) -> Path:
    """Take all room but so much; returns the file whose removal gives it back."""
    ballast = folder / "ballast"
    with ballast.open("wb") as file:
        # A daemon may take some of the room between the question and the answer: then there is less to take.
        for _ in range(100):
            room = os.statvfs(folder)
            taken = os.fstat(file.fileno()).st_size
            try:
                os.posix_fallocate(file.fileno(), 0, taken + room.f_bavail * room.f_frsize - leave_bytes)
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
            else:
                return ballast
    raise AssertionError(f"{folder} could not be filled")
