"""The jobs of a manifest: shared fields merged in, circuits fetched, everything wrong collected."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from pydantic import ValidationError

from scheduler.core.job import OPENQASM, JobSpec
from scheduler.errors import SpecError
from scheduler.intake import after, frameworks, headers, paths, text, wire
from scheduler.intake.formats import Path
from scheduler.intake.frameworks import FrameworkError
from scheduler.intake.manifest import Manifest
from scheduler.intake.problems import Problems, printable, shown
from scheduler.intake.spec import Defaults, size_problem, spec_of
from scheduler.intake.when import Calendar, WrongTime

#: Validated together: large enough to pay the call once for many, small enough to stop early.
_CHUNK = 256

_BOTH = "code and circuit: a job has exactly one of them"


class _WrongJob(Exception):
    """A problem with one job's circuit: the field it concerns ("" for the job as a whole) and a sentence."""

    def __init__(self, place: str, sentence: str) -> None:
        super().__init__(sentence)
        self.path = (place,) if place else ()
        self.sentence = sentence


@dataclass(slots=True)
class JobsReader:
    """Builds the jobs of one manifest; `batch_name` and `attached` are known after `read`."""

    name: str
    manifest: Manifest
    defaults: Defaults
    attachment: Callable[[str], bytes]
    problems: Problems
    calendar: Calendar
    batch_name: str = field(init=False)
    #: Circuit files read so far, by normalised path.
    attached: dict[str, bytes] = field(default_factory=dict)
    code_characters: int = 0

    def __post_init__(self) -> None:
        self.batch_name = paths.job_name(self.name)

    def read(self) -> tuple[JobSpec, ...]:
        """Return the jobs. Raises SpecError with up to ten problems."""
        shared = self.read_shared()
        jobs: list[JobSpec] = []
        raws = self.manifest.jobs
        for start in range(0, len(raws), _CHUNK):
            chunk = raws[start : start + _CHUNK]
            if shared:
                chunk = [_with_shared(shared, raw) for raw in chunk]
            jobs += self.read_chunk(start, chunk)
            if self.problems.full:
                break
        if not self.problems:
            jobs = list(after.resolve(jobs, self.line_of_after, self.after_problem))
        self.problems.refuse_if_any()
        if self.manifest.alone:
            self.batch_name = jobs[0].name
        return tuple(jobs)

    def read_shared(self) -> dict[str, object]:
        """Return the fields that every job inherits; `name` beside `jobs` names the batch instead."""
        shared = dict(self.manifest.shared)
        if not shared:
            return shared
        fields, wrong = wire.read_reporting(
            shared, lambda place, sentence: self.problems.add(self.manifest.line_of(None, place), sentence)
        )
        if fields.code and fields.circuit:
            self.problems.add(self.manifest.line_of(None, ("circuit",)), _BOTH)
            self.problems.refuse()  # every job would inherit the contradiction
        self.batch_name = fields.name or self.batch_name
        left_out = {"name", *wrong}
        return {key: value for key, value in shared.items() if key in wire.FIELDS and key not in left_out}

    def read_chunk(self, start: int, chunk: Sequence[object]) -> list[JobSpec]:
        try:
            validated = None if any(map(wire.too_many_fields, chunk)) else wire.read_many(chunk)
        except ValidationError:
            validated = None
        if validated is None:
            self.report_chunk(start, chunk)
            return []  # the document is refused; its good jobs are of no use
        jobs = []
        for index, fields in enumerate(validated, start):
            try:
                jobs.append(self.read_job(index, fields))
            except _WrongJob as wrong:
                self.problem(index, wrong.path, wrong.sentence)
        return jobs

    def report_chunk(self, start: int, chunk: Sequence[object]) -> None:
        """Note everything that is wrong with these jobs, circuits included, until there is enough to show."""
        for index, raw in enumerate(chunk, start):
            if self.problems.full:
                return
            if not isinstance(raw, dict):
                self.problem(index, (), f"a job is a table of fields; this is {shown(raw)}")
                continue
            fields, wrong = wire.read_reporting(raw, partial(self.problem, index))
            if wrong & {"code", "circuit", "source_framework"}:
                continue  # what the circuit is cannot be told
            try:
                self.read_job(index, fields)
            except _WrongJob as error:
                self.problem(index, error.path, error.sentence)

    def problem(self, index: int, path: Path, sentence: str) -> None:
        self.problems.add(self.manifest.line_of(index, path), sentence)

    def line_of_after(self, index: int, number: int) -> int | None:
        # What all jobs share is written once, beside them.
        return (
            self.manifest.line_of(index, ("after", number))
            or self.manifest.line_of(index, ("after",))
            or self.manifest.line_of(None, ("after",))
        )

    def after_problem(self, index: int, number: int, sentence: str) -> None:
        self.problems.add(self.line_of_after(index, number), sentence)

    def read_job(self, index: int, fields: wire.JobFields) -> JobSpec:
        """Return the job. Raises _WrongJob when there is something wrong with its circuit."""
        if fields.code and fields.circuit:
            raise _WrongJob("circuit", _BOTH)
        if fields.code:
            place, code, suffix, source_name = "code", fields.code, None, ""
        elif fields.circuit:
            place, code, suffix = "circuit", self.fetch(fields.circuit), paths.suffix_of(fields.circuit)
            source_name = paths.source_name(fields.circuit)
        else:
            raise _WrongJob("", "neither code nor circuit: a job has exactly one of them")
        try:
            framework = frameworks.recognise(code, suffix, fields.source_framework)
        except FrameworkError as unclear:
            concerns = "source_framework" if unclear.about_field else place
            raise _WrongJob(concerns, _unclear_sentence(place, fields.circuit, unclear)) from None
        self.check_code(code, place, framework)
        source_name = source_name or ("circuit.qasm" if framework in OPENQASM else "circuit.py")
        job_name = self.job_name(index, fields)
        try:
            return spec_of(fields, code, framework, job_name, source_name, self.defaults, self.calendar)
        except WrongTime as wrong:
            raise _WrongJob(wrong.place, wrong.sentence) from None

    def job_name(self, index: int, fields: wire.JobFields) -> str:
        if fields.name:
            return fields.name
        if fields.circuit:
            return paths.job_name(fields.circuit)
        if self.manifest.alone:
            return paths.job_name(self.name)
        return f"{paths.job_name(posixpath.splitext(self.name)[0])[:180]}-{index + 1}"

    def fetch(self, path: str) -> str:
        """Return the text of a circuit file. Raises _WrongJob when it may not be had."""
        wrong = paths.path_problem(path)
        if wrong:
            raise _WrongJob("circuit", f"circuit: {shown(path)} {wrong}")
        normal = posixpath.normpath(path)
        try:
            if normal not in self.attached:
                self.attached[normal] = self.attachment(normal)
            limit = self.defaults.max_code_bytes
            return text.decode(self.attached[normal], printable(normal), limit_bytes=limit)
        except SpecError as error:
            raise _WrongJob("circuit", f"circuit: {error.message}") from None

    def check_code(self, code: str, place: str, framework: str) -> None:
        """Raise _WrongJob for a circuit that may not be stored or would lose its own header unnoticed."""
        if "\0" in code:
            raise _WrongJob(place, f"{place}: a NUL character, which no circuit has")
        self.code_characters += len(code)
        if self.code_characters > self.defaults.max_batch_code_bytes:
            most = self.defaults.max_batch_code_bytes
            raise _WrongJob(
                place, f"{place}: the circuits of this file have together more than {most:,} bytes"
            )
        if "///" in code and self.has_header(code, ".qasm" if framework in OPENQASM else ".py"):
            raise _WrongJob(
                place,
                f"{place}: this circuit has a header of its own; move its fields here and remove it",
            )
        wrong = size_problem(code, self.defaults)
        if wrong:
            raise _WrongJob(place, f"{place}: {wrong}")

    def has_header(self, code: str, suffix: str) -> bool:
        try:
            return headers.split(code, suffix, "", depth_max=self.defaults.max_depth).found
        except SpecError:
            return True  # a broken one is one too


def _with_shared(shared: dict[str, object], raw: object) -> object:
    if not isinstance(raw, dict):
        return raw
    merged = {**shared, **raw}
    # A job with a circuit of its own does not inherit one.
    if "code" in raw and "circuit" not in raw:
        merged.pop("circuit", None)
    elif "circuit" in raw and "code" not in raw:
        merged.pop("code", None)
    return merged


def _unclear_sentence(place: str, circuit: str, unclear: FrameworkError) -> str:
    """Fold the hint into the sentence: one SpecError of many problems has room for one hint only."""
    where = f"{printable(circuit)}:{unclear.line}: " if circuit and unclear.line else ""
    sentence = unclear.problem if unclear.about_field else f"{place}: {where}{unclear.problem}"
    return f"{sentence}. {unclear.hint}".replace("\n", " ") if unclear.hint else sentence
