"""`nightshot arm` and `nightshot disarm`: whether money may be spent, and how much in one night."""

from __future__ import annotations

import click

from scheduler.cli.change import echo_changed
from scheduler.cli.common import Where, output_options, pass_where


@click.command()
@click.option(
    "--night", required=True, metavar="AMOUNT", help="The most that one night may cost, like 50.00."
)
@click.option("--once", is_flag=True, help="For this night only.")
@click.option("--reason", default="", metavar="TEXT", help="Why, for the record.")
@output_options
@pass_where
def arm(where: Where, night: str, once: bool, reason: str, as_json: bool, quiet: bool) -> int:
    """Allow paid submission up to a limit a night, until disarmed.

    A night is noon to noon in the configured time zone. Arming again replaces the limit; tonight's spending
    so far counts against it.
    """
    view = where.ask("arm", {"night": amount_text(night), "once": once, "reason": reason})
    return echo_changed(view, as_json, quiet)


@click.command()
@click.option("--reason", default="", metavar="TEXT", help="Why, for the record.")
@output_options
@pass_where
def disarm(where: Where, reason: str, as_json: bool, quiet: bool) -> int:
    """Send nothing paid from now on.

    What was sent already is still collected.
    """
    return echo_changed(where.ask("disarm", {"reason": reason}), as_json, quiet)


def amount_text(text: str) -> str:
    """Check an amount of dollars before it is sent anywhere; returns its exact decimal text."""
    from scheduler.core.money import Money, NotMoney

    try:
        return Money.parse(text).decimal_text()
    except NotMoney as error:
        raise click.UsageError(str(error)) from None
