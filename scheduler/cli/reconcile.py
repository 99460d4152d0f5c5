"""`nightshot reconcile`: the provider's invoice against our books."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from scheduler.cli.common import Where, echo_json, output_options, pass_where
from scheduler.cli.render import dollars, plain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scheduler.api.operations.reconcile import ReconcileView, TotalsView


@click.command()
@click.option(
    "--csv",
    "file",
    required=True,
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False),
    help="The invoice, with a header line.",
)
@click.option("--provider", metavar="NAME", help="Whose invoice it is, when there are several.")
@click.option("--unit", type=click.Choice(["cents", "dollars"]), help="What the cost column is in.")
@output_options
@pass_where
def reconcile(
    where: Where, file: str, provider: str | None, unit: str | None, as_json: bool, quiet: bool
) -> int:
    """Compare an invoice with our books and list every difference.

    FILE is a CSV with a header; it needs the provider's job id, and a cost or credits. Nothing is changed by
    it: book what you find with 'nightshot budget refund' or 'nightshot resolve'. Ends with 1 when something
    differs.
    """
    try:
        text = Path(file).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise click.UsageError(f"{file} cannot be read: {error}") from None
    answer: dict[str, Any] = where.ask("reconcile", {"csv": text, "provider": provider, "unit": unit})
    if as_json:
        echo_json(answer)
    else:
        for line in reconcile_lines(cast("ReconcileView", answer), short=quiet):
            click.echo(line)
    return 1 if answer["differences"] or answer["bad_rows"] else 0


def reconcile_lines(view: ReconcileView, *, short: bool) -> Iterator[str]:
    for difference in view["differences"]:
        place = f"line {difference['line']}: " if difference["line"] else ""
        yield f"{place}{plain(difference['sentence'])}"
    for problem in view["bad_rows"]:
        yield f"not read: {plain(problem)}"
    if short:
        return
    if view["unused_columns"]:
        yield f"columns not compared: {plain(', '.join(view['unused_columns']))}"
    if view["since"] and view["until"]:
        days = f"{view['since'][:10]} until {view['until'][:10]} (UTC)"
        yield f"compared: {days}, provider {plain(view['provider'])}"
    else:
        yield f"compared: all runs of {plain(view['provider'])}, because the invoice has no dates"
    yield f"invoice: {_total(view['invoice'])}"
    yield f"ours:    {_total(view['ours'])}"
    if view["nameless"]:
        yield (
            f"{view['nameless']} of our runs are in doubt or written off without an id: "
            "a line that is not ours may be one of them"
        )
    if not view["differences"] and not view["bad_rows"]:
        yield "No difference."


def _total(totals: TotalsView) -> str:
    unknown = f", {totals['unknown_costs']} of them without a cost" if totals["unknown_costs"] else ""
    taken = f" and {totals['credits']} credits" if totals["credits"] is not None else ""
    return f"{dollars(totals['cost_usd'])}{taken} in {totals['runs']} runs{unknown}"
