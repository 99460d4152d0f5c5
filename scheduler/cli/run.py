"""`nightshot run`: be the daemon."""

from __future__ import annotations

import click

from scheduler.cli.common import Where, pass_where, where_options


@click.command()
@click.option("--until-idle", is_flag=True, help="End when only a person could move anything.")
@where_options()
@pass_where
def run(where: Where, until_idle: bool) -> int:
    """Run the daemon in the foreground until it is stopped.

    It may be stopped (Ctrl-C, SIGTERM) or killed at any time: the next one goes on where it was. Its log goes
    to stderr. With --until-idle it ends with 0 even if jobs failed; nightshot wait tells how they ended.
    """
    from scheduler.daemon import run_daemon

    return run_daemon(where.home, where.config_file, until_idle=until_idle)
