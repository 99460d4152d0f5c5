"""`nightshot db`: bring the store to this program's version, and copy it."""

from __future__ import annotations

import click

from scheduler.cli.common import Where, echo_json, output_options, pass_where, utc_now_text, where_options


@click.group()
@where_options()
def db() -> None:
    """Look after the database: bring it up to date, copy it."""


@db.command()
@output_options
@pass_where
def upgrade(where: Where, as_json: bool, quiet: bool) -> None:
    """Bring the database to the schema of this version.

    The daemon must be stopped. An SQLite file is copied into state/backups first; `nightshot run` upgrades
    one by itself, so only PostgreSQL needs this command.
    """
    from scheduler.home import make_folders
    from scheduler.locks import file_lock
    from scheduler.store.migrate import upgrade as upgrade_store

    home = where.home
    settings = where.load_settings().settings
    make_folders(home)
    # The lock rather than a question on the socket: a daemon that is just starting does not listen yet.
    with file_lock(home.lock, f"the home {home.root}"):
        done = upgrade_store(settings.store_url(home.database), home.state / "backups")
    _echo_done(done, {"done": done}, as_json, quiet)


@db.command()
@click.argument("target", required=False, metavar="[FILE]")
@output_options
@pass_where
def backup(where: Where, target: str | None, as_json: bool, quiet: bool) -> None:
    """Copy an SQLite database to FILE, in use or not.

    Without FILE the copy goes into state/backups of the home, with the time in its name. For PostgreSQL, use
    pg_dump.
    """
    from pathlib import Path

    from scheduler.store.migrate import backup as backup_store

    home = where.home
    settings = where.load_settings().settings
    stamp = utc_now_text().replace(":", "").replace("-", "")
    path = Path(target) if target else home.state / "backups" / f"nightshot-{stamp}.db"
    if path.exists():
        raise click.UsageError(f"{path} exists already: choose another name")
    path.parent.mkdir(parents=True, exist_ok=True)
    written = backup_store(settings.store_url(home.database), path)
    if quiet:
        return click.echo(str(written))
    _echo_done([f"Copied to {written}"], {"file": str(written)}, as_json, quiet)
    return None


def _echo_done(sentences: list[str], view: dict[str, object], as_json: bool, quiet: bool) -> None:
    if as_json:
        echo_json(view)
    elif not quiet:
        for sentence in sentences or ["Nothing to do: the database is of this version."]:
            click.echo(sentence)
