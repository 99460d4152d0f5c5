"""`nightshot cancel` and `nightshot resolve`: what a person decides about single jobs."""

from __future__ import annotations

from typing import Any

import click

from scheduler.cli.common import Where, echo_json, output_options, pass_where
from scheduler.cli.render import plain_lines


@click.command()
@click.argument("ids", nargs=-1, required=True, metavar="JOB|BATCH…")
@click.option("--reason", default="", metavar="TEXT", help="Why, for the record.")
@output_options
@pass_where
def cancel(where: Where, ids: tuple[str, ...], reason: str, as_json: bool, quiet: bool) -> int:
    """Cancel jobs that were not sent yet.

    A batch means all of its jobs; 'latest' works. What was sent is paid for: Coda knows no cancel, so such a
    job runs on and its result is kept.
    """
    view = where.ask("cancel", {"jobs": list(ids), "reason": reason})
    return echo_changed(view, as_json, quiet)


@click.command()
@click.argument("job", metavar="JOB")
@click.option(
    "--as",
    "verdict",
    type=click.Choice(["not-sent", "accepted", "written-off"]),
    required=True,
    help="What really happened: it never arrived; it was taken; nobody will ever know (counts as spent).",
)
@click.option("--provider-job-id", metavar="ID", help="The provider's id, when it was accepted.")
@click.option("--reason", required=True, metavar="TEXT", help="How you know.")
@output_options
@pass_where
def resolve(
    where: Where,
    job: str,
    verdict: str,
    provider_job_id: str | None,
    reason: str,
    as_json: bool,
    quiet: bool,
) -> int:
    """Settle a job in doubt, by what you found out.

    A job is in doubt when its submission may or may not have reached the provider; it is never sent again by
    itself. Look at the provider's own pages first: "not-sent" gives the money back and lets the job wait
    again, so a wrong "not-sent" is paid twice.
    """
    if not reason.strip():
        raise click.UsageError("--reason is empty: say how you know")
    if (verdict == "accepted") != (provider_job_id is not None):
        raise click.UsageError("--provider-job-id belongs to --as accepted, and is needed there")
    args = {"job": job, "as": verdict, "provider_job_id": provider_job_id, "reason": reason}
    return echo_changed(where.ask("resolve", args), as_json, quiet)


def echo_changed(view: dict[str, Any], as_json: bool, quiet: bool) -> int:
    """Print what changed and what did not; 1 when nothing at all changed."""
    if as_json:
        echo_json(view)
    else:
        for line in () if quiet else view["changed"]:
            click.echo(plain_lines(line))
        for line in view["unchanged"]:
            click.echo(f"unchanged: {plain_lines(line)}", err=True)
    return 1 if view["unchanged"] and not view["changed"] else 0
