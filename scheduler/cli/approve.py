"""`nightshot approve`: accept what a job may cost, when the house wants to be asked."""

from __future__ import annotations

import click

from scheduler.cli.arming import amount_text
from scheduler.cli.change import echo_changed
from scheduler.cli.common import Where, output_options, pass_where


@click.command()
@click.argument("ids", nargs=-1, required=True, metavar="JOB|BATCH…")
@click.option("--at-most", metavar="AMOUNT", help="Approve nothing whose price is above this by now.")
@click.option("--reason", default="", metavar="TEXT", help="Why, for the record.")
@output_options
@pass_where
def approve(
    where: Where, ids: tuple[str, ...], at_most: str | None, reason: str, as_json: bool, quiet: bool
) -> int:
    """Approve what waiting jobs cost.

    It opens the gates approval, overage and drift, at the price that each job has now; a later price that
    is higher has to be approved again. Nobody approves a job of their own unless roles.approve_own says so.
    """
    args = {
        "jobs": list(ids),
        "at_most": None if at_most is None else amount_text(at_most),
        "reason": reason,
    }
    return echo_changed(where.ask("approve", args), as_json, quiet)
