"""`nightshot init`: four questions, one commented configuration file."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import click

from scheduler.cli.common import Where, echo_json, output_options, pass_where
from scheduler.errors import SettingsError, UsageError
from scheduler.home import Home


@click.command()
@click.option("--timezone", metavar="ZONE", help="The zone of nights and reports, like Europe/Berlin.")
@click.option("--backend", metavar="NAME", help="Where a job runs that names no backend.")
@click.option("--token-file", metavar="FILE", help="The file that holds the Coda token.")
@click.option("--night-limit", metavar="AMOUNT", help="Arm paid submission with this limit a night.")
@click.option("--force", is_flag=True, help="Replace an existing configuration.")
@output_options
@pass_where
def init(
    where: Where,
    timezone: str | None,
    backend: str | None,
    token_file: str | None,
    night_limit: str | None,
    force: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Write a commented nightshot.toml.

    Asks four questions; without a terminal, what no option answers takes its default.
    """
    target = config_target(where.home, where.config_file)
    if target.exists() and not force:
        raise UsageError(f"{target} exists already", "Keep it, or replace it with: nightshot init --force")
    ask = sys.stdin.isatty() and sys.stdout.isatty() and not quiet and not as_json
    timezone = _answer(ask, timezone, "Time zone of your nights", _system_zone())
    backend = _answer(ask, backend, "Backend of jobs that name none", "simulator")
    token_file = _answer(ask, token_file, "File with the Coda token (empty: none yet)", "")
    night_limit = _answer(
        ask, night_limit, "Most a night may cost in dollars (empty: free backends only)", ""
    )

    text = filled_in(example_text(), timezone, backend, token_file)
    _refuse_what_cannot_be_read(text, target)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8")
    done = [f"Wrote {target}"]
    if night_limit:
        done += _arm(where, night_limit)
    if as_json:
        return echo_json({"file": str(target), "done": done})
    if quiet:
        return click.echo(str(target))
    for sentence in [*done, "Next: nightshot doctor, then nightshot run"]:
        click.echo(sentence)
    return None


def config_target(home: Home, config_file: Path | None) -> Path:
    """The file that would be read; when there is none, the last place that is looked at."""
    if config_file is not None:
        return config_file
    existing = (path for path in home.config_candidates if path.is_file())
    return next(existing, home.config_candidates[-1])


def example_text() -> str:
    """The commented example that ships with the program, in a wheel and in a checkout alike."""
    package = Path(__file__).resolve().parents[1]
    for path in (package / "_config" / "nightshot.toml", package.parent / "config" / "nightshot.toml"):
        if path.is_file():
            return path.read_text(encoding="utf-8")
    raise SettingsError("the commented example is missing from this installation", "Install nightshot again.")


def filled_in(example: str, timezone: str, backend: str, token_file: str) -> str:
    """Put the answers in place of the commented defaults."""
    text = _set_line(example, "timezone", timezone)
    text = _set_line(text, "backend", backend)
    return _set_line(text, "token_file", token_file) if token_file else text


def _set_line(text: str, key: str, value: str) -> str:
    # A TOML basic string and a JSON string agree on everything that JSON escapes.
    line = f"{key} = {json.dumps(value)}"
    changed, number = re.subn(rf"(?m)^#?{key} = .*$", lambda _: line, text, count=1)
    if number != 1:
        raise SettingsError(f"the shipped example has no line for {key}", "Install nightshot again.")
    return changed


def _refuse_what_cannot_be_read(text: str, target: Path) -> None:
    """Read the text as the daemon would, before it replaces anything. Raises SettingsError."""
    import tempfile

    from scheduler.settings import load_settings

    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder, target.name)
        draft.write_text(text, encoding="utf-8")
        try:
            load_settings(Home(Path(folder)), draft, {})
        except SettingsError as error:
            raise SettingsError(error.message, "Nothing was written. Correct the answer.") from None


def _answer(ask: bool, given: str | None, question: str, default: str) -> str:
    if given is not None or not ask:
        return default if given is None else given
    return str(click.prompt(question, default=default, show_default=bool(default)))


def _system_zone() -> str:
    import os

    from scheduler.settings import system_zone

    return system_zone(os.environ) or "UTC"


def _arm(where: Where, night_limit: str) -> list[str]:
    from scheduler.cli.arming import amount_text

    view = where.ask("arm", {"night": amount_text(night_limit), "once": False, "reason": "nightshot init"})
    return [str(sentence) for sentence in [*view["changed"], *view["unchanged"]]]
