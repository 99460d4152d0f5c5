"""The inbox on disk: look, take, read safely, put away. Blocking calls only; nothing here decides about jobs.

A file belongs to whoever dropped it until it is claimed by a rename into `state/claimed`, which no two
processes can both win. Everything below the inbox is listed, opened and moved relative to the descriptor of
its folder, without following links (a folder may become a link between two looks), without waiting for a
FIFO's writer, and checked again on the descriptor that is read.
"""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import signal
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from scheduler.core.spooling import Look, is_unfinished_name
from scheduler.errors import SpecError

DEEPEST_FOLDER = 16
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
#: Not there any more, or something else is in its place: the next look will tell what.
_MOVED_AWAY = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})


@dataclass(frozen=True, slots=True)
class Seen:
    """One entry of the inbox: its path relative to it, and what `lstat` said."""

    path: str
    look: Look
    mode: int
    uid: int
    links: int
    #: Of a folder only: why what is in it cannot be seen.
    closed: str = ""


@dataclass(frozen=True, slots=True)
class FileRules:
    """Whose files are taken and how large they may be."""

    is_owner: Callable[[int], bool]
    max_file_bytes: int

    def refuse(self, mode: int, uid: int, links: int, size_bytes: int, owner_name: str) -> SpecError | None:
        """The reason why a file is not taken, from what `stat` says of it; None when it may be."""
        if stat.S_ISLNK(mode):
            return _link()
        if not stat.S_ISREG(mode):
            return SpecError(f"it is {kind_of(mode)}, not a file", hint="drop a regular file")
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


def _link() -> SpecError:
    return SpecError("it is a symbolic link", hint="drop the file itself: cp -L copies what a link points to")


def kind_of(mode: int) -> str:
    """What a thing is that is no regular file: `a named pipe`."""
    for test, name in (
        (stat.S_ISLNK, "a symbolic link"),
        (stat.S_ISDIR, "a folder"),
        (stat.S_ISFIFO, "a named pipe"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISCHR, "a device"),
        (stat.S_ISBLK, "a device"),
    ):
        if test(mode):
            return name
    return "something else"


