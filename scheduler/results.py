"""Ended jobs become files for people: `results/<night>/<id name>/`, and a WHY beside what was rejected.

A folder is written under a hidden name and renamed when it is complete, so nobody reads half a result, and a
crash in between writes it again.
"""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scheduler import __version__
from scheduler.core.job import job_label
from scheduler.core.lifecycle import JobState
from scheduler.core.money import Credits, Money, money_or_unknown
from scheduler.core.records import AttemptRecord, EndedJob, ResultRecord
from scheduler.core.spooling import WHOLE_MARK
from scheduler.core.timing import iso, iso_or_none
from scheduler.rejected import holds, note_of, put_aside, write_new

_STATUS = ".status.txt"
_LINE = re.compile(r"^(?P<before>(?:refused by [\w-]+: )?)line (?P<line>\d+): ")
_KEPT = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.+=")


def safe_name(text: str, limit: int = 80) -> str:
    """A name that is a name on every file system: no separators, no control characters, no leading dot."""
    cleaned = "".join(c if c in _KEPT else "_" for c in text).lstrip(".")
    return cleaned[:limit] or "job"


def folder_name(ended: EndedJob) -> str:
    label = job_label(ended.job.batch_id, ended.job.ordinal, ended.job.batch_size)
    return f"{label} {safe_name(ended.job.name)}"


@dataclass(frozen=True, slots=True)
class Folders:
    """The folders of one home that people read."""

    results: Path
    rejected: Path

    def write(self, ended: EndedJob, night: str) -> None:
        if ended.job.state is JobState.REJECTED:
            self._write_why(ended)
        parent = self.results / night
        final = parent / folder_name(ended)
        hidden = parent / f".{folder_name(ended)}.tmp"
        parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(hidden, ignore_errors=True)
        hidden.mkdir()
        try:
            _write_folder(hidden, ended)
            _clear(final, iso(ended.job.created_us))
            os.rename(hidden, final)
        except OSError:
            shutil.rmtree(hidden, ignore_errors=True)
            raise

    def _write_why(self, ended: EndedJob) -> None:
        label = job_label(ended.job.batch_id, ended.job.ordinal, ended.job.batch_size)
        name, code = safe_name(f"{label}-{ended.job.source_name}"), ended.code.encode()
        why = (
            f"Job {label} ({ended.job.name}) was rejected: it can never run as it is.\n\n"
            f"{_with_file(name, ended.job.reason or 'no reason was given')}\n\n"
            f"Backend {ended.job.backend}, {ended.job.shots} shots, {ended.job.framework}.\n"
            "The file beside this note is the circuit as it would have run; a header is no longer in it.\n"
            "Correct it and drop it into the inbox again."
        )

        def write_code(path: Path) -> None:
            if not write_new(path, code):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))

        written = self.rejected / name
        if not (holds(written, code) and holds(note_of(written), f"{why}\n".encode())):
            put_aside(self.rejected, name, why, write_code)


@dataclass(slots=True)
class AcceptedFiles:
    """The queue folder: `12-bell.py` and beside it `12-bell.py.status.txt`."""

    folder: Path
    #: Names by batch as the last listing found them: one listing serves thousands of batches.
    _names: dict[int, list[str]] = field(default_factory=dict)

    def batches(self) -> list[int]:
        self._names = {}
        for name in os.listdir(self.folder) if self.folder.is_dir() else ():
            number = name.partition("-")[0]
            if number.isdecimal():
                self._names.setdefault(int(number), []).append(name)
        return sorted(self._names)

    def label(self, batch_id: int, line: str) -> None:
        for name in self._names.get(batch_id, ()):
            if not name.endswith(_STATUS):
                hidden = self.folder / f".{name}{_STATUS}.tmp"
                hidden.unlink(missing_ok=True)
                write_file(hidden, f"{line}\n")
                os.replace(hidden, self.folder / f"{name}{_STATUS}")

    def remove(self, batch_id: int) -> None:
        for name in self._names.get(batch_id, ()):
            path = self.folder / name
            if path.is_dir() and not path.is_symlink():
                if (path / WHOLE_MARK).is_file():
                    shutil.rmtree(path, ignore_errors=True)
            elif name.endswith(_STATUS) or not _is_writable_by_us(path):
                path.unlink(missing_ok=True)


def _is_writable_by_us(path: Path) -> bool:
    """True for a file that somebody put there by hand: the spool makes ours read-only before they come."""
    try:
        info = path.lstat()
    except FileNotFoundError:
        return False
    return info.st_uid == os.geteuid() and bool(info.st_mode & 0o200)


def write_file(path: Path, text: str) -> None:
    """Write a text; half a character in what a provider said becomes an escape, never a failure."""
    path.write_text(text, encoding="utf-8", errors="backslashreplace")


