"""`nightshot release`: let jobs go that were on hold."""

from __future__ import annotations

import click

from scheduler.cli.change import echo_changed
from scheduler.cli.common import Where, output_options, pass_where


@click.command()
@click.argument("ids", nargs=-1, required=True, metavar="JOB|BATCH…")
@click.option("--reason", default="", metavar="TEXT", help="Why, for the record.")
@output_options
@pass_where
def release(where: Where, ids: tuple[str, ...], reason: str, as_json: bool, quiet: bool) -> int:
    """Let jobs go that were put on hold.

    Who put a job on hold may, and whoever roles.approve names. It takes its place in the queue again; all of
    its other gates are as they were.
    """
    view = where.ask("release", {"jobs": list(ids), "reason": reason})
    return echo_changed(view, as_json, quiet)
