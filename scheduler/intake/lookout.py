"""Looks through the inbox: which files are complete, which must wait, and which are refused unopened.

One pass over the whole tree; nothing is opened but folders. What may not be taken is told in a note and
looked at again with every pass.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field

from scheduler.core.spooling import Look, is_complete
from scheduler.errors import SpecError
from scheduler.intake.document import is_manifest
from scheduler.intake.inbox import Seen, has_writer, is_gone, move_out, open_below, scan
from scheduler.intake.notes import Notes
from scheduler.intake.owners import user_name
from scheduler.intake.problems import printable
from scheduler.intake.taking import SpoolPlan
from scheduler.ports import Kit
from scheduler.rejected import put_aside

#: A file that is open for writing and was not changed for so long is told about.
LONG_UNCHANGED_NS = 60 * 10**9


@dataclass(slots=True)
class Lookout:
    kit: Kit
    plan: SpoolPlan
    notes: Notes
    #: Paths, or folders, that a watcher saw renamed in: complete already.
    renamed_in: set[str] = field(default_factory=set)
    #: Paths that the last pass found incomplete, or that wait for one that is.
    waiting: set[str] = field(default_factory=set)
    _before: dict[str, Look] = field(default_factory=dict)
    _before_s: float = 0.0

    @property
    def again_s(self) -> float | None:
        """When to look again by itself; None when nothing waits."""
        return max(0.05, self.plan.quiet_s / 2) if self.waiting else None

    def look(self) -> list[Seen]:
        """Scan; return what is complete, manifests first, because they may claim circuits."""
        now_ns, now_s = self.kit.clock.now_us() * 1000, self.kit.clock.monotonic_s()
        since_ns = int((now_s - self._before_s) * 1e9)
        quiet_ns = int(self.plan.quiet_s * 1e9)
        hints, self.renamed_in = self.renamed_in, set()
        looks: dict[str, Look] = {}
        ready: list[Seen] = []
        unfinished: list[Seen] = []
        for seen in scan(self.plan.inbox):
            looks[seen.path] = seen.look
            if seen.closed:
                self.notes.tell(seen.path, f"{seen.closed}\n  chmod g+rx it, or drop its files elsewhere")
            elif is_complete(
                seen.look,
                self._before.get(seen.path),
                renamed_in=bool(hints) and _was_renamed_in(seen.path, hints),
                now_ns=now_ns,
                quiet_ns=quiet_ns,
                since_before_ns=since_ns,
            ):
                ready.append(seen)
            else:
                unfinished.append(seen)
        self.notes.forget_all_but(looks)
        self._remember(looks, now_s, since_ns * 2 >= quiet_ns)
        self.waiting = {seen.path for seen in unfinished} | _held_by_manifests(ready, unfinished)
        ready = [seen for seen in ready if seen.path not in self.waiting]
        ready.sort(key=lambda seen: (not is_manifest(seen.path), seen.look.mtime_ns, seen.path))
        return ready

    def _remember(self, looks: dict[str, Look], now_s: float, far_enough: bool) -> None:
        """Keep the older look until it is old enough to compare with: two quick scans prove nothing."""
        if far_enough or not self._before:
            self._before, self._before_s = looks, now_s
        else:
            self._before = {path: look for path, look in self._before.items() if looks.get(path) == look}

    def open_to_take(self, seen: Seen, inbox: int) -> int | None:
        """Return an open descriptor of a file that may be taken; None for what is refused or left alone.

        What is no job file is refused without opening it. `inbox` is the descriptor of the open folder.
        """
        refusal = self.plan.files.refuse(
            seen.mode, seen.uid, seen.links, seen.look.size_bytes, user_name(seen.uid)
        )
        try:
            if refusal is not None:
                self._refuse(seen, refusal)
                return None
            fd = open_below(inbox, seen.path)
            if not has_writer(fd):
                return fd
            os.close(fd)
            self._wait_for_writer(seen)
        except PermissionError:
            why = "the service may not read it, so it was left in the inbox"
            self.notes.tell(seen.path, f"{why}\n  chmod g+r it, or use: nightshot submit FILE")
        except OSError as error:
            if not is_gone(error):
                self.notes.tell(seen.path, f"it was left in the inbox: {error.strerror}")
        return None

    def _wait_for_writer(self, seen: Seen) -> None:
        """Its end wakes the watcher; one that has written nothing for long may have been forgotten."""
        if self.kit.clock.now_us() * 1000 - seen.look.mtime_ns < LONG_UNCHANGED_NS:
            self.waiting.add(seen.path)
        else:
            why = "some program still has it open for writing, so it was left in the inbox"
            self.notes.tell(seen.path, f"{why}\n  end that program; the file is taken when it is closed")

    def _refuse(self, seen: Seen, refusal: SpecError) -> None:
        """Move a file to `rejected/` straight from the inbox. Raises OSError when it is gone."""
        path = printable(seen.path)
        why = str(SpecError(refusal.problem, file=path, hint=refusal.hint))
        name = seen.path.rpartition("/")[2]
        try:
            put_aside(
                self.plan.rejected, name, why, lambda target: move_out(self.plan.inbox, seen.path, target)
            )
        except OSError as error:
            if is_gone(error):
                raise
            self.notes.tell(
                seen.path, f"{refusal}\n  It stays here: it cannot be moved to rejected/: {error.strerror}"
            )
            return
        self.notes.forget(seen.path)
        self.kit.log("rejected", file=path, reason=refusal.problem)


def _held_by_manifests(ready: list[Seen], unfinished: list[Seen]) -> set[str]:
    """Circuits that may belong to a manifest which their owner is still writing, in their folder or above."""
    writing = {(s.uid, s.path.rpartition("/")[0]) for s in unfinished if is_manifest(s.path)}
    if not writing:
        return set()
    return {
        seen.path
        for seen in ready
        if not is_manifest(seen.path) and any((seen.uid, folder) in writing for folder in _folders(seen.path))
    }


def _folders(path: str) -> Iterable[str]:
    """The folders a path stands in, from the nearest to the inbox itself, which is empty."""
    while path:
        path = path.rpartition("/")[0]
        yield path


def _was_renamed_in(path: str, hints: set[str]) -> bool:
    return path in hints or any(folder in hints for folder in _folders(path))
