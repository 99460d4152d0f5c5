"""Hears about files the moment they come. Only a hint: the kernel's queue overflows, and then the scan tells.

A file renamed in is complete at once; one that was closed after writing becomes complete when it is quiet.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

from asyncinotify import Inotify, Mask

from scheduler.core.spooling import is_unfinished_name
from scheduler.intake.inbox import DEEPEST_FOLDER

_FOLDERS = Mask.MOVED_TO | Mask.CLOSE_WRITE | Mask.CREATE | Mask.DELETE_SELF | Mask.MOVE_SELF | Mask.ONLYDIR
#: How long to wait before a folder that went away is looked for again.
_AGAIN_S = 1.0


async def watch_inbox(
    inbox: Path, renamed_in: Callable[[str], None], wake: Callable[[], None], log: Callable[..., None]
) -> None:
    """Report renames (paths relative to the inbox) and wake the scan for the rest, for ever."""
    told = ""
    while True:
        try:
            with Inotify() as inotify:
                inotify.add_watch(inbox, _FOLDERS)
                _watch_below(inotify, inbox, 0)
                wake()
                told = ""
                await _listen(inotify, inbox, renamed_in, wake)
        except OSError as error:
            if str(error) != told:
                told = str(error)
                log("watching the inbox failed; it is scanned instead", error=told)
        await asyncio.sleep(_AGAIN_S)


def _watch_below(inotify: Inotify, folder: Path, depth: int) -> None:
    """Watch the folders in a folder."""
    try:
        with os.scandir(folder) as entries:
            inner = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return  # gone again or closed to us: the scan sees it, or tells
    for path in inner:
        _watch(inotify, Path(path), depth + 1)


def _watch(inotify: Inotify, folder: Path, depth: int) -> None:
    """Watch a folder and those in it; one that cannot be watched is left to the scan."""
    # A folder under an unfinished name would go on to be reported under it after it was renamed.
    if is_unfinished_name(folder.name) or depth > DEEPEST_FOLDER:
        return
    try:
        inotify.add_watch(folder, _FOLDERS)
    except OSError:
        return
    _watch_below(inotify, folder, depth)


async def _listen(
    inotify: Inotify, inbox: Path, renamed_in: Callable[[str], None], wake: Callable[[], None]
) -> None:
    async for event in inotify:
        if event.mask & (Mask.DELETE_SELF | Mask.MOVE_SELF) and event.watch and event.watch.path == inbox:
            wake()
            return  # the inbox itself is gone: start over when it is back
        if event.mask & Mask.Q_OVERFLOW or event.path is None:
            wake()
            continue
        if event.mask & Mask.MOVED_TO:
            renamed_in(os.path.relpath(event.path, inbox))
        if event.mask & Mask.ISDIR and event.mask & (Mask.CREATE | Mask.MOVED_TO):
            _watch(inotify, Path(event.path), len(event.path.relative_to(inbox).parts))
        wake()
