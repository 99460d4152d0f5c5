"""What holds for the whole command: exit codes, errors, pipes, help."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import click
import pytest

from scheduler.cli import ABOUT, COMMANDS
from scheduler.cli import nightshot as group
from scheduler.home import Home
from tests.cli.conftest import Command
from tests.support.control_server import ControlServer, RefusalError
from tests.support.views import job_view, status_view

RUN = [sys.executable, "-m", "scheduler.cli"]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_json(name: str) -> None:
    ctx = click.Context(group)
    command = group.get_command(ctx, name)
    assert command is not None
    leaves = list(command.commands.values()) if isinstance(command, click.Group) else [command]
    for leaf in leaves:
        assert leaf.help, f"{name} {leaf.name} says nothing about itself"
        options = {option for parameter in leaf.params for option in parameter.opts}
        assert "--json" in options or leaf.name == "run", f"{name} {leaf.name} has no --json"


def test_the_list_of_commands_says_what_each_says_about_itself() -> None:
    ctx = click.Context(group)
    commands = {name: group.get_command(ctx, name) for name in COMMANDS}
    assert {name: found.get_short_help_str(80) for name, found in commands.items() if found} == ABOUT


def test_a_mistyped_command_is_a_usage_error_with_a_guess(nightshot: Command) -> None:
    done = nightshot("stauts")
    assert done.code == 2
    assert "did you mean 'status'?" in done.err


def test_the_version_is_printed(nightshot: Command) -> None:
    assert nightshot("--version").out == "nightshot, version 0.1.0\n"


@pytest.mark.parametrize(
    ("code", "exit_code"),
    [
        ("not-found", 3),
        ("not-allowed", 4),
        ("refused-by-budget", 5),
        ("needs-a-person", 6),
        ("try-again", 75),
    ],
)
def test_an_error_is_two_lines_and_an_exit_code(
    nightshot: Command, server: ControlServer, code: str, exit_code: int
) -> None:
    def refuse(_args: object) -> dict[str, object]:
        raise RefusalError(code, "what \x1b[31mfailed", "what to do next", exit_code)

    server.answers["status"] = refuse
    done = nightshot("status")
    assert (done.code, done.out) == (exit_code, "")
    assert done.err == "nightshot: what \\x1b[31mfailed\n  what to do next\n"


def test_an_error_nobody_foresaw_is_one_line_without_a_traceback(
    nightshot: Command, server: ControlServer
) -> None:
    server.answers["status"] = {"as_of": "2026-11-22T20:41:07Z"}  # not a status at all
    done = nightshot("status")
    assert done.code == 1
    assert done.err.startswith("nightshot: KeyError: ")
    assert "Traceback" not in done.err


def test_a_traceback_is_shown_when_asked_for(home: Home, server: ControlServer) -> None:
    server.answers["status"] = {}
    done = subprocess.run(
        [*RUN, "--home", str(home.root), "--debug", "status"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "Traceback" in done.stderr


@pytest.mark.parametrize("place", ["before", "behind", "environment"])
def test_the_home_can_be_named_in_three_places(home: Home, server: ControlServer, place: str) -> None:
    server.answers["status"] = dict(status_view())
    named = ["--home", str(home.root)]
    command = {"before": [*named, "status"], "behind": ["status", *named], "environment": ["status"]}[place]
    environ = {**os.environ, "NIGHTSHOT_HOME": str(home.root)} if place == "environment" else None
    done = subprocess.run([*RUN, *command, "-q"], capture_output=True, text=True, env=environ, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "running\n", "")


def test_a_reader_that_goes_away_is_no_error(home: Home, server: ControlServer) -> None:
    server.answers["jobs"] = {
        "as_of": "x",
        "jobs": [dict(job_view(str(i))) for i in range(1, 5000)],
        "next": None,
    }
    command = subprocess.Popen(
        [*RUN, "--home", str(home.root), "jobs", "--all"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert command.stdout is not None
    assert command.stderr is not None
    command.stdout.readline()
    command.stdout.close()
    assert command.stderr.read() == b""
    command.stderr.close()
    assert command.wait(30) == 141


def test_interrupting_is_one_line(home: Home, server: ControlServer) -> None:
    asked, go_on = threading.Event(), threading.Event()

    def hang(_args: object) -> dict[str, object]:
        asked.set()
        go_on.wait(30)
        return {}

    server.answers["status"] = hang
    # A test run in the background of a shell ignores the signal, and so would its children.
    as_in_a_terminal = ["env", "--default-signal=INT", *RUN, "--home", str(home.root), "status"]
    with subprocess.Popen(as_in_a_terminal, stderr=subprocess.PIPE, text=True) as command:
        try:
            assert asked.wait(30)
            command.send_signal(signal.SIGINT)
            _, err = command.communicate(timeout=30)
        finally:
            go_on.set()
    assert (command.returncode, err.strip()) == (130, "nightshot: interrupted")


def test_no_colour_reaches_a_pipe(nightshot: Command, server: ControlServer) -> None:
    server.answers["status"] = dict(status_view())
    assert "\x1b" not in nightshot("status").out


def test_a_command_loads_only_its_own_module(tmp_path: Path) -> None:
    script = (
        "import sys; from scheduler.cli import _run; from scheduler.cli.common import Where\n"
        "_run(['config', 'show', '-q', '--home', sys.argv[1]], Where())\n"
        "print(sorted(n for n in sys.modules if n.startswith('scheduler.cli.')), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stderr.strip() == "['scheduler.cli.common', 'scheduler.cli.config', 'scheduler.cli.render']"
