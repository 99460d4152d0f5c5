"""`nightshot rerun`: the same code once more."""

from __future__ import annotations

import click

from scheduler.cli.common import Where, echo_json, output_options, pass_where
from scheduler.cli.render import plain, plural


@click.command()
@click.argument("job", metavar="JOB|BATCH")
@output_options
@pass_where
def rerun(where: Where, job: str, as_json: bool, quiet: bool) -> None:
    """Queue the same code once more.

    It becomes a new batch of yours, with a price and a bill of its own; the old one stays as it is.
    """
    view = where.ask("rerun", {"job": job})
    if as_json:
        return echo_json(view)
    (batch,) = view["batches"]
    if quiet:
        return click.echo(str(batch["batch"]))
    return click.echo(f"Batch {batch['batch']}: {plain(batch['name'])}, {plural(batch['jobs'], 'job')}")
