"""Hears about files the moment they come. Only a hint: the kernel's queue overflows, and then the scan tells.

A file renamed in is complete at once; one that was closed after writing becomes complete when it is quiet.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

from asyncinotify import Inotify, Mask

_FOLDERS = Mask.MOVED_TO | Mask.CLOSE_WRITE | Mask.CREATE | Mask.DELETE_SELF | Mask.MOVE_SELF | Mask.ONLYDIR
#: How long to wait before a folder that went away is looked for again.
_AGAIN_S = 1.0


async def watch_inbox(
    inbox: Path, renamed_in: Callable[[str], None], wake: Callable[[], None], log: Callable[..., None]
) -> None:
    """Report renames (paths relative to the inbox) and wake the scan for the rest, for ever."""
    while True:
        try:
            with Inotify() as inotify:
                _add(inotify, inbox)
                wake()
                await _listen(inotify, inbox, renamed_in, wake)
        except OSError as error:
            log("watching the inbox failed; it is scanned instead", error=str(error))
        await asyncio.sleep(_AGAIN_S)


def _add(inotify: Inotify, folder: Path) -> None:
    inotify.add_watch(folder, _FOLDERS)
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False) and not entry.name.startswith("."):
                _add(inotify, Path(entry.path))


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
            try:
                _add(inotify, Path(event.path))
            except OSError:
                pass  # gone again, or a link: the scan sees what is in it
        wake()