def _with_file(name: str, reason: str) -> str:
    """`line 7: …` is about the file beside the note: say it as editors and people read it, `name:7: …`."""
    return _LINE.sub(rf"\g<before>{name}:\g<line>: ", reason, count=1)


def _clear(final: Path, received_at: str) -> None:
    """Make place for a folder: the same job's from before a crash goes, another job's is moved aside.

    Two jobs have one number when a home was given a new database and kept its results.
    """
    if not os.path.lexists(final):
        return
    try:
        told = json.loads((final / "results.json").read_text(encoding="utf-8"))
        same = told["provenance"]["received_at"] == received_at
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        same = False
    if same:
        shutil.rmtree(final)
        return
    number = 1
    while os.path.lexists(earlier := final.with_name(f"{final.name}.earlier-{number}")):
        number += 1
    os.rename(final, earlier)


def _write_folder(folder: Path, ended: EndedJob) -> None:
    write_file(folder / safe_name(ended.job.source_name), ended.code)
    write_file(
        folder / "results.json", json.dumps(results_document(ended), indent=2, ensure_ascii=False) + "\n"
    )
    if ended.results:
        write_file(folder / "counts.csv", counts_csv(ended.results))
    raw = folder / "raw"
    for attempt in ended.attempts:
        if attempt.raw_reply:
            raw.mkdir(exist_ok=True)
            write_file(raw / f"{attempt.attempt_id}.submit.txt", attempt.raw_reply)
    for result in ended.results:
        if result.raw:
            raw.mkdir(exist_ok=True)
            write_file(raw / "status.txt", result.raw)


def counts_csv(results: tuple[ResultRecord, ...]) -> str:
    """`circuit,bits,count`, circuits numbered from 1 in the order of the code, most frequent first."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("circuit", "bits", "count"))
    for result in results:
        for number, counts in enumerate(json.loads(result.counts_json), 1):
            writer.writerows(
                (number, bits, n) for bits, n in sorted(counts.items(), key=lambda x: (-x[1], x[0]))
            )
    return out.getvalue()


def results_document(ended: EndedJob) -> dict[str, Any]:
    job = ended.job
    returned = [shots for result in ended.results for shots in result.shots_returned]
    return {
        "nightshot": 1,
        "job": job_label(job.batch_id, job.ordinal, job.batch_size),
        "name": job.name,
        "batch": ended.batch_name,
        "user": job.user,
        "project": job.project,
        "tags": list(job.tags),
        "state": job.state.value,
        "reason": job.reason,
        "backend": job.backend,
        "shots_asked": job.shots,
        "shots_returned": returned,
        # None when there is nothing to compare; False is worth a look before the counts are used.
        "shots_match": all(shots == job.shots for shots in returned) if returned else None,
        "bit_order": ended.results[0].bit_order if ended.results else None,
        "counts": [counts for result in ended.results for counts in json.loads(result.counts_json)],
        "cost": _cost(ended),
        "provenance": _provenance(ended),
    }


def _cost(ended: EndedJob) -> dict[str, Any]:
    return {
        "currency": "USD",
        "estimated": _money(ended.job.estimate_microusd),
        "quote": ended.quote_text,
        "cost": _money(ended.job.cost_microusd),
        "said": money_or_unknown(ended.job.cost_microusd),
        "replies": [_reply(attempt) for attempt in ended.attempts if attempt.provider_job_id],
    }


def _reply(attempt: AttemptRecord) -> dict[str, Any]:
    """The three figures of a reply are three facts: nobody knows how they relate."""
    applied, charge = attempt.cost.credits_applied_microcredits, attempt.charge
    return {
        "attempt": attempt.attempt_id,
        "estimated_cost": _money(attempt.cost.estimated_cost_microusd),
        "credits_applied": None if applied is None else str(Credits(applied)),
        "overage": _money(attempt.cost.overage_microusd),
        "charge": charge.word if charge else None,
        "evidence": charge.evidence if charge else None,
    }


def _money(microusd: int | None) -> str | None:
    return None if microusd is None else Money(microusd).decimal_text()


def _provenance(ended: EndedJob) -> dict[str, Any]:
    job = ended.job
    return {
        "nightshot_version": __version__,
        "received_at": iso(job.created_us),
        "ended_at": iso_or_none(job.ended_us),
        "source_framework": job.framework,
        "source_file": job.source_name,
        "code_sha256": job.code_sha256,
        "attempts": [
            {
                "attempt": a.attempt_id,
                "state": a.state.value,
                "provider_job_id": a.provider_job_id,
                "sent_at": iso_or_none(a.sent_us),
                "ended_at": iso_or_none(a.ended_us),
                "reason": a.reason,
            }
            for a in ended.attempts
        ],
        "run": dict(fact for result in ended.results for fact in result.facts),
    }
