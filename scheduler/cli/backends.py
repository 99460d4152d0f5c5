"""`nightshot backends`: the places to run, what keeps them closed, and opening one again."""

from __future__ import annotations

import click

from scheduler.cli.change import echo_changed
from scheduler.cli.common import Where, echo_json, output_options, pass_where
from scheduler.cli.render import plain, table


@click.group(invoke_without_command=True)
@output_options
@click.pass_context
def backends(ctx: click.Context, as_json: bool, quiet: bool) -> None:
    """List backends, or resume one that was paused.

    Without a command this is `backends list`: what is configured or has jobs waiting.
    """
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_backends, as_json=as_json, quiet=quiet)
    elif as_json or quiet:
        raise click.UsageError(f"--json and -q come behind '{ctx.invoked_subcommand}'")


@backends.command("list")
@output_options
@pass_where
def list_backends(where: Where, as_json: bool, quiet: bool) -> None:
    """List every backend with its slots and its closed gates."""
    view = where.ask("backends")
    if as_json:
        return echo_json(view)
    if quiet:
        for backend in view["backends"]:
            click.echo(plain(backend["name"]))
        return None
    columns = ("BACKEND", "KIND", "MONEY", "BUSY", "SLOTS", "WAITING", "IN DOUBT", "CLOSED GATES")
    rows = [
        (
            backend["name"],
            backend["kind"],
            "paid" if backend["paid"] else "free",
            backend["in_flight"],
            backend["slots"],
            backend["waiting"],
            backend["in_doubt"],
            "; ".join(f"{gate['code']}: {gate['sentence']}" for gate in backend["gates"]) or "none",
        )
        for backend in view["backends"]
    ]
    for line in table(columns, rows, right=("BUSY", "SLOTS", "WAITING", "IN DOUBT")):
        click.echo(line)
    return None


@backends.command()
@click.argument("backend", metavar="NAME")
@click.option("--gate", type=click.Choice(["journal", "clock"]), help="Lift this money stop, and only this.")
@click.option("--reason", required=True, metavar="TEXT", help="What you looked at or changed.")
@output_options
@pass_where
def resume(where: Where, backend: str, gate: str | None, reason: str, as_json: bool, quiet: bool) -> int:
    """Use a backend again that was paused.

    The gates "journal" and "clock" stop what could be paid twice or over a limit: they stay closed, and are
    told, until --gate names them.
    """
    if not reason.strip():
        raise click.UsageError("--reason is empty: say what you looked at or changed")
    view = where.ask("backends_resume", {"backend": backend, "gate": gate, "reason": reason})
    return echo_changed(view, as_json, quiet)
