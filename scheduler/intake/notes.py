"""Complete files that stay in the inbox: each is told about once, in `rejected/` and in the log.

The file is looked at again with every scan, because what keeps us from it (its mode, its group, the folder
around it, a full disk) may change without the file itself changing; the note goes when the cause has gone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

from scheduler.intake.problems import printable
from scheduler.rejected import note_alone

#: Files named in `status`; the notes name all of them.
SHOWN = 10


@dataclass(slots=True)
class Note:
    sentence: str
    #: None while the note could not be written.
    path: Path | None


@dataclass(slots=True)
class Notes:
    """What has been told, by path in the inbox."""

    rejected: Path
    log: Callable[..., None]
    _told: dict[str, Note] = field(default_factory=dict)

    def tell(self, path: str, why: str) -> None:
        """Say why a file stays, once while the reason is the same; an unwritten note is tried again."""
        told = self._told.get(path)
        if told is None or told.sentence != why:
            self.forget(path)
            self.log("left in the inbox", file=printable(path), reason=why.partition("\n")[0])
            told = self._told[path] = Note(why, None)
        if told.path is None:
            try:
                told.path = note_alone(self.rejected, path.rpartition("/")[2], f"{printable(path)}: {why}")
            except OSError:
                pass  # it is in the log and in `status`, and tried again with the next scan

    def forget(self, path: str) -> None:
        """The file is taken, refused or gone: its note would mislead."""
        told = self._told.pop(path, None)
        if told is not None and told.path is not None:
            try:
                told.path.unlink(missing_ok=True)
            except OSError:
                pass  # a note too many does less harm than a scan that stops

    def forget_all_but(self, paths: Collection[str]) -> None:
        for path in [path for path in self._told if path not in paths]:
            self.forget(path)

    def sentences(self) -> dict[str, str]:
        """What to show in `status`, by file; of very many only the first."""
        shown = {f"inbox/{printable(path)}": note.sentence for path, note in list(self._told.items())[:SHOWN]}
        if len(self._told) > SHOWN:
            shown["inbox files"] = f"{len(self._told)} files stay there; their notes are in rejected/"
        return shown
