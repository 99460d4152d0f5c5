"""`nightshot jobs`: the latest jobs, a page at a time, or all of them."""

from __future__ import annotations

import shlex
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
@click.option(
    "--limit",
    type=click.IntRange(1, WHOLE_PAGE),
    default=PAGE,
    show_default=True,
    metavar="N",
    help="Jobs on a page.",
)
@click.option("--after", type=int, metavar="CURSOR", help="Continue where the last page ended.")
@click.option("--oldest", is_flag=True, help="Begin with the first job.")
@click.option("--all", "whole", is_flag=True, help="All jobs, the first one first, unpaged.")
@output_options
@pass_where
def jobs(
    where: Where,
    state: str | None,
    backend: str | None,
    batch: str | None,
    limit: int,
    after: int | None,
    oldest: bool,
    whole: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """List jobs, the latest first.

    The jobs of one --batch come in its own order. COST is what was charged; "about" is an estimate, and
    "unknown" is never zero.
    """
    # Who looks at one batch reads it from its beginning; who looks at everything wants to see tonight.
    newest = not (oldest or whole or batch)
    chosen = {"state": state, "backend": backend, "batch": batch_number(where, batch) if batch else None}
    view = _all_pages(where, chosen) if whole else _page(where, chosen, limit, after, newest)
    if as_json:
        return echo_json(view)
    if quiet:
        for job in view["jobs"]:
            click.echo(job["job"])
        return None
    for line in job_lines(view["jobs"]):
        click.echo(line)
    if view["next"] is not None:
        again = {
            "--state": state,
            "--backend": backend,
            "--batch": chosen["batch"],
            "--limit": None if limit == PAGE else limit,
            "--after": view["next"],
        }
        click.echo(f"More: {_command_line(again, oldest)}")
    return None


def _command_line(options: dict[str, Any], oldest: bool) -> str:
    """The same question with these options, to be pasted."""
    words = [word for name, value in options.items() if value is not None for word in (name, str(value))]
    return shlex.join(["nightshot", "jobs", *words, *(["--oldest"] if oldest else [])])


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


def _page(
    where: Where, chosen: dict[str, Any], limit: int, after: int | None, newest: bool = False
) -> dict[str, Any]:
    args = {**chosen, "limit": limit, "after": after, "newest": newest or None}
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
    if job["cost_usd"] is not None or job["ended_at"] is not None:
        return dollars(job["cost_usd"])
    return "not priced" if job["estimate_usd"] is None else f"about {dollars(job['estimate_usd'])}"
