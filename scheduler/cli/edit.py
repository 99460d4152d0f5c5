"""`nightshot edit`: change a job that still waits."""

from __future__ import annotations

import click

from scheduler.cli.arming import amount_text
from scheduler.cli.change import echo_changed
from scheduler.cli.common import Where, output_options, pass_where


@click.command()
@click.argument("job", metavar="JOB")
@click.option("--shots", type=int, metavar="N", help="Other shots; the price is asked again.")
@click.option("--priority", type=int, metavar="N", help="Higher starts earlier.")
@click.option("--backend", metavar="NAME", help="Another place to run; the price is asked again.")
@click.option("--cap", metavar="AMOUNT", help="What the job may cost at most, all its attempts together.")
@click.option("--reason", default="", metavar="TEXT", help="Why, for the record.")
@output_options
@pass_where
def edit(
    where: Where,
    job: str,
    shots: int | None,
    priority: int | None,
    backend: str | None,
    cap: str | None,
    reason: str,
    as_json: bool,
    quiet: bool,
) -> int:
    """Change a waiting job.

    With another price an approval is over: what was approved was another job.
    """
    args = {
        "job": job,
        "shots": shots,
        "priority": priority,
        "backend": backend,
        "cap": None if cap is None else amount_text(cap),
        "reason": reason,
    }
    return echo_changed(where.ask("edit", args), as_json, quiet)
