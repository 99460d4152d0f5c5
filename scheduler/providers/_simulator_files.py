"""Small files that must survive a power cut, many of them written at once by one thread.

A file is there whole or not at all: written under another name, synced, renamed, and its folder synced.
Whoever waits while a group is being written joins the next one, so the folder is synced once a group.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote


@dataclass(slots=True, eq=False)
class _Pending:
    path: Path
    content: bytes
    written: asyncio.Future[None]


class DurableFiles:
    """The files of one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pending: list[_Pending] = []
        self._writing: asyncio.Task[None] | None = None

    def path(self, name: str, suffix: str) -> Path:
        """Where a name's file lies; any text is a safe name, and two names never share a file."""
        if not name:
            raise ValueError("a file needs a name")
        return self._folder / (quote(name, safe="").replace(".", "%2E") + suffix)

    async def write(self, path: Path, text: str) -> None:
        """Return when the file would survive a power cut. Raises OSError, and then it does not exist."""
        pending = _Pending(path, text.encode(), asyncio.get_running_loop().create_future())
        self._pending.append(pending)
        if self._writing is None:
            self._writing = asyncio.create_task(self._write_groups())
        # A caller that gives up leaves the file to be written: its group is under way in a thread.
        await asyncio.shield(pending.written)

    async def _write_groups(self) -> None:
        try:
            while self._pending:
                group, self._pending = self._pending, []
                ended = await asyncio.to_thread(self._write_group, group)
                for each, error in zip(group, ended, strict=True):
                    if each.written.cancelled():
                        continue
                    if error is None:
                        each.written.set_result(None)
                    else:
                        each.written.set_exception(error)
        finally:
            self._writing = None

    def _write_group(self, group: list[_Pending]) -> list[OSError | None]:
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            return [error] * len(group)
        ended = [_write_one(each.path, each.content) for each in group]
        try:
            _sync_folder(self._folder)
        except OSError as error:
            # Nobody knows whether the names are on disk; they must not turn up later.
            for each in group:
                each.path.unlink(missing_ok=True)
            return [error] * len(group)
        return ended

    def read(self, path: Path) -> str | None:
        """The file's text; None when there is no such file. Raises OSError, ValueError for a damaged one."""
        try:
            return path.read_text("utf-8")
        except FileNotFoundError:
            return None

    def remove(self, path: Path) -> None:
        """Delete the file if it is there. Not synced: one that returns after a power cut does no harm."""
        path.unlink(missing_ok=True)

    async def close(self) -> None:
        """Wait for what is being written."""
        while self._writing is not None:
            await asyncio.shield(self._writing)


def _write_one(path: Path, content: bytes) -> OSError | None:
    unfinished = path.with_name(path.name + ".tmp")
    try:
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            rest = memoryview(content)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(unfinished, path)
    except OSError as error:
        try:
            unfinished.unlink(missing_ok=True)
        except OSError:
            pass  # it is overwritten by the next try, and never read
        return error
    return None


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
