"""Reply files: what a provider answered, on disk before the database hears of it.

A fixed set of slots, each a file whose blocks are written out in advance: keeping a reply overwrites bytes
that the disk has already given, so a disk that fills up between request and reply loses none. A slot holds
the last outcome it was given until it is used again; whether it still matters, the attempt's state says.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import struct
import threading
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from scheduler.core.task import Accepted, CostFacts, NotSent, Outcome, RefusalKind, Refused, Unknown
from scheduler.errors import TryAgain

SLOT_BYTES = 64 * 1024
_MAGIC = b"NSRPLY1\n"
_HEAD = struct.Struct(">8sI32s")
#: Longer texts are cut for the slot (JSON may need six bytes a character); the outcome itself never is.
_TEXT_LIMITS = {"raw": 8000, "reason": 1000, "provider_job_id": 1000, "status_word": 200}
_KINDS: dict[str, type[Accepted] | type[Refused] | type[NotSent] | type[Unknown]] = {
    "accepted": Accepted,
    "refused": Refused,
    "not_sent": NotSent,
    "unknown": Unknown,
}
_NAMES = {kind: name for name, kind in _KINDS.items()}


def outcome_as_json(attempt_id: str, outcome: Outcome) -> bytes:
    fields = asdict(outcome)
    for name, limit in _TEXT_LIMITS.items():
        if name in fields:
            fields[name] = fields[name][:limit]
    name = _NAMES[type(outcome)]
    return json.dumps({"attempt": attempt_id, "outcome": name, "fields": fields}).encode()


def outcome_from_json(data: bytes) -> tuple[str, Outcome]:
    """Read back what `outcome_as_json` wrote. Raises ValueError, KeyError or TypeError on anything else."""
    document = json.loads(data)
    outcome = str(document["outcome"])
    fields: dict[str, Any] = document["fields"]
    if outcome == "accepted":
        fields["cost"] = CostFacts(**fields["cost"])
    if outcome == "refused":
        fields["kind"] = RefusalKind(fields["kind"])
    return str(document["attempt"]), _KINDS[outcome](**fields)


def _slot_files(folder: Path) -> list[Path]:
    """The slots of a folder; whatever else lies there is none of ours."""
    return [p for p in sorted(folder.glob("slot-*.reply")) if p.stem[5:].isdecimal() and p.is_file()]


def _number(path: Path) -> int:
    return int(path.stem[5:])


class Slot:
    def __init__(self, files: ReplySlots, path: Path) -> None:
        self._files = files
        self.path = path

    def keep(self, attempt_id: str, outcome: Outcome) -> None:
        body = outcome_as_json(attempt_id, outcome)
        record = _HEAD.pack(_MAGIC, len(body), hashlib.sha256(body).digest()) + body
        fd = os.open(self.path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.pwrite(fd, record, 0)
            os.fdatasync(fd)
        finally:
            os.close(fd)

    def release(self) -> None:
        self._files.give_back(self)


class ReplySlots:
    """The slots of one home; as many as there may be requests on the way, made when first needed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._free: list[Slot] = []
        self._lock = threading.Lock()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        #: Slots with a smaller number are from processes before this one.
        self._first_own = 1 + max((_number(path) for path in _slot_files(folder)), default=0)
        self._next_number = self._first_own

    def adopt(self) -> None:
        with self._lock:
            known = {slot.path for slot in self._free}
            for path in _slot_files(self._folder):
                whole = path.stat().st_size == SLOT_BYTES
                if whole and path not in known and _number(path) < self._first_own:
                    self._free.append(Slot(self, path))

    def reserve(self) -> Slot:
        with self._lock:
            if self._free:
                return self._free.pop()
            number = self._next_number
            self._next_number += 1
        return self._make(self._folder / f"slot-{number:04d}.reply")

    def give_back(self, slot: Slot) -> None:
        with self._lock:
            self._free.append(slot)

    def _make(self, path: Path) -> Slot:
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                # Real zeros, not a hole: only written blocks are certain to be there later.
                if os.write(fd, bytes(SLOT_BYTES)) != SLOT_BYTES:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(fd)
            finally:
                os.close(fd)
            folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            with contextlib.suppress(OSError):
                path.unlink()
            raise TryAgain(
                f"no room for a provider's reply in {self._folder}: {error.strerror}",
                "nothing paid is sent until there is: free some space",
            ) from error
        return Slot(self, path)

    def kept(self) -> Mapping[str, Outcome]:
        found = (self._read(path) for path in _slot_files(self._folder))
        return {attempt_id: outcome for attempt_id, outcome in filter(None, found)}

    def _read(self, path: Path) -> tuple[str, Outcome] | None:
        data = path.read_bytes()
        if len(data) < _HEAD.size:
            return None
        magic, length, digest = _HEAD.unpack_from(data)
        body = data[_HEAD.size : _HEAD.size + length]
        if magic != _MAGIC or hashlib.sha256(body).digest() != digest:
            return None
        with contextlib.suppress(ValueError, KeyError, TypeError):
            return outcome_from_json(body)
        return None
