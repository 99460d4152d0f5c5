"""`nightshot hold`: keep jobs from being sent until somebody lets them go."""

from __future__ import annotations

import click

from scheduler.cli.change import echo_changed
from scheduler.cli.common import Where, output_options, pass_where


@click.command()
@click.argument("ids", nargs=-1, required=True, metavar="JOB|BATCH…")
@click.option("--reason", required=True, metavar="TEXT", help="Why, for the record.")
@output_options
@pass_where
def hold(where: Where, ids: tuple[str, ...], reason: str, as_json: bool, quiet: bool) -> int:
    """Keep jobs that were not sent yet from being sent.

    A batch means all of its jobs; 'latest' works. Their owner may, and whoever roles.approve names. What was
    sent runs on and is paid.
    """
    view = where.ask("hold", {"jobs": list(ids), "reason": reason})
    return echo_changed(view, as_json, quiet)
