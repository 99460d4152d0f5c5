"""The folder of refused files: each under a name of its own, its reason beside it as `<name>.WHY.txt`.

Names and files in here come from strangers: nothing that is there already is ever followed, waited for or
overwritten, so a link dropped under a clever name cannot lead a later reason into somebody's file.
"""

from __future__ import annotations

import itertools
import os
import secrets
import stat
from collections.abc import Callable
from pathlib import Path

#: The longest file name a file system takes is 255 bytes: room for a key before it and an ending behind.
LONGEST_NAME_BYTES = 200
#: Numbers tried for a name that is taken, before one that nobody has.
_NUMBERS = 50
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def short_name(name: str) -> str:
    """The file name, its middle cut out when it is too long to stand with something; the ending stays."""
    if len(name) * 4 <= LONGEST_NAME_BYTES:
        return name  # a character has at most four bytes
    raw = os.fsencode(name)
    if len(raw) <= LONGEST_NAME_BYTES:
        return name
    half = LONGEST_NAME_BYTES // 2
    return os.fsdecode(raw[:half] + b"..." + raw[-half:])


def put_aside(folder: Path, name: str, why: str, place: Callable[[Path], None]) -> Path:
    """Give a refused file a free name in `folder` and write the reason; `place` brings it there.

    The reason goes first, so a crash in between leaves the file where it was, to be refused once more under
    the same name. Raises OSError.
    """
    folder.mkdir(exist_ok=True)
    for candidate in _candidates(short_name(name)):
        target = folder / candidate
        if not os.path.lexists(target) and _write_note(target, why):
            try:
                place(target)
            except OSError:
                note_of(target).unlink(missing_ok=True)
                raise
            return target
    raise AssertionError("the names never end")


def note_alone(folder: Path, name: str, why: str) -> Path:
    """Write a reason for a file that stays where it is; returns the note. Raises OSError."""

    def stays(_target: Path) -> None:
        pass

    return note_of(put_aside(folder, name, why, stays))


def note_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.WHY.txt")


def write_new(path: Path, data: bytes) -> bool:
    """Write a file that was not there; False when another one is. The same again is no other one."""
    try:
        fd = os.open(path, _NEW_FILE, 0o644)
    except FileExistsError:
        return holds(path, data)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
    except OSError:
        path.unlink(missing_ok=True)  # a full disk: half a file would be taken for another one
        raise
    return True


def _write_note(beside: Path, why: str) -> bool:
    return write_new(note_of(beside), f"{why}\n".encode(errors="backslashreplace"))


def holds(path: Path, data: bytes) -> bool:
    """True for a plain file with exactly this content; False for anything else, and for nothing."""
    try:
        info = path.lstat()
    except FileNotFoundError:
        return False
    if not stat.S_ISREG(info.st_mode) or info.st_size != len(data):
        return False
    with path.open("rb") as file:
        return file.read() == data


def _candidates(name: str) -> itertools.chain[str]:
    stem, dot, suffix = name.rpartition(".")
    if not stem:
        stem, dot, suffix = name, "", ""
    numbers: itertools.chain[object] = itertools.chain(
        range(2, _NUMBERS), (secrets.token_hex(4) for _ in itertools.count())
    )
    return itertools.chain([name], (f"{stem}-{number}{dot}{suffix}" for number in numbers))
