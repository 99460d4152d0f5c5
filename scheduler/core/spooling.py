"""When a file in the inbox is complete enough to be taken. Pure: names, sizes and times come in.

The scan is the truth; what a watcher heard only lets a file be taken earlier.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Names that are still being written by well-known programs wait until they are renamed.
UNFINISHED_SUFFIXES = (".tmp", ".part", ".crdownload", "~")

#: Lies in a folder that the spool made for a manifest and its circuits, once all of them are in it.
WHOLE_MARK = ".complete"


@dataclass(frozen=True, slots=True)
class Look:
    """What one scan saw of a file: size in bytes, times in nanoseconds since 1970."""

    size_bytes: int
    mtime_ns: int
    inode: int


def is_unfinished_name(name: str) -> bool:
    return name.startswith(".") or name.endswith(UNFINISHED_SUFFIXES)


def is_complete(
    look: Look, before: Look | None, *, renamed_in: bool, now_ns: int, quiet_ns: int, since_before_ns: int
) -> bool:
    """True when a file may be taken.

    On rename-in at once; when it was last changed longer than `quiet_ns` ago; or when two scans at least
    half that long apart agree on size and time (a clock in the future must not keep a file for ever).
    """
    if renamed_in:
        return True
    if now_ns - look.mtime_ns >= 0 and now_ns - look.mtime_ns >= quiet_ns:
        return True
    return before == look and since_before_ns * 2 >= quiet_ns
