"""`nightshot show`: one job with every closed gate, every attempt and everything that happened to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import click

from scheduler.cli.common import Where, echo_json, output_options, pass_where
from scheduler.cli.render import dollars, local_time, paint_state, plain

if TYPE_CHECKING:
    from scheduler.core.views import AttemptView, GateView, JobView, ShowView


@click.command()
@click.argument("job", metavar="JOB")
@output_options
@pass_where
def show(where: Where, job: str, as_json: bool, quiet: bool) -> None:
    """Show one job: why it waits, what was sent, its cost.

    JOB is 12.3, or 12 when the batch has one job, or 'latest'. A ✗ is a closed gate, with the command that
    opens it when there is one.
    """
    answer = where.ask("show", {"job": job})
    if as_json:
        return echo_json(answer)
    view = cast("ShowView", answer)
    if quiet:
        return click.echo(view["job"]["state"])
    for line in _show_lines(view):
        click.echo(line)
    return None


def _show_lines(view: ShowView) -> list[str]:
    lines = [*_job_lines(view["job"]), *_gate_lines(view["gates"])]
    if view["quote"]:
        lines.append(f"  price      {plain(view['quote'])}")
    lines.append(f"  code       SHA-256 {plain(view['code_sha256'])}")
    for attempt in view["attempts"]:
        lines += attempt_lines(attempt)
    result = view["result"]
    if result:
        lines.append(f"  result     {plain(result['folder'] or 'being written')}")
    if view["events"]:
        lines.append("What happened")
        lines += [f"  {local_time(e['at'])}  {plain(e['sentence'])}" for e in view["events"]]
    return lines


def _job_lines(job: JobView) -> list[str]:
    state = paint_state(job["state"], job["state"].upper().replace("_", " "))
    lines = [
        f"{plain(job['job'])} {plain(job['name'])} is {state}.",
        f"  backend    {plain(job['backend'])}, {job['shots']} shots, {plain(job['framework'])}",
        f"  owner      {plain(job['user'])}, since {local_time(job['created_at'])}",
        f"  cost       {dollars(job['cost_usd'])} (estimate {dollars(job['estimate_usd'])})",
    ]
    if job["reason"]:
        lines.append(f"  reason     {plain(job['reason'])}")
    if job["project"] or job["tags"]:
        lines.append(
            f"  project    {plain(job['project'] or '-')}, tags: {plain(', '.join(job['tags']) or '-')}"
        )
    return lines


def _gate_lines(gates: list[GateView]) -> list[str]:
    lines = []
    for gate in gates:
        lines.append(f"  ✗ {plain(gate['code'])}: {plain(gate['sentence'])}")
        if gate["fix"]:
            lines.append(f"      {plain(gate['fix'])}")
    return lines


def attempt_lines(attempt: AttemptView) -> list[str]:
    name = (
        f"{plain(attempt['provider_job_id'])} at the provider"
        if attempt["provider_job_id"]
        else "no id known"
    )
    word = f", '{plain(attempt['provider_status'])}'" if attempt["provider_status"] else ""
    state = attempt["hold_state"]
    held = f"held {dollars(attempt['hold_usd'])} ({state})" if state else "nothing held (free)"
    lines = [
        f"  attempt {attempt['ordinal']}  {attempt['state'].replace('_', ' ')}, {name}{word}, "
        f"sent {local_time(attempt['sent_at'])}",
        f"             {held}, cost {dollars(attempt['estimated_cost_usd'])}, "
        f"credits {attempt['credits_applied'] or 'unknown'}, overage {dollars(attempt['overage_usd'])}",
    ]
    if attempt["charge"]:
        lines.append(f"             {attempt['charge']}: {plain(attempt['charge_evidence'])}")
    if attempt["reason"] and attempt["reason"] != attempt["charge_evidence"]:
        lines.append(f"             {plain(attempt['reason'])}")
    return lines
