"""A manifest taken apart: what all of its jobs share, the jobs, and where each stands in the file.

One job alone, `jobs:` with shared fields beside it, or JSONL with an optional first line
`{"nightshot": 1, "count": N, …}`: after this module they look the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from scheduler.errors import SpecError
from scheduler.intake.formats import Document, Path
from scheduler.intake.problems import Problems, shown

#: The first line of a .jsonl file is a header when it has this key; its value is the version of the format.
HEADER_KEY = "nightshot"
HEADER_VERSION = 1


@dataclass(frozen=True, slots=True)
class Manifest:
    """Jobs as raw values, not yet validated; `shared` fields hold where a job does not say otherwise."""

    shared: Mapping[str, object]
    jobs: Sequence[object]
    #: (0-based job or None for the shared part, path within it) -> line
    line_of: Callable[[int | None, Path], int | None]
    #: A single job without `jobs:` around it.
    alone: bool


def read_manifest(suffix: str, text: str, problems: Problems, *, depth_max: int, jobs_max: int) -> Manifest:
    """Parse a manifest of any kind. Raises SpecError when it is no manifest at all.

    What is wrong with single lines of JSONL is added to the problems, and the others are returned.
    """
    file = problems.file
    if suffix == ".jsonl":
        return _read_lines(text, problems, jobs_max)
    document = _parse(suffix, text, file, depth_max=depth_max)
    value = document.value
    if not isinstance(value, dict):
        raise SpecError(
            f"the file holds {shown(value)}; a job file holds fields such as code, backend and shots",
            file=file,
            line=document.line_of(()),
            hint='Put a list of jobs under the key "jobs".' if isinstance(value, list) else "",
        )
    if "jobs" not in value:
        return Manifest({}, [value], lambda _job, path: document.line_of(path), alone=True)
    jobs = value.pop("jobs")
    line = document.line_of(("jobs",))
    if not isinstance(jobs, list):
        raise SpecError(f"jobs: {shown(jobs)} is not a list of jobs", file=file, line=line)
    _refuse_count(len(jobs), jobs_max, file, line)
    return Manifest(
        value,
        jobs,
        lambda job, path: document.line_of(path if job is None else ("jobs", job, *path)),
        alone=False,
    )


def _parse(suffix: str, text: str, file: str, *, depth_max: int) -> Document:
    """Parse a manifest that is one document (JSON, TOML, YAML). Raises SpecError with file and line."""
    # The readers are imported when first needed: a folder of .qasm files never pays for YAML.
    match suffix:
        case ".json":
            from scheduler.intake import json_text

            return json_text.parse(text, file, depth_max=depth_max)
        case ".toml":
            from scheduler.intake import toml_text

            return toml_text.parse(text, file, depth_max=depth_max)
        case ".yaml" | ".yml":
            from scheduler.intake import yaml_text

            return yaml_text.parse(text, file, depth_max=depth_max)
        case _:
            raise ValueError(f"{suffix} is not a manifest of one document")


def _refuse_count(count: int, jobs_max: int, file: str, line: int | None) -> None:
    if count == 0:
        raise SpecError("there is no job in this file; nothing was queued", file=file, line=line)
    if count > jobs_max:
        raise SpecError(
            f"{count:,} jobs; at most {jobs_max:,} are taken from one file",
            file=file,
            line=line,
            hint="Split the file; each becomes a batch of its own.",
        )


# --------------------------------------------------------------------------------------------- JSONL


def _read_lines(text: str, problems: Problems, jobs_max: int) -> Manifest:
    from scheduler.intake import json_text

    parse_line = json_text.parse_line
    jobs: list[object] = []
    numbers: list[int] = []
    # Not splitlines(): that also splits at characters which JSON strings may contain.
    lines = text.split("\n")
    _refuse_lines(lines, jobs_max, problems.file)
    broken = 0
    for number, line in enumerate(lines, 1):
        if not line or line.isspace():
            continue
        try:
            jobs.append(parse_line(line))
            numbers.append(number)
        except ValueError as error:
            problems.add(number, str(error))
            broken += 1
            if problems.full:
                problems.refuse()
    shared: Mapping[str, object] = {}
    header_line: int | None = None
    if jobs and isinstance(jobs[0], dict) and HEADER_KEY in jobs[0]:
        header_line = numbers.pop(0)
        shared = _checked_header(jobs.pop(0), len(jobs) + broken, header_line, problems)
    if not jobs:
        problems.refuse_if_any()
    _refuse_count(len(jobs), jobs_max, problems.file, header_line)
    return Manifest(
        shared,
        jobs,
        lambda job, _path: header_line if job is None else numbers[job],
        alone=False,
    )


def _refuse_lines(lines: list[str], jobs_max: int, file: str) -> None:
    """Refuse far too many lines before any is parsed; one more is the header, one the end."""
    if len(lines) > jobs_max + 2:
        count = sum(1 for line in lines if line and not line.isspace())
        if count > jobs_max + 1:
            _refuse_count(count, jobs_max, file, None)


def _checked_header(value: object, jobs: int, line: int, problems: Problems) -> Mapping[str, object]:
    """Return the fields that all jobs share, after noting what is wrong with the header itself."""
    assert isinstance(value, dict)
    version, count = value[HEADER_KEY], value.get("count")
    if type(version) is not int or version != HEADER_VERSION:
        problems.add(line, f"nightshot: version {shown(version)} is not known; write {HEADER_VERSION}")
    if "count" not in value:
        problems.add(line, f'count: missing; the header says how many jobs follow: "count": {jobs}')
    elif type(count) is not int or count < 0:
        problems.add(line, f"count: {shown(count)} is not a number of jobs")
    elif count != jobs:
        why = "the file looks truncated" if jobs < count else "lines were added or the header is old"
        problems.add(line, f"count: the header says {shown(count)} jobs, the file has {jobs}; {why}")
    return {key: field for key, field in value.items() if key not in (HEADER_KEY, "count")}
