"""`nightshot audit`: is everything true that must be true of the books?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import click

from scheduler.cli.common import Where, echo_json, output_options, pass_where
from scheduler.cli.render import paint, plain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scheduler.api.operations.audit import AuditView

#: A full look at a ledger of millions of lines takes its time.
TIMEOUT_S = 600.0


@click.command()
@click.option("--resume", is_flag=True, help="Let paid submission go on, if everything is true again.")
@click.option("--reason", default="", metavar="TEXT", help="What was wrong, for the record.")
@output_options
@pass_where
def audit(where: Where, resume: bool, reason: str, as_json: bool, quiet: bool) -> int:
    """Check that balances, holds, caps and attempts agree.

    A broken sentence stops everything that costs money until a person has looked and says --resume; what
    runs at a provider is collected all the same. Ends with 1 when one is broken.
    """
    if reason and not resume:
        raise click.UsageError("--reason belongs to --resume")
    answer: dict[str, Any] = where.ask("audit", {"resume": resume, "reason": reason}, timeout_s=TIMEOUT_S)
    if as_json:
        echo_json(answer)
    else:
        for line in audit_lines(cast("AuditView", answer), short=quiet):
            click.echo(line)
    return 0 if answer["clean"] else 1


def audit_lines(view: AuditView, *, short: bool) -> Iterator[str]:
    """One line a sentence, and below a broken one the rows that break it; short: only what is wrong."""
    for invariant in view["invariants"]:
        if invariant["holds"]:
            if not short:
                yield f"{paint('✓', fg='green')} {invariant['sentence']}"
            continue
        yield f"{paint('✗', fg='red')} {paint(invariant['sentence'], bold=True)} ({invariant['code']})"
        for row in invariant["rows"]:
            yield "    " + "  ".join(f"{name}={plain(value)}" for name, value in row.items())
    if view["lifted"]:
        yield "Paid submission goes on."
    elif view["stopped"]:
        yield f"Nothing paid is sent: {plain(view['stopped'])}"
        if view["clean"]:
            yield "Everything is true now. To go on: nightshot audit --resume --reason '…'"
