"""`nightshot config show`: every setting and where it came from."""

from __future__ import annotations

import click

from scheduler.cli.common import Where, echo_json, output_options, pass_where, where_options
from scheduler.cli.render import table


@click.group()
@where_options()
def config() -> None:
    """Look at the configuration that holds."""


@config.command()
@output_options
@pass_where
def show(where: Where, as_json: bool, quiet: bool) -> None:
    """Show every setting, its value and its origin.

    The origin is a line of the file, an environment variable, or the default. Tokens are not settings and are
    never shown.
    """
    loaded = where.load_settings()
    file = None if loaded.config_file is None else str(loaded.config_file)
    if as_json:
        settings = [{"key": key, "value": value, "origin": origin} for key, value, origin in loaded.shown()]
        return echo_json({"file": file, "settings": settings, "notes": list(loaded.notes)})
    if quiet:
        for key, value, _ in loaded.shown():
            click.echo(f"{key} = {_toml(value)}")
        return None
    click.echo(f"File: {file or 'none, everything is a default (write one: nightshot init)'}")
    for note in loaded.notes:
        click.echo(f"Note: {note}")
    rows = [(key, _toml(value), origin) for key, value, origin in loaded.shown()]
    for line in table(("KEY", "VALUE", "ORIGIN"), rows):
        click.echo(line)
    return None


def _toml(value: object) -> str:
    """As it could stand in the file; what is not set has no way to be written there."""
    import json

    return "(not set)" if value is None else json.dumps(value, ensure_ascii=False, default=str)
