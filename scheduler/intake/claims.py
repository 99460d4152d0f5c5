"""A claim is a file of the inbox that is ours now, with the circuit files its manifest refers to.

A single file is claimed by one rename: `claimed/<key>~<name>`. A manifest with circuit files gets a folder
`claimed/<key>` that mirrors the paths they had, circuits first and the manifest last, so a crash in between
leaves either a whole claim or files that can be put back where they were.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from scheduler.intake.inbox import free_name

#: The longest file name a file system takes, less what we put in front of it.
_LONGEST_NAME_BYTES = 200
_MARKER = ".complete"


@dataclass(frozen=True, slots=True)
class Claim:
    """`key` makes the batch's ingest key; `folder`/`path` is where the document is now."""

    key: str
    name: str
    folder: Path
    path: str
    #: The folder that holds manifest and circuits; None for a single file.
    whole: Path | None = None

    @property
    def at(self) -> Path:
        return self.folder / self.path

    @property
    def moved_as(self) -> Path:
        """What has to be moved to put the whole claim somewhere else."""
        return self.whole or self.at


def short_name(name: str) -> str:
    """The file name, its middle cut out when it is too long to stand behind a key; the ending stays."""
    raw = os.fsencode(name)
    if len(raw) <= _LONGEST_NAME_BYTES:
        return name
    half = _LONGEST_NAME_BYTES // 2
    return os.fsdecode(raw[:half] + b"..." + raw[-half:])


def claim_file(inbox: Path, path: str, claimed: Path, key: str) -> Claim:
    """Take one file by rename. Raises OSError (FileNotFoundError: somebody else was quicker)."""
    name = path.rpartition("/")[2]
    taken = f"{key}~{short_name(name)}"
    os.rename(inbox / path, claimed / taken)
    return Claim(key, name, claimed, taken)


def claim_with_circuits(inbox: Path, path: str, circuits: list[str], claimed: Path, key: str) -> Claim:
    """Take a manifest and the circuits beside it that exist; paths are relative to the inbox."""
    whole = claimed / key
    for each in [*circuits, path]:
        target = whole / each
        target.parent.mkdir(parents=True, exist_ok=True)
        if each == path or os.path.lexists(inbox / each):
            os.rename(inbox / each, target)
    # Complete from here on; the marker tells a later process which of the files is the manifest.
    (whole / _MARKER).write_bytes(os.fsencode(path))
    return Claim(key, path.rpartition("/")[2], whole, path, whole)


def left_behind(inbox: Path, claimed: Path) -> list[Claim]:
    """The claims of a process that died; files of a claim it had not finished go back to the inbox."""
    claims = []
    for path in sorted(claimed.iterdir()):
        key, mark, name = path.name.partition("~")
        if mark:
            claims.append(Claim(key, name, claimed, path.name))
        elif (path / _MARKER).is_file():
            manifest = os.fsdecode((path / _MARKER).read_bytes())
            claims.append(Claim(path.name, manifest.rpartition("/")[2], path, manifest, path))
        elif path.is_dir():
            _put_back(path, inbox)
    return claims


def _put_back(whole: Path, inbox: Path) -> None:
    for folder, _, names in os.walk(whole):
        for name in names:
            source = Path(folder, name)
            target = free_name(inbox, str(source.relative_to(whole)))
            target.parent.mkdir(parents=True, exist_ok=True)
            os.rename(source, target)
    shutil.rmtree(whole)