def scan(inbox: Path) -> Iterator[Seen]:
    """Yield every entry but unfinished names, and folders only when they cannot be looked into.

    Raises OSError when the inbox itself cannot be read.
    """
    at = os.open(inbox, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield from _scan_folder(at, "", 0)
    finally:
        os.close(at)


def _scan_folder(at: int, prefix: str, depth: int) -> Iterator[Seen]:
    folders = []
    with os.scandir(at) as entries:
        for entry in entries:
            if is_unfinished_name(entry.name):
                continue
            try:
                info = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            seen = _seen(f"{prefix}{entry.name}", info)
            if stat.S_ISDIR(info.st_mode):
                folders.append((entry.name, seen))
            else:
                yield seen
    for name, seen in folders:
        yield from _scan_below(at, name, seen, depth + 1)


def _scan_below(at: int, name: str, seen: Seen, depth: int) -> Iterator[Seen]:
    """Look into one folder; one that cannot be looked into must not hide the others."""
    if depth > DEEPEST_FOLDER:
        yield replace(seen, closed=f"folders are looked into {DEEPEST_FOLDER} deep, and this one is deeper")
        return
    try:
        inner = os.open(name, _OPEN_FOLDER, dir_fd=at)
    except OSError as error:
        if error.errno not in _MOVED_AWAY:
            yield replace(seen, closed=f"the service cannot look into this folder: {error.strerror}")
        return
    try:
        yield from _scan_folder(inner, f"{seen.path}/", depth)
    except OSError as error:
        yield replace(seen, closed=f"the service cannot look into this folder: {error.strerror}")
    finally:
        os.close(inner)


def _seen(path: str, info: os.stat_result) -> Seen:
    look = Look(info.st_size, info.st_mtime_ns, info.st_ino)
    return Seen(path, look, info.st_mode, info.st_uid, info.st_nlink)


@contextmanager
def opened(folder: Path) -> Iterator[int]:
    """Yield the descriptor of a folder: a group of files is worth opening it once. Raises OSError."""
    at = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield at
    finally:
        os.close(at)


@contextmanager
def folder_below(folder: Path | int, relative: str) -> Iterator[tuple[int, str]]:
    """Yield the descriptor of the folder in which `relative` stands, and its last name. Raises OSError.

    `folder` is a path or the descriptor of an open folder, which stays open.
    """
    *folders, name = relative.split("/")
    if isinstance(folder, int):
        if not folders:
            yield folder, name
            return
        at = os.dup(folder)
    else:
        at = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for step in folders:
            deeper = os.open(step, _OPEN_FOLDER, dir_fd=at)
            os.close(at)
            at = deeper
        yield at, name
    finally:
        os.close(at)


def open_below(folder: Path | int, relative: str) -> int:
    """Open a file below `folder` without following any link on the way. Raises OSError."""
    with folder_below(folder, relative) as (at, name):
        return os.open(name, _OPEN, dir_fd=at)


def look_below(folder: Path, relative: str) -> os.stat_result:
    """`lstat` of something below `folder`, through no link on the way. Raises OSError."""
    with folder_below(folder, relative) as (at, name):
        return os.stat(name, dir_fd=at, follow_symlinks=False)


def is_being_written(folder: Path | int, relative: str) -> bool:
    """`has_writer` of a file below `folder`. Raises OSError when it cannot be opened for reading."""
    fd = open_below(folder, relative)
    try:
        return has_writer(fd)
    finally:
        os.close(fd)


def has_writer(fd: int) -> bool:
    """True while some process has this file open for writing, as far as the kernel tells us.

    A writer may pause for longer than any quiet time: a copy over a network that stalls. The kernel tells it
    by granting a read lease, or not; closing `fd` gives the lease back.
    """
    try:
        # Somebody who opens the file in this very moment makes the kernel send the signal set here: SIGURG,
        # which is ignored by default, and not SIGIO, which would end the process.
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        return error.errno == errno.EAGAIN  # else: not our file, or a file system without leases
    return False


def move_out(folder: Path | int, relative: str, target: Path | str) -> None:
    """Rename something below `folder` to `target`, through no link on the way. Raises OSError."""
    with folder_below(folder, relative) as (at, name):
        os.rename(name, target, src_dir_fd=at)


def move_in(source: Path, folder: Path, relative: str) -> None:
    """Rename `source` to `relative` below `folder`, or to a free name beside it. Raises OSError.

    Missing folders are made; no link is followed on the way.
    """
    for steps in itertools.accumulate(relative.split("/")[:-1], "{}/{}".format):
        with folder_below(folder, steps) as (at, name):
            try:
                os.mkdir(name, 0o755, dir_fd=at)
            except FileExistsError:
                pass
    with folder_below(folder, relative) as (at, name):
        stem, dot, suffix = name.rpartition(".")
        free, number = name, 1
        while _exists(free, at):
            number += 1
            free = f"{stem}-{number}{dot}{suffix}"
        os.rename(source, free, dst_dir_fd=at)


def _exists(name: str, at: int) -> bool:
    try:
        os.stat(name, dir_fd=at, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def is_gone(error: OSError) -> bool:
    """True when the file, or a folder on the way to it, is not there any more."""
    return error.errno in _MOVED_AWAY


@dataclass(frozen=True, slots=True)
class Content:
    data: bytes
    uid: int


def read_claimed(
    folder: Path | int, relative: str, rules: FileRules, owner_name: Callable[[int], str]
) -> Content:
    """Read a claimed file whole. Raises SpecError for what is not taken, OSError for the disk."""
    try:
        fd = open_below(folder, relative)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise _link() from None
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
        data = read_all(fd, size)
        after = os.fstat(fd)
        if len(data) != size or (after.st_size, after.st_mtime_ns) != (size, before.st_mtime_ns):
            raise SpecError(
                "it changed while it was read",
                hint="write it under a name that ends in .tmp and rename it when it is complete",
            )
        return Content(data, before.st_uid)
    finally:
        os.close(fd)


def read_all(fd: int, size: int) -> bytes:
    """Read up to one byte more than the size that was promised, in as few calls as the kernel allows."""
    data = os.read(fd, size + 1)
    if len(data) == size:
        return data  # one more was asked for, so that was the end
    chunks = [data]
    left = size + 1 - len(data)
    while data and left > 0 and (chunk := os.read(fd, left)):
        chunks.append(chunk)
        left -= len(chunk)
    return b"".join(chunks)


def sync_folder(folder: Path) -> None:
    fd = os.open(folder, _OPEN_FOLDER)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def free_bytes(folder: Path) -> int:
    room = os.statvfs(folder)
    return room.f_bavail * room.f_frsize
