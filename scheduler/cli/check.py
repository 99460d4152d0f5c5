"""`nightshot check`: read job files as the daemon would, without a daemon and without queueing anything."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scheduler.cli.common import Where, echo_json, output_options, pass_where
from scheduler.cli.render import plain, plain_lines, plural, table
from scheduler.cli.submit import read_regular_file
from scheduler.errors import SpecError

if TYPE_CHECKING:
    from scheduler.core.job import BatchSpec
    from scheduler.settings import Settings

#: Jobs of one file that are listed for people; `--json` has them all.
LISTED_JOBS = 20


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE…")
@output_options
@pass_where
def check(where: Where, files: tuple[str, ...], as_json: bool, quiet: bool) -> int:
    """Check job files without queueing them.

    Says what is in them, or what is wrong and where; ends with 65 when one is wrong.
    """
    settings = where.load_settings().settings
    reports = []
    for file in files:
        report = _report(Path(file), settings)
        reports.append(report)
        if not as_json:
            _echo(report, quiet)
    wrong = any(report["problem"] for report in reports)
    if as_json:
        echo_json({"ok": not wrong, "files": reports})
    return SpecError.exit_code if wrong else 0


def _report(path: Path, settings: Settings) -> dict[str, Any]:
    try:
        batch = read_job_file(path, settings)
    except SpecError as error:
        return {"file": str(path), "problem": error.message, "hint": error.hint or None, "jobs": []}
    jobs = [
        {"name": job.name, "backend": job.backend, "shots": job.shots, "framework": job.framework}
        for job in batch.jobs
    ]
    return {"file": str(path), "problem": None, "hint": None, "jobs": jobs}


def read_job_file(path: Path, settings: Settings) -> BatchSpec:
    """Read one job file with the configured defaults and limits. Raises SpecError."""
    from dataclasses import replace
    from zoneinfo import ZoneInfo

    from scheduler.clock import SystemClock
    from scheduler.intake.document import read_document
    from scheduler.intake.spec import Defaults
    from scheduler.settings_windows import hours_of

    defaults = Defaults(
        backend=settings.defaults.backend,
        shots=settings.defaults.shots,
        max_jobs=settings.spool.max_jobs_per_file,
        max_document_bytes=settings.spool.max_file_bytes,
        hours=hours_of(settings.windows, settings.time.timezone),
        zone=ZoneInfo(settings.time.timezone),
    )

    def attachment(reference: str) -> bytes:
        return read_regular_file(path.parent / reference)

    now_us = SystemClock().now_us()
    batch = read_document(path.name, read_regular_file(path), defaults, attachment, now_us)
    jobs = tuple(replace(job, backend=_backend(path, job.name, job.backend, settings)) for job in batch.jobs)
    for job in jobs:
        _refuse_shots(path, job.name, job.backend, job.shots, settings)
    return replace(batch, jobs=jobs)


def _backend(path: Path, job: str, written: str, settings: Settings) -> str:
    try:
        return settings.backend_name(written)
    except ValueError as error:
        raise SpecError(f"{job}: {error}", file=path.name) from None


def _refuse_shots(path: Path, job: str, backend: str, shots: int, settings: Settings) -> None:
    low, high = settings.shots_for(backend, settings.kind_of(backend.partition(":")[0]))
    if shots < low or (high is not None and shots > high):
        allowed = f"{low} to {high}" if high is not None else f"at least {low}"
        raise SpecError(f"{job}: {shots} shots, but {backend} takes {allowed}", file=path.name)


def _echo(report: dict[str, Any], quiet: bool) -> None:
    if report["problem"]:
        click.echo(f"✗ {plain_lines(report['problem'])}", err=True)
        if report["hint"]:
            click.echo(f"  {plain_lines(report['hint'])}", err=True)
        return
    if quiet:
        return
    jobs = report["jobs"]
    click.echo(f"✓ {plain(report['file'])}: {plural(len(jobs), 'job')}")
    rows = [(job["name"], job["backend"], job["shots"], job["framework"]) for job in jobs[:LISTED_JOBS]]
    for line in table(("NAME", "BACKEND", "SHOTS", "LANGUAGE"), rows, right=("SHOTS",)):
        click.echo(f"  {line}")
    if len(jobs) > LISTED_JOBS:
        click.echo(f"  … and {len(jobs) - LISTED_JOBS} more")
