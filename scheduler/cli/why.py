"""`nightshot why`: what keeps a job, worked out at the moment of asking, and what would change it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, cast

import click

from scheduler.cli.common import Where, echo_json, output_options, pass_where
from scheduler.cli.render import local_time, paint, paint_state, plain
from scheduler.cli.show import attempt_lines

if TYPE_CHECKING:
    from scheduler.core.views import CheckView, ChoiceView, EventView, WhyView

_MARKS = {"closed": "✗", "open": "✓", "not asked": "·"}
_INSTANT = re.compile(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


@click.command()
@click.argument("job", metavar="JOB")
@output_options
@pass_where
def why(where: Where, job: str, as_json: bool, quiet: bool) -> None:
    """Say why a job waits, all checks with what opens them.

    JOB is 12.3, or 12 when the batch has one job, or 'latest'. A ✗ is a closed gate, below it the command
    that opens it when there is one; ✓ is open; · cannot be said yet. For a job that does not wait any more it
    tells the story instead. With -q only the codes of the closed gates, or the state.
    """
    answer = where.ask("why", {"job": job})
    if as_json:
        return echo_json(answer)
    view = cast("WhyView", answer)
    for line in _quiet_lines(view) if quiet else why_lines(view):
        click.echo(line)
    return None


def _quiet_lines(view: WhyView) -> list[str]:
    closed = [plain(check["code"]) for check in view["checks"] if check["state"] == "closed"]
    return closed or [plain(view["job"]["state"])]


def why_lines(view: WhyView) -> list[str]:
    job = view["job"]
    state = paint_state(job["state"], job["state"].upper().replace("_", " "))
    lines = [f"{plain(job['job'])} {plain(job['name'])} is {state}: {_said(view['outlook']['sentence'])}."]
    lines += _check_lines(view["checks"])
    lines += _choice_lines(view["choices"])
    if view["events"]:
        lines += _story_lines(view["events"])
    for attempt in view["attempts"]:
        lines += attempt_lines(attempt)
    if view["result"]:
        lines.append(f"  result     {plain(view['result']['folder'] or 'being written')}")
    if not view["daemon"] and view["outlook"]["kind"] != "ended":
        lines.append("No daemon runs, so nothing moves: nightshot run")
    return [*lines, f"Worked out {local_time(view['as_of'])}."]


def _said(sentence: str) -> str:
    """For people: instants as their clock shows them."""
    return _INSTANT.sub(lambda found: local_time(found[0]), plain(sentence))


def _check_lines(checks: list[CheckView]) -> list[str]:
    width = max((len(check["code"]) for check in checks), default=0)
    lines = []
    for check in checks:
        mark = _MARKS.get(check["state"], "·")
        mark = paint(mark, fg="red") if check["state"] == "closed" else mark
        code = plain(check["code"].removesuffix(":")).ljust(width)
        opens = check["opens_at"]
        # Most sentences say it already.
        when = f" (opens {local_time(opens)})" if opens and opens not in check["sentence"] else ""
        lines.append(f"  {mark} {code}  {_said(check['sentence'])}{when}")
        if check["fix"]:
            by = f"   ({plain(check['fix_by'])} may)" if check["fix_by"] else ""
            lines.append(f"      {plain(check['fix'])}{by}")
    return lines


def _choice_lines(choices: list[ChoiceView]) -> list[str]:
    if not choices:
        return []
    lines = ["Look at the provider's pages first. Then, whichever is true:"]
    for choice in choices:
        lines.append(f"  {plain(choice['when'])}: {plain(choice['then'])}")
        lines.append(f"      {plain(choice['command'])}")
    return lines


def _story_lines(events: list[EventView]) -> list[str]:
    return ["What happened", *(f"  {local_time(e['at'])}  {_said(e['sentence'])}" for e in events)]
