"""`nightshot wait`: block until jobs have ended, and say by the exit code how."""

from __future__ import annotations

import time
from typing import Any

import click

from scheduler.cli.common import Where, echo_json, output_options, pass_where
from scheduler.cli.jobs import batch_number, job_lines, pages
from scheduler.cli.render import plural
from scheduler.errors import DeadlinePassed, NeedsPerson, NotFound

_ENDED = ("completed", "failed", "cancelled", "rejected")
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 2.0
#: Waiting jobs looked at closely in one round; one that can move by itself ends the search.
LOOKED_AT = 20
#: A daemon that is restarted is back by then; without one nothing will ever move.
DAEMON_PATIENCE_S = 10.0


@click.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID…")
@click.option(
    "--timeout", "timeout_s", type=click.FloatRange(min=0), metavar="SECONDS", help="Wait no longer."
)
@output_options
@pass_where
def wait(where: Where, ids: tuple[str, ...], timeout_s: float | None, as_json: bool, quiet: bool) -> int:
    """Wait until jobs or whole batches have ended.

    An ID is a job (12.3), a batch (12) or 'latest'. Ends with 0 when all completed, 1 when any did not, 6
    when only a person can move what is left (starting the daemon included), and 124 when the time is over.
    """
    deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
    pause_s = FIRST_PAUSE_S
    names = [_settled_name(where, name) for name in ids]
    while True:
        rows = _jobs_named(where, names)
        open_jobs = [job for job in rows if job["state"] not in _ENDED]
        if not open_jobs:
            break
        if where.alone:
            _wait_for_daemon(where, deadline_s)
            continue
        stuck = _stuck_reason(where, open_jobs)
        if stuck:
            raise NeedsPerson(*stuck)
        left_s = None if deadline_s is None else deadline_s - time.monotonic()
        if left_s is not None and left_s <= 0:
            what = f"{len(open_jobs)} of {plural(len(rows), 'job')}"
            raise DeadlinePassed(
                f"{what} had not ended after {timeout_s:g} s", "They go on: nightshot status"
            )
        time.sleep(pause_s if left_s is None else min(pause_s, left_s))
        pause_s = min(pause_s * 1.5, LONGEST_PAUSE_S)
    return _finish(rows, as_json, quiet)


def _wait_for_daemon(where: Where, deadline_s: float | None) -> None:
    """Give a daemon that is being restarted the time to come back. Raises NeedsPerson.

    Only the socket is asked: looking into the store takes the home's lock, and would keep the daemon out.
    """
    from scheduler.client import Client, DaemonNotRunning

    give_up_s = time.monotonic() + DAEMON_PATIENCE_S
    while True:
        try:
            Client(where.home, timeout_s=5).call("status")
        except DaemonNotRunning:
            now_s = time.monotonic()
            if now_s >= give_up_s or (deadline_s is not None and now_s >= deadline_s):
                raise NeedsPerson("no daemon runs, so nothing moves", "nightshot run") from None
            time.sleep(FIRST_PAUSE_S)
        else:
            return


def _settled_name(where: Where, name: str) -> str:
    """What `latest` means must not change while we wait."""
    return name if "." in name else str(batch_number(where, name))


def _jobs_named(where: Where, names: list[str]) -> list[dict[str, Any]]:
    """The jobs as they are now, each once. Raises NotFound."""
    found: dict[str, dict[str, Any]] = {}
    for name in names:
        if "." in name:
            jobs = [where.ask("show", {"job": name})["job"]]
        else:
            jobs = [job for view in pages(where, {"batch": int(name)}) for job in view["jobs"]]
        if not jobs:
            raise NotFound(f"there is no batch {name}", "See what there is: nightshot jobs")
        found.update({job["job"]: job for job in jobs})
    return list(found.values())


def _stuck_reason(where: Where, open_jobs: list[dict[str, Any]]) -> tuple[str, str] | None:
    """A sentence and a hint when nothing but a person can move any of the jobs."""
    if any(job["state"] not in ("in_doubt", "waiting") for job in open_jobs):
        return None
    doubted = next((job for job in open_jobs if job["state"] == "in_doubt"), None)
    reason: tuple[str, str] | None = None
    if doubted:
        reason = (
            f"{doubted['job']} is in doubt: {doubted['reason'] or 'nobody knows whether it was taken'}",
            f"What a person has to do: nightshot why {doubted['job']}",
        )
    waiting = [job for job in open_jobs if job["state"] == "waiting"]
    if len(waiting) > LOOKED_AT:
        waiting = [waiting[i * len(waiting) // LOOKED_AT] for i in range(LOOKED_AT)]
    for job in waiting:
        gate = _person_gate(where, job["job"])
        if gate is None:
            return None
        reason = reason or (
            f"{job['job']} waits for a person: {gate['sentence']}",
            gate["fix"] or "nightshot status",
        )
    return reason


def _person_gate(where: Where, job: str) -> dict[str, Any] | None:
    from scheduler.core.admission import NEEDS_PERSON

    view = where.ask("show", {"job": job})
    # Some caps begin anew one day; whoever waits at a terminal wants to know now.
    return next(
        (
            g
            for g in view["gates"]
            if g["code"].startswith("cap:") or (g["code"] in NEEDS_PERSON and g.get("opens_at") is None)
        ),
        None,
    )


def _finish(rows: list[dict[str, Any]], as_json: bool, quiet: bool) -> int:
    if as_json:
        echo_json({"jobs": rows})
    elif not quiet:
        for line in job_lines(rows):
            click.echo(line)
    return 0 if all(job["state"] == "completed" for job in rows) else 1
