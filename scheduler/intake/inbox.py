"""The inbox on disk: look, take, read safely, put away. Blocking calls only; nothing here decides about jobs.

A file belongs to whoever dropped it until it is claimed by a rename into `state/claimed`, which no two
processes can both win. Everything is opened relative to a directory, without following links, without
waiting for a FIFO's writer, and checked again on the descriptor that is read.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from scheduler.core.spooling import Look, is_unfinished_name
from scheduler.errors import SpecError

DEEPEST_FOLDER = 16
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Seen:
    """One entry of the inbox: its path relative to it, and what `lstat` said."""

    path: str
    look: Look
    mode: int
    uid: int
    links: int


@dataclass(frozen=True, slots=True)
class FileRules:
    """Whose files are taken and how large they may be."""

    is_owner: Callable[[int], bool]
    max_file_bytes: int

    def refuse(self, mode: int, uid: int, links: int, size_bytes: int, owner_name: str) -> SpecError | None:
        """The reason why a file is not taken, from what `stat` says of it; None when it may be."""
        if stat.S_ISLNK(mode):
            return SpecError(
                "it is a symbolic link", hint="drop the file itself: cp -L copies what a link points to"
            )
        if not stat.S_ISREG(mode):
            return SpecError(f"it is {_kind_of(mode)}, not a file", hint="drop a regular file")
        if links != 1:
            return SpecError(
                f"it has {links} names (hard links), so it could change after it was read",
                hint="drop a copy: cp file inbox/",
            )
        if not self.is_owner(uid):
            return SpecError(
                f"it belongs to {owner_name}, whose files are not taken here (spool.owners)",
                hint="an administrator can add the group to spool.owners; or use: nightshot submit FILE",
            )
        if mode & stat.S_IWOTH:
            return SpecError(
                "everybody may write to it, so its owner cannot be held to it",
                hint="chmod o-w the file and drop it again",
            )
        if size_bytes > self.max_file_bytes:
            return SpecError(
                f"it has {size_bytes:,} bytes; at most {self.max_file_bytes:,} are taken",
                hint="split it, or raise spool.max_file_bytes",
            )
        return None


def _kind_of(mode: int) -> str:
    for test, name in (
        (stat.S_ISFIFO, "a named pipe"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISCHR, "a device"),
        (stat.S_ISBLK, "a device"),
    ):
        if test(mode):
            return name
    return "something else"


def scan(inbox: Path) -> Iterator[Seen]:
    """Yield every entry below the inbox but folders and unfinished names. Raises OSError when it is gone."""
    stack = [("", 0)]
    while stack:
        prefix, depth = stack.pop()
        folder = inbox / prefix if prefix else inbox
        try:
            entries = os.scandir(folder)
        except (FileNotFoundError, NotADirectoryError):
            if not prefix:
                raise
            continue  # a sub-folder that was moved away while we looked
        with entries:
            for entry in entries:
                if is_unfinished_name(entry.name):
                    continue
                path = f"{prefix}/{entry.name}" if prefix else entry.name
                try:
                    info = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                if stat.S_ISDIR(info.st_mode):
                    if depth < DEEPEST_FOLDER:
                        stack.append((path, depth + 1))
                    continue
                look = Look(info.st_size, info.st_mtime_ns, info.st_ino)
                yield Seen(path, look, info.st_mode, info.st_uid, info.st_nlink)


def open_below(folder: Path, relative: str) -> int:
    """Open a file below `folder` without following any link on the way. Raises OSError."""
    *folders, name = relative.split("/")
    at = os.open(folder, _OPEN_FOLDER)
    try:
        for step in folders:
            deeper = os.open(step, _OPEN_FOLDER, dir_fd=at)
            os.close(at)
            at = deeper
        return os.open(name, _OPEN, dir_fd=at)
    finally:
        os.close(at)


@dataclass(frozen=True, slots=True)
class Content:
    data: bytes
    uid: int


def read_claimed(folder: Path, relative: str, rules: FileRules, owner_name: Callable[[int], str]) -> Content:
    """Read a claimed file whole. Raises SpecError for what is not taken, OSError for the disk."""
    try:
        fd = open_below(folder, relative)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise SpecError("it is a symbolic link", hint="drop the file itself") from None
        if error.errno == errno.ENXIO:
            raise SpecError("it is a socket, not a file", hint="drop a regular file") from None
        raise
    try:
        before = os.fstat(fd)
        size = before.st_size
        refusal = rules.refuse(
            before.st_mode, before.st_uid, before.st_nlink, size, owner_name(before.st_uid)
        )
        if refusal is not None:
            raise refusal
        data = _read_all(fd, size)
        after = os.fstat(fd)
        if len(data) != size or (after.st_size, after.st_mtime_ns) != (size, before.st_mtime_ns):
            raise SpecError(
                "it changed while it was read",
                hint="write it under a name that ends in .tmp and rename it when it is complete",
            )
        return Content(data, before.st_uid)
    finally:
        os.close(fd)


def _read_all(fd: int, size: int) -> bytes:
    """Read up to one byte more than the size that was promised, in as few calls as the kernel allows."""
    chunks = []
    left = size + 1
    while left > 0 and (chunk := os.read(fd, left)):
        chunks.append(chunk)
        left -= len(chunk)
    return b"".join(chunks)


def free_name(folder: Path, name: str) -> Path:
    """A path below `folder` that is not taken yet: `a.qasm`, `a-2.qasm` …"""
    stem, dot, suffix = name.rpartition(".")
    if not dot:
        stem, suffix = name, ""
    number = 1
    path = folder / name
    while os.path.lexists(path):
        number += 1
        path = folder / f"{stem}-{number}{dot}{suffix}"
    return path


def set_aside(source: Path, rejected: Path, why: str, name: str = "") -> Path:
    """Move a refused file (whatever it is) to `rejected/` with its reason beside it; nothing is deleted."""
    rejected.mkdir(exist_ok=True)
    target = free_name(rejected, name or source.name)
    # The reason first: a crash in between leaves the file where it is, to be refused once more.
    write_why(target, why)
    os.rename(source, target)
    return target


def write_why(beside: Path, why: str) -> None:
    note = beside.with_name(f"{beside.name}.WHY.txt")
    note.write_text(f"{why}\n", encoding="utf-8", errors="backslashreplace")


def sync_folder(folder: Path) -> None:
    fd = os.open(folder, _OPEN_FOLDER)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def free_bytes(folder: Path) -> int:
    room = os.statvfs(folder)
    return room.f_bavail * room.f_frsize


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
