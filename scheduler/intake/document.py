"""Bytes to a batch, or one SpecError that names everything wrong: the only door for job files.

A document is understood completely or refused. Nothing is executed, no field is accepted and ignored, and no
file is opened here: circuits that a manifest refers to come through a callable of the caller's.
"""

from __future__ import annotations

import hashlib
import posixpath
import re
from collections.abc import Callable, Mapping

from pydantic import ValidationError

from scheduler.core.job import BatchSpec, JobSpec
from scheduler.errors import SpecError
from scheduler.intake import after, frameworks, headers, paths, text, wire
from scheduler.intake.frameworks import FrameworkError
from scheduler.intake.jobs import JobsReader
from scheduler.intake.manifest import read_manifest
from scheduler.intake.paths import CIRCUIT_SUFFIXES, SUFFIXES, is_manifest, suffix_of
from scheduler.intake.problems import Problems, did_you_mean, printable, shown
from scheduler.intake.spec import Defaults, size_problem, spec_of
from scheduler.intake.when import Calendar, WrongTime, read_terms

__all__ = ["SUFFIXES", "Defaults", "is_manifest", "read_document", "referenced_files", "suffix_of"]

#: The word itself, or an escape that could spell a letter of it: \u, \U, \x, or a YAML line break within it.
#: The others (\n, \") stand in every circuit that is written into a manifest.
_MAY_NAME_CIRCUITS = re.compile(rb"circuit|\\[uUx\r\n\xc2\xe2]")
#: What a header block may add to the size of a circuit file.
_HEADER_BYTES_MAX = 64 * 1024


def read_document(
    name: str,
    data: bytes,
    defaults: Defaults,
    attachment: Callable[[str], bytes],
    now_us: int | None = None,
) -> BatchSpec:
    """Read a job file. `attachment` returns the bytes of a circuit file named by a validated relative path.

    `now_us` is when it was handed in: a deadline that is over by then is refused. None judges none as past.
    Raises SpecError whose message has a line `file:line: problem` for each of up to ten problems.
    """
    file = printable(name)
    suffix = suffix_of(name)
    if suffix not in SUFFIXES:
        raise SpecError(
            f"{shown(suffix) if suffix else 'no ending'}: not a job file; {', '.join(SUFFIXES)} are",
            file=file,
        )
    limit = defaults.max_document_bytes if is_manifest(name) else defaults.max_code_bytes + _HEADER_BYTES_MAX
    content = text.decode(data, file, limit_bytes=limit)
    calendar = defaults.calendar(now_us)
    if suffix in CIRCUIT_SUFFIXES:
        job = _read_circuit(content, suffix, name, defaults, calendar)
        return BatchSpec(job.name, (job,), hashlib.sha256(data).hexdigest())
    problems = Problems(file)
    manifest = read_manifest(
        suffix, content, problems, depth_max=defaults.max_depth, jobs_max=defaults.max_jobs
    )
    reader = JobsReader(name, manifest, defaults, attachment, problems, calendar)
    jobs = reader.read()
    return BatchSpec(reader.batch_name, jobs, _digest(data, reader.attached), tuple(reader.attached))


def referenced_files(name: str, data: bytes) -> tuple[str, ...]:
    """Return the circuit files that a manifest refers to, in order; empty when it has none or is wrong."""
    if not is_manifest(name) or not _MAY_NAME_CIRCUITS.search(data):
        return ()
    limits = Defaults()
    try:
        content = text.decode(data, "", limit_bytes=limits.max_document_bytes)
        manifest = read_manifest(
            suffix_of(name), content, Problems(""), depth_max=limits.max_depth, jobs_max=limits.max_jobs
        )
    except SpecError:
        return ()  # read_document tells why, when the file is taken
    found: dict[str, None] = {}
    for fields in (manifest.shared, *manifest.jobs):
        path = fields.get("circuit") if isinstance(fields, Mapping) else None
        if isinstance(path, str) and paths.path_problem(path) is None:
            found.setdefault(posixpath.normpath(path))
    return tuple(found)


def _digest(data: bytes, attached: Mapping[str, bytes]) -> str:
    """Hash what the batch is made of: a manifest whose circuit changed is not the same batch."""
    digest = hashlib.sha256(data)
    for path, content in attached.items():
        digest.update(f"\0{path}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


# ------------------------------------------------------------------------------------- circuit files


def _read_circuit(content: str, suffix: str, name: str, defaults: Defaults, calendar: Calendar) -> JobSpec:
    file = printable(name)
    header = headers.split(content, suffix, file, depth_max=defaults.max_depth)
    problems = Problems(file)
    fields, wrong = wire.read_reporting(
        header.fields, lambda place, sentence: problems.add(header.line_of(place), sentence)
    )
    for key in ("code", "circuit"):
        if key in header.fields:
            problems.add(header.line_of((key,)), f"{key}: the file itself is the circuit; remove the line")
    hint = ""
    if problems:
        note = " (keep the other lines of the block)" if suffix == ".py" else ""
        hint = f"Corrected header{note}:\n{headers.render(_mended(header.fields), suffix)}"
    framework = ""
    try:
        framework = frameworks.recognise(content, suffix, fields.source_framework)
    except FrameworkError as unclear:
        if "source_framework" not in wrong:
            line = header.line_of(("source_framework",)) if unclear.about_field else unclear.line
            problems.add(line, unclear.problem)
            hint = hint or unclear.hint
    if not problems:
        try:
            read_terms(fields.window, fields.not_before, fields.deadline, calendar)
        except WrongTime as wrong_time:
            problems.add(header.line_of((wrong_time.place,)), wrong_time.sentence)
    problems.refuse_if_any(hint)
    too_large = size_problem(header.code, defaults)
    if too_large:
        raise SpecError(too_large, file=file)
    job_name, source_name = paths.job_name(name), paths.source_name(name)
    job = spec_of(fields, header.code, framework, job_name, source_name, defaults, calendar)
    (job,) = after.resolve(
        [job],
        lambda _job, entry: header.line_of(("after", entry)) or header.line_of(("after",)),
        lambda _job, _entry, sentence: problems.add(header.line_of(("after",)), sentence),
    )
    problems.refuse_if_any()
    return job


def _mended(fields: Mapping[str, object]) -> dict[str, object]:
    """Return the fields that can stay, misspelt ones under the name that was probably meant."""
    mended: dict[str, object] = {}
    for key, value in fields.items():
        meant = key if key in wire.FIELDS else did_you_mean(key, wire.FIELDS)
        if meant is None or key in wire.NOT_YET or meant in ("code", "circuit") or meant in mended:
            continue
        try:
            wire.read_one({meant: value})
        except ValidationError:
            continue
        mended[meant] = value
    return mended
