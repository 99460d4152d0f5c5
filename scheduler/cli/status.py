"""`nightshot status`: the whole house on one screen, what needs a person last."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import click

from scheduler.cli.common import Where, echo_json, output_options, pass_where
from scheduler.cli.render import bar, counts_line, dollars, local_time, paint, plain, plural, zone_named

if TYPE_CHECKING:
    from scheduler.core.views import BackendView, NeedView, NightView, StatusView


@click.command()
@output_options
@pass_where
def status(where: Where, as_json: bool, quiet: bool) -> None:
    """Show money, backends, latest batches and what needs you.

    Open jobs are all counted, ended ones only since the night began (noon to noon).
    """
    answer = where.ask("status")
    if as_json:
        return echo_json(answer)
    view = cast("StatusView", answer)
    if quiet:
        return click.echo("running" if view["daemon"] else "stopped")
    for line in status_lines(view):
        click.echo(line)
    return None


def status_lines(view: StatusView) -> list[str]:
    zone = zone_named(view["timezone"])
    running = f"daemon running (pid {view['pid']})" if view["daemon"] else "no daemon runs: nightshot run"
    return [
        f"Nightshot {view['version']} · {running} · {local_time(view['as_of'], zone)}",
        f"Home      {plain(view['home'])}",
        f"Night     {_night_line(view['night'])}",
        f"Jobs      {counts_line(view['counts'])}",
        *_backend_lines(view["backends"]),
        *_batch_lines(view),
        *_need_lines(view["needs_you"]),
    ]


def _night_line(night: NightView) -> str:
    if night["limit_usd"] is None:
        return f"{plain(night['name'])} · not armed, so only free backends run (nightshot arm --night 50.00)"
    used = float(night["posted_usd"]) + float(night["held_usd"])
    line = (
        f"{plain(night['name'])} {bar(used, float(night['limit_usd']))} spent {dollars(night['posted_usd'])} "
        f"+ reserved {dollars(night['held_usd'])} of {dollars(night['limit_usd'])}"
    )
    if float(night["in_doubt_usd"]):
        line += paint(f", of that in doubt {dollars(night['in_doubt_usd'])}", fg="yellow")
    return line


def _backend_lines(backends: list[BackendView]) -> list[str]:
    lines = []
    for backend in backends:
        load = f"{backend['in_flight']} of {backend['slots']} slots busy, {backend['waiting']} waiting"
        if backend["in_doubt"]:
            load += f", {backend['in_doubt']} in doubt"
        lines.append(f"Backend   {plain(backend['name'])}: {load}{'' if backend['paid'] else ', free'}")
        for gate in backend["gates"]:
            lines.append(f"          ✗ {plain(gate['code'])}: {plain(gate['sentence'])}")
            if gate["fix"]:
                lines.append(f"            {plain(gate['fix'])}")
    return lines


def _batch_lines(view: StatusView) -> list[str]:
    return [
        f"Batch     {batch['id']} {plain(batch['name'])} ({plain(batch['user'])}, "
        f"{plural(batch['size'], 'job')}): {counts_line(batch['counts'])}"
        for batch in view["batches"]
    ]


def _need_lines(needs: list[NeedView]) -> list[str]:
    if not needs:
        return ["Needs you nothing"]
    lines = [paint("Needs you", bold=True)]
    for need in needs:
        about = f"{plain(need['job'])} " if need["job"] else ""
        lines.append(f"  ! {about}{plain(need['what'])}: {plain(need['sentence'])}")
        if need["fix"]:
            lines.append(f"      {plain(need['fix'])}")
    return lines
