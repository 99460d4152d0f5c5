"""Validated fields and a circuit to a JobSpec: defaults are filled in here and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, tzinfo

from scheduler.core.job import SHOTS_DEFAULT, JobSpec
from scheduler.core.money import Money
from scheduler.core.windows import Hours
from scheduler.intake import wire
from scheduler.intake.after import entries
from scheduler.intake.when import Calendar, read_terms


@dataclass(frozen=True, slots=True)
class Defaults:
    """What holds when a document does not say, and how large a document may be."""

    backend: str = "simulator"
    shots: int = SHOTS_DEFAULT
    max_jobs: int = 50_000
    max_depth: int = 32
    max_code_bytes: int = 1024 * 1024
    #: All circuits of a batch together: a shared one of a megabyte, times 50,000 jobs, would fill the disk.
    max_batch_code_bytes: int = 256 * 1024 * 1024
    max_document_bytes: int = 32 * 1024 * 1024
    #: Windows that a job may ask for, and the zone of times without an offset.
    hours: Mapping[str, Hours] = field(default_factory=dict)
    zone: tzinfo = UTC

    def calendar(self, now_us: int | None) -> Calendar:
        return Calendar(self.hours, self.zone, now_us)


def size_problem(code: str, defaults: Defaults) -> str | None:
    most = defaults.max_code_bytes
    if len(code) * 4 <= most:  # a character has at most four bytes
        return None
    size = len(code.encode())
    return f"the circuit has {size:,} bytes; at most {most:,} are taken" if size > most else None


def spec_of(
    fields: wire.JobFields,
    code: str,
    framework: str,
    name: str,
    source_name: str,
    defaults: Defaults,
    calendar: Calendar,
) -> JobSpec:
    """Return the job. Raises WrongTime."""
    terms = read_terms(fields.window, fields.not_before, fields.deadline, calendar)
    return JobSpec(
        name=fields.name or name,
        code=code,
        framework=framework,
        backend=fields.backend or defaults.backend,
        shots=fields.shots or defaults.shots,
        accept_overage=fields.accept_overage,
        execution_hint=fields.braket_execution_mode_hint,
        priority=fields.priority,
        project=fields.project,
        tags=tuple(fields.tags),
        source_name=source_name,
        again=fields.again,
        cap_microusd=Money.parse(fields.cap).microusd if fields.cap else None,
        retries=fields.retries,
        window=terms.window,
        not_before_us=terms.not_before_us,
        deadline_us=terms.deadline_us,
        after=entries(fields.after) if fields.after else (),
    )
