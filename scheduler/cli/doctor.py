"""`nightshot doctor`: everything that a working installation needs, looked at separately."""

from __future__ import annotations

import click

from scheduler.cli.common import Where, echo_json, output_options, pass_where
from scheduler.cli.render import paint, plain_lines

_MARKS = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "problem": ("✗", "red")}


@click.command()
@click.option("--online", is_flag=True, help="Also ask every provider for its devices.")
@output_options
@pass_where
def doctor(where: Where, online: bool, as_json: bool, quiet: bool) -> int:
    """Check the installation, and say what mends it.

    Ends with 1 when there is a ✗; a ! works, but will disappoint somebody.
    """
    from scheduler.cli.checks import findings

    found = []
    for finding in findings(where, online=online):
        found.append(finding)
        if as_json or (quiet and finding.verdict != "problem"):
            continue
        mark, colour = _MARKS[finding.verdict]
        click.echo(f"{paint(mark, fg=colour)} {finding.check}: {plain_lines(finding.says)}")
        if finding.fix:
            click.echo(f"    {plain_lines(finding.fix)}")
    problems = sum(finding.verdict == "problem" for finding in found)
    if as_json:
        rows = [{"check": f.check, "verdict": f.verdict, "says": f.says, "fix": f.fix or None} for f in found]
        echo_json({"ok": not problems, "checks": rows})
    return 1 if problems else 0
