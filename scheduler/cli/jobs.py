"""`nightshot jobs`: a page of jobs, or all of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from scheduler.cli.common import Where, echo_json, output_options, pass_where
from scheduler.cli.render import STATE_ORDER, dollars, table
from scheduler.errors import NotFound

PAGE = 50
#: Rows a question when all are wanted.
WHOLE_PAGE = 1000


@click.command()
@click.option("--state", type=click.Choice(STATE_ORDER), help="Only jobs in this state.")
@click.option("--backend", metavar="NAME", help="Only jobs for this backend.")
@click.option("--batch", metavar="ID", help="Only jobs of this batch ('latest' works).")
@click.option("--limit", type=click.IntRange(1, WHOLE_PAGE), default=PAGE, show_default=True, metavar="N")
@click.option("--after", type=int, metavar="CURSOR", help="Continue where the last page ended.")
@click.option("--all", "whole", is_flag=True, help="All jobs, unpaged.")
@output_options
@pass_where
def jobs(
    where: Where,
    state: str | None,
    backend: str | None,
    batch: str | None,
    limit: int,
    after: int | None,
    whole: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """List jobs in the order in which they came."""
    chosen = {"state": state, "backend": backend, "batch": batch_number(where, batch) if batch else None}
    view = _all_pages(where, chosen) if whole else _page(where, chosen, limit, after)
    if as_json:
        return echo_json(view)
    if quiet:
        for job in view["jobs"]:
            click.echo(job["job"])
        return None
    for line in job_lines(view["jobs"]):
        click.echo(line)
    if view["next"] is not None:
        click.echo(f"More: nightshot jobs --after {view['next']}, or --all")
    return None


def batch_number(where: Where, text: str) -> int:
    """The number that `12` or `latest` means. Raises NotFound."""
    if text != "latest":
        if not text.isdecimal():
            raise NotFound(f"{text!r} does not name a batch", "Write its number, or 'latest'.")
        return int(text)
    batches = where.ask("status")["batches"]
    if not batches:
        raise NotFound("there is no job yet", "Drop a file into the inbox, or: nightshot submit FILE")
    return int(batches[0]["id"])


def _page(where: Where, chosen: dict[str, Any], limit: int, after: int | None) -> dict[str, Any]:
    args = {**chosen, "limit": limit, "after": after}
    return where.ask("jobs", {name: value for name, value in args.items() if value is not None})


def pages(where: Where, chosen: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every page, one after the other."""
    after: int | None = None
    while True:
        view = _page(where, chosen, WHOLE_PAGE, after)
        yield view
        after = view["next"]
        if after is None:
            return


def _all_pages(where: Where, chosen: dict[str, Any]) -> dict[str, Any]:
    whole: dict[str, Any] = {"as_of": None, "jobs": [], "next": None}
    for view in pages(where, chosen):
        whole["as_of"] = whole["as_of"] or view["as_of"]
        whole["jobs"] += view["jobs"]
    return whole


def job_lines(rows: list[dict[str, Any]]) -> list[str]:
    if not rows:
        return ["No jobs."]
    return table(
        ("JOB", "STATE", "BACKEND", "SHOTS", "COST", "NAME", "REASON"),
        [
            (
                job["job"],
                job["state"].replace("_", " "),
                job["backend"],
                job["shots"],
                _cost(job),
                job["name"],
                job["reason"] or "",
            )
            for job in rows
        ],
        right=("SHOTS", "COST"),
    )


def _cost(job: dict[str, Any]) -> str:
    """What it cost; before that, what is expected, and said so."""
    if job["cost_usd"] is None and job["estimate_usd"] is not None and job["ended_at"] is None:
        return f"about {dollars(job['estimate_usd'])}"
    return dollars(job["cost_usd"])
