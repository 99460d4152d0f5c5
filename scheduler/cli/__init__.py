"""The command `nightshot`: it asks the daemon, prints the answer, and ends with a code that means something.

This module is on the path of every command, so it imports click and nothing else; each command's module is
loaded when that command is used, and what is heavy is imported inside the function that needs it.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any

import click

from scheduler import __version__
from scheduler.cli.common import Where, where_options
from scheduler.errors import NightshotError

INTERRUPTED = 130
PIPE_CLOSED = 141

#: Command -> module below scheduler.cli that has a click command of that name.
COMMANDS = {
    "demo": "demo",
    "init": "init",
    "run": "run",
    "submit": "submit",
    "status": "status",
    "jobs": "jobs",
    "show": "show",
    "why": "why",
    "wait": "wait",
    "results": "results",
    "cancel": "change",
    "hold": "hold",
    "release": "release",
    "resolve": "change",
    "edit": "edit",
    "rerun": "rerun",
    "approve": "approve",
    "estimate": "estimate",
    "budget": "budget",
    "backends": "backends",
    "arm": "arming",
    "disarm": "arming",
    "audit": "audit",
    "reconcile": "reconcile",
    "check": "check",
    "config": "config",
    "db": "db",
    "doctor": "doctor",
}
#: What `--help` says about each: the first line of its own help, here so that `--help` loads none of them.
ABOUT = {
    "demo": "Run sample jobs on the local simulator.",
    "init": "Write a commented nightshot.toml.",
    "run": "Run the daemon in the foreground until it is stopped.",
    "submit": "Queue job files.",
    "status": "Show money, backends, latest batches and what needs you.",
    "jobs": "List jobs, the latest first.",
    "show": "Show one job: why it waits, what was sent, its cost.",
    "why": "Say why a job waits, all checks with what opens them.",
    "wait": "Wait until jobs or whole batches have ended.",
    "results": "Show the counts of a job or a batch ('latest' works).",
    "cancel": "Cancel jobs that were not sent yet.",
    "hold": "Keep jobs that were not sent yet from being sent.",
    "release": "Let jobs go that were put on hold.",
    "resolve": "Settle a job in doubt, by what you found out.",
    "edit": "Change a waiting job.",
    "rerun": "Queue the same code once more.",
    "approve": "Approve what waiting jobs cost.",
    "estimate": "Show what files would cost, or what a job's quote said.",
    "budget": "Show caps and credits; the subcommands change them.",
    "audit": "Check that balances, holds, caps and attempts agree.",
    "reconcile": "Compare an invoice with our books and list every difference.",
    "backends": "List backends, or resume one that was paused.",
    "arm": "Allow paid submission up to a limit a night, until disarmed.",
    "disarm": "Send nothing paid from now on.",
    "check": "Check job files without queueing them.",
    "config": "Look at the configuration that holds.",
    "db": "Look after the database: bring it up to date, copy it.",
    "doctor": "Check the installation, and say what mends it.",
}

#: How `nightshot --help` lists them; a command that is in none is listed at the end.
GROUPS = {
    "Jobs": (
        "submit",
        "status",
        "jobs",
        "show",
        "why",
        "wait",
        "results",
        "cancel",
        "hold",
        "release",
        "edit",
        "rerun",
    ),
    "Money": ("arm", "disarm", "estimate", "approve", "budget", "resolve", "audit", "reconcile"),
    "Installation": ("demo", "init", "run", "backends", "check", "config", "db", "doctor"),
}


class _Commands(click.Group):
    """Loads a command's module only when that command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click passes it by name
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        command = getattr(import_module(f"scheduler.cli.{COMMANDS[cmd_name]}"), cmd_name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        grouped = {name for names in GROUPS.values() for name in names}
        others = tuple(name for name in COMMANDS if name not in grouped)
        # One width for all, so that the groups read as one table; the texts are here, so nothing is loaded.
        widest = max(map(len, COMMANDS))
        for title, names in {**GROUPS, "Others": others}.items():
            if names:
                with formatter.section(title):
                    formatter.write_dl([(name.ljust(widest), ABOUT[name]) for name in names])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            raise click.UsageError(f"there is no command {args[0]!r}{_near(args[0])}", ctx)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            # click would make this a failure like any other.
            raise click.exceptions.Exit(PIPE_CLOSED) from None


def _near(name: str) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, COMMANDS, 1)
    return f", did you mean '{near[0]}'?" if near else ""


EXIT_CODES = """\b
Exit codes:
  0   done
  1   failed, or nothing changed
  2   the command line is wrong
  3   there is no such job, batch or file
  4   not allowed
  5   refused by the budget
  6   only a person can go on (nightshot status says who and how)
  65  a job file is wrong
  69  the daemon, the database or the provider cannot be reached
  75  busy, try again
  78  the configuration or the database does not fit
  124 the time given is over
  130 interrupted
  141 the reader of the output went away
"""


@click.group(
    "nightshot",
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=EXIT_CODES,
)
@click.version_option(__version__, prog_name="nightshot")
@where_options(hidden=False)
def nightshot() -> None:
    """Queue quantum circuits, keep to a budget, collect the results in the morning.

    One program is the daemon (`nightshot run`); the other commands ask it over a socket in the home
    directory. When none runs, they read and change the store themselves. `nightshot demo` shows all of it.

    Options like --home work before a command and behind it.
    """


def main(arguments: list[str] | None = None) -> None:
    """Run the command and leave with its exit code."""
    where = Where()
    try:
        code = _run(arguments, where)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader went away (`nightshot jobs | head`); whatever is still buffered must not be tried again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = PIPE_CLOSED
    sys.exit(code)


def _run(arguments: list[str] | None, where: Where) -> int:
    try:
        code = nightshot.main(args=arguments, prog_name="nightshot", standalone_mode=False, obj=where)
        return int(code or 0)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("nightshot: interrupted", err=True)
        return INTERRUPTED
    except NightshotError as error:
        if where.debug:
            traceback_to_stderr()
        print_error(error)
        return error.exit_code
    except SystemExit as end:
        # click ends the process itself after it has written a shell completion.
        return end.code if isinstance(end.code, int) else 0
    except Exception as error:  # noqa: BLE001 - the last one who could say anything
        # A bug of ours or of the system below: one line for people, everything for whoever looks into it.
        if where.debug:
            traceback_to_stderr()
        click.echo(f"nightshot: {type(error).__name__}: {error}", err=True)
        click.echo("  This was not foreseen. The whole story: nightshot --debug …", err=True)
        return 1


def traceback_to_stderr() -> None:
    import traceback

    traceback.print_exc()


def print_error(error: NightshotError) -> None:
    """Say on stderr what failed and what to do next."""
    from scheduler.cli.render import plain_lines

    click.echo(f"nightshot: {plain_lines(error.message)}", err=True)
    if error.hint:
        click.echo(f"  {plain_lines(error.hint)}", err=True)
