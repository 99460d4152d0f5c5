"""What every command shares: where the home is, whom to ask, and the options that all of them have."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from scheduler.home import Home

if TYPE_CHECKING:
    from pathlib import Path

    from scheduler.settings import Loaded

#: Raised when the shape of any `--json` answer changes in a way that breaks a reader.
JSON_SCHEMA = 1

F = TypeVar("F", bound=Callable[..., Any])


class Where:
    """Which home and configuration this call is about; `ask` finds somebody who answers."""

    def __init__(self) -> None:
        self.home_text: str | None = None
        self.config_text: str | None = None
        self.debug = False
        #: True when the last answer came from the store itself, because no daemon runs.
        self.alone = False

    @property
    def home(self) -> Home:
        return Home.find(self.home_text, os.environ)

    @property
    def config_file(self) -> Path | None:
        if self.config_text is None:
            return None
        from pathlib import Path

        return Path(self.config_text)

    def ask(self, op: str, args: dict[str, Any] | None = None, *, timeout_s: float = 60.0) -> dict[str, Any]:
        """Ask the daemon; when none runs, take the home's lock and answer from the store ourselves."""
        from scheduler.client import Client, DaemonNotRunning

        home = self.home
        try:
            answer = Client(home, timeout_s).call(op, args)
        except DaemonNotRunning:
            from scheduler.daemon import answer_offline

            answer = answer_offline(home, self.config_file, op, args or {})
            self.alone = True
        else:
            self.alone = False
        return answer

    def load_settings(self) -> Loaded:
        from scheduler.settings import load_settings

        return load_settings(self.home, self.config_file, os.environ)


def _remember(attribute: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def keep(ctx: click.Context, _option: click.Parameter, value: Any) -> None:
        # An option given before the command holds unless it is given again behind it.
        if value not in (None, False):
            setattr(ctx.ensure_object(Where), attribute, value)

    return keep


def where_options(*, hidden: bool = True) -> Callable[[F], F]:
    """--home, --config and --debug; they work before the command and behind it."""

    def add(function: F) -> F:
        for names, attribute, metavar, says in (
            ("--debug", "debug", None, "Show a traceback when something fails."),
            ("--config", "config_text", "FILE", "Read this configuration file."),
            ("--home", "home_text", "DIR", "Keep everything under this directory (NIGHTSHOT_HOME)."),
        ):
            option = click.option(
                names,
                metavar=metavar,
                is_flag=metavar is None,
                help=says,
                hidden=hidden,
                expose_value=False,
                callback=_remember(attribute),
                is_eager=True,
            )
            function = option(function)
        return function

    return add


def output_options(function: F) -> F:
    """`--json` and `-q`, and the options of the group again."""
    function = click.option("-q", "--quiet", is_flag=True, help="Print only what a script needs.")(function)
    function = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")(function)
    return where_options()(function)


def echo_json(view: dict[str, Any]) -> None:
    """Print a view as one versioned document with `as_of`."""
    import json

    document = {"schema": JSON_SCHEMA, "as_of": view.get("as_of") or utc_now_text(), **view}
    click.echo(json.dumps(document, indent=2, ensure_ascii=not _stdout_is_unicode()))


def utc_now_text() -> str:
    import time

    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _stdout_is_unicode() -> bool:
    return (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"


pass_where = click.make_pass_decorator(Where, ensure=True)
