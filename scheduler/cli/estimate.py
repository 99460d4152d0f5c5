"""`nightshot estimate`: what it would cost, without queueing anything."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, cast

import click

from scheduler.cli.common import Where, echo_json, output_options, pass_where
from scheduler.cli.render import dollars, plain, plural
from scheduler.errors import UsageError

if TYPE_CHECKING:
    from scheduler.core.views import EstimateView, PriceView


@click.command()
@click.argument("what", nargs=-1, required=True, metavar="FILE…|JOB")
@click.option("--name", metavar="NAME", help="What standard input ('-') is called, like bell.qasm.")
@output_options
@pass_where
def estimate(where: Where, what: tuple[str, ...], name: str | None, as_json: bool, quiet: bool) -> int:
    """Show what files would cost, or what a job's quote said.

    Nothing is queued and nothing is spent. The sum is unknown when one price is: it ends with 1 then.
    """
    view = cast("EstimateView", where.ask("estimate", _asked(what, name), timeout_s=600))
    if as_json:
        echo_json(dict(view))
    elif quiet:
        click.echo("unknown" if view["total_usd"] is None else view["total_usd"])
    else:
        for line in estimate_lines(view):
            click.echo(line)
    return 1 if view["total_usd"] is None else 0


def _asked(what: tuple[str, ...], name: str | None) -> dict[str, object]:
    job = [word for word in what if not os.path.lexists(word) and word != "-" and _names_a_job(word)]
    if job:
        if len(what) > 1:
            raise UsageError("one job at a time, and no files beside it", f"nightshot estimate {job[0]}")
        return {"job": job[0]}
    from scheduler.cli.submit import gather

    return {"documents": gather(what, name)}


def _names_a_job(word: str) -> bool:
    return word == "latest" or word.replace(".", "", 1).isdecimal()


def estimate_lines(view: EstimateView) -> list[str]:
    lines = [line for price in view["prices"] for line in _price_lines(price)]
    if view["jobs"] > 1:
        total = "unknown" if view["total_usd"] is None else dollars(view["total_usd"])
        without = f", {plural(view['unknown'], 'price')} unknown" if view["unknown"] else ""
        lines.append(f"Together {total} for {plural(view['jobs'], 'job')}{without}")
    return lines


def _price_lines(price: PriceView) -> list[str]:
    times = f"{price['jobs']} × " if price["jobs"] > 1 else ""
    cost = "price unknown" if price["cost_usd"] is None else dollars(price["cost_usd"])
    lines = [f"{times}{plain(price['name'])} on {plain(price['backend'])}, {price['shots']} shots: {cost}"]
    if price["why"]:
        lines.append(f"  {plain(price['why'])}")
    lines += [f"  {plain(line)}" for line in price["lines"]]
    if price["source"] is not None and price["age_s"] is not None:
        age = "just now" if price["age_s"] < 1 else f"{int(price['age_s'])} s ago"
        lines.append(f"  from {plain(price['source'])}, {age}")
    return lines
