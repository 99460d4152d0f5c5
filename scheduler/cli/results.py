"""`nightshot results`: histograms, and where the files are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import click

from scheduler.cli.common import Where, echo_json, output_options, pass_where
from scheduler.cli.render import histogram, paint, plain
from scheduler.core.task import BIT_0_FIRST, BIT_ORDER_OF_PROVIDER

if TYPE_CHECKING:
    from scheduler.core.views import ResultView


#: How to read an outcome, by what results.json says under `bit_order`.
_READ_BITS = {
    BIT_0_FIRST: "bit 0 first (the leftmost character is the first classical bit)",
    BIT_ORDER_OF_PROVIDER: "as the provider sent them (its documentation says which end is bit 0)",
}


@click.command()
@click.argument("job", metavar="JOB|BATCH")
@output_options
@pass_where
def results(where: Where, job: str, as_json: bool, quiet: bool) -> int:
    """Show the counts of a job or a batch ('latest' works).

    With -q only the folders of the files are printed. Ends with 1 when there is no result yet.
    """
    answer: dict[str, Any] = where.ask("results", {"job": job})
    found = cast("list[ResultView]", answer["results"])
    if as_json:
        echo_json(answer)
    elif quiet:
        for result in found:
            click.echo(result["folder"] or "")
    else:
        for result in found:
            for line in result_lines(result):
                click.echo(line)
    for sentence in answer.get("missing", ()) if not as_json else ():
        click.echo(f"no result: {plain(sentence)}", err=True)
    return 0 if found else 1


def result_lines(result: ResultView) -> list[str]:
    returned = ", ".join(map(str, result["shots_returned"]))
    lines = [paint(f"{plain(result['job'])}: {returned} of {result['shots_asked']} shots", bold=True)]
    if not result["shots_match"]:
        lines.append(f"  ! asked for {result['shots_asked']} shots, {returned} came back")
    for number, counts in enumerate(result["counts"], 1):
        if len(result["counts"]) > 1:
            lines.append(f"  circuit {number}")
        lines += [f"  {line}" for line in histogram(counts)]
    order = _READ_BITS.get(result["bit_order"], plain(result["bit_order"]))
    lines.append(f"  bits: {order}")
    lines.append(f"  files: {plain(result['folder'] or 'being written')}")
    return lines
