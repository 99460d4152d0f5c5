"""A claim is a file of the inbox that is ours now, with the circuit files its manifest refers to.

A single file is claimed by one rename: `claimed/<key>~<name>`. A manifest with circuit files gets a folder
`claimed/<key>` that mirrors the paths they had, circuits first and the manifest last, so a crash in between
leaves either a whole claim or files that can be put back where they were.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from scheduler.core.spooling import WHOLE_MARK
from scheduler.intake.inbox import is_gone, kind_of, look_below, move_in, move_out
from scheduler.rejected import short_name


@dataclass(frozen=True, slots=True)
class Claim:
    """`key` makes the batch's ingest key; `folder`/`path` is where the document is now."""

    key: str
    name: str
    folder: Path
    path: str
    #: The folder that holds manifest and circuits; None for a single file.
    whole: Path | None = None
    #: Circuits that stayed in the inbox although the manifest names them, and why.
    not_taken: Mapping[str, str] = field(default_factory=dict)

    @property
    def at(self) -> Path:
        return self.folder / self.path

    @property
    def moved_as(self) -> Path:
        """What has to be moved to put the whole claim somewhere else."""
        return self.whole or self.at

    @property
    def size_bytes(self) -> int:
        """How much there may be to read; 0 for what is gone. Blocks."""
        if self.whole is None:
            return _size(self.at)
        return sum(_size(Path(folder, name)) for folder, _, names in os.walk(self.whole) for name in names)


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0


def claim_file(inbox: Path | int, path: str, claimed: Path, key: str) -> Claim:
    """Take one file by rename. Raises OSError (FileNotFoundError: somebody else was quicker)."""
    name = path.rpartition("/")[2]
    taken = f"{key}~{short_name(name)}"
    move_out(inbox, path, f"{claimed}/{taken}")
    return Claim(key, name, claimed, taken)


def claim_with_circuits(
    inbox: Path, path: str, uid: int, circuits: list[str], claimed: Path, key: str, user: Callable[[int], str]
) -> Claim:
    """Take a manifest of the user `uid` and those of its circuits that are there and are the same user's.

    Paths are relative to the inbox. Raises OSError; what was taken until then goes back to the inbox.
    """
    whole = claimed / key
    not_taken: dict[str, str] = {}
    try:
        for each in circuits:
            why_not = _why_not_taken(inbox, each, uid, user)
            if why_not is None:
                _move_under(inbox, each, whole)
            elif why_not:
                not_taken[each] = why_not
        _move_under(inbox, path, whole)
        # Complete from here on; the marker tells a later process which of the files is the manifest.
        (whole / WHOLE_MARK).write_bytes(os.fsencode(path))
    except OSError:
        put_back(whole, inbox)
        raise
    return Claim(key, path.rpartition("/")[2], whole, path, whole, not_taken)


def _why_not_taken(inbox: Path, path: str, uid: int, user: Callable[[int], str]) -> str | None:
    """None to take a circuit, a sentence not to, and an empty one when there is none."""
    if path.startswith(f"{WHOLE_MARK}/"):
        return "is in a folder whose name is reserved"
    try:
        info = look_below(inbox, path)
    except OSError as error:
        if is_gone(error):
            return ""
        raise
    if not stat.S_ISREG(info.st_mode):
        return f"is {kind_of(info.st_mode)}, not a file"
    if info.st_uid != uid:
        # It would be taken from its owner, and run for somebody who may not even be allowed to read it.
        return f"belongs to {user(info.st_uid)}, and this file to {user(uid)}: use a copy of your own"
    return None


def _move_under(inbox: Path, path: str, whole: Path) -> None:
    target = whole / path
    target.parent.mkdir(parents=True, exist_ok=True)
    move_out(inbox, path, target)


def left_behind(inbox: Path, claimed: Path) -> list[Claim]:
    """The claims of a process that died; files of a claim it had not finished go back to the inbox."""
    claims = []
    for path in sorted(claimed.iterdir()):
        key, mark, name = path.name.partition("~")
        if mark:
            claims.append(Claim(key, name, claimed, path.name))
        elif (manifest := _marked(path)) is not None:
            claims.append(Claim(path.name, manifest.rpartition("/")[2], path, manifest, path))
        elif path.is_dir():
            put_back(path, inbox)
    return claims


def _marked(whole: Path) -> str | None:
    """The manifest of a complete claim; None when a crash or a full disk cut the claim short."""
    try:
        manifest = os.fsdecode((whole / WHOLE_MARK).read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    return manifest if manifest and os.path.lexists(whole / manifest) else None


def put_back(whole: Path, inbox: Path) -> None:
    """Return the files of a claim to where they were in the inbox or, if that is taken, beside it."""
    for folder, _, names in os.walk(whole):
        for name in names:
            source = Path(folder, name)
            path = str(source.relative_to(whole))
            if path == WHOLE_MARK:
                continue
            try:
                move_in(source, inbox, path)
            except OSError:
                move_in(source, inbox, name)  # something else is in the place of its folder
    shutil.rmtree(whole, ignore_errors=True)
