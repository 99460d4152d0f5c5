"""What `nightshot doctor` looks at, one function a matter; each finding carries the command that mends it.

A check reads and never mends: a doctor that changes things cannot be asked twice.
"""

from __future__ import annotations

import os
import shutil
import stat
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from scheduler.cli.common import Where
from scheduler.errors import NightshotError

if TYPE_CHECKING:
    from scheduler.settings import Loaded, Settings

#: `warning` works today but will disappoint somebody; only `problem` makes the command fail.
Verdict = Literal["ok", "warning", "problem"]
LEAST_PYTHON = (3, 11)
LEAST_FREE_BYTES = 200 << 20
FEW_FREE_BYTES = 2 << 30
LOCAL_PACKAGES = ("qiskit", "qiskit_aer", "qiskit_qasm3_import")
#: Files stamped later than now by more than this mean that the clock went back.
CLOCK_SLACK_S = 120


@dataclass(frozen=True)
class Finding:
    """What one check saw; `fix` is what to do about it, empty when there is nothing to do."""

    check: str
    verdict: Verdict
    says: str
    fix: str = ""


def findings(where: Where, *, online: bool) -> Iterator[Finding]:
    """Look at everything, in the order in which a person would mend it."""
    yield _python()
    yield from _folders(where)
    yield _one_file_system(where)
    yield _disk(where)
    try:
        loaded = where.load_settings()
    except NightshotError as error:
        yield Finding("configuration", "problem", error.message, error.hint)
        return
    yield Finding("configuration", "ok", str(loaded.config_file or "no file: everything is a default"))
    yield _clock(where, loaded)
    yield _daemon(where)
    yield _database(where, loaded.settings)
    yield _simulator(loaded.settings)
    for provider in loaded.settings.providers:
        if loaded.settings.kind_of(provider) != "simulator":
            yield _token(loaded.settings, provider)
        if online:
            yield _reachable(where, loaded.settings, provider)


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] < LEAST_PYTHON:
        return Finding("python", "problem", f"{version} is too old", "Install Python 3.11 or later.")
    return Finding("python", "ok", version)


def _folders(where: Where) -> Iterator[Finding]:
    home = where.home
    if not home.root.exists():
        parent = _nearest(home.root)
        if os.access(parent, os.W_OK | os.X_OK):
            yield Finding("home", "warning", f"{home.root} is not there yet", "nightshot run creates it")
        else:
            says = f"{home.root} is not there, and uid {os.getuid()} may not create it in {parent}"
            yield Finding("home", "problem", says, f"sudo install -d -o {os.getuid()} '{home.root}'")
        return
    bad = [folder for folder, _ in home.folders if folder.exists() and not _usable(folder)]
    for folder in bad:
        says = f"{folder} is no folder that uid {os.getuid()} can write to"
        yield Finding("home", "problem", says, f"sudo chown {os.getuid()} '{folder}'")
    if home.state.is_dir() and stat.S_IMODE(home.state.stat().st_mode) & 0o077:
        yield Finding("home", "warning", f"{home.state} is open to others", f"chmod 700 '{home.state}'")
    elif not bad:
        yield Finding("home", "ok", str(home.root))


def _usable(folder: Path) -> bool:
    return folder.is_dir() and os.access(folder, os.R_OK | os.W_OK | os.X_OK)


def _nearest(path: Path) -> Path:
    """The path itself, or the first folder above it that exists."""
    return next(folder for folder in (path, *path.parents) if folder.exists())


def _one_file_system(where: Where) -> Finding:
    home = where.home
    inbox, claimed = _nearest(home.inbox), _nearest(home.claimed)
    if inbox.stat().st_dev != claimed.stat().st_dev:
        says = f"{inbox} and {claimed} are on different file systems: files cannot be claimed in one step"
        return Finding("file system", "problem", says, "Mount the whole home directory, not the inbox alone.")
    return Finding("file system", "ok", "inbox and state are on the same one")


def _disk(where: Where) -> Finding:
    free = shutil.disk_usage(_nearest(where.home.root)).free
    says = f"{free / (1 << 30):.1f} GiB free"
    if free < LEAST_FREE_BYTES:
        return Finding("disk", "problem", says, "Make room: replies and results need space to be kept.")
    if free < FEW_FREE_BYTES:
        return Finding("disk", "warning", says, "Make room soon.")
    return Finding("disk", "ok", says)


def _clock(where: Where, loaded: Loaded) -> Finding:
    if loaded.notes:
        return Finding("clock", "warning", loaded.notes[0], 'Write timezone = "Europe/Berlin" under [time].')
    zone = loaded.settings.time.timezone
    marks = [path for path in (where.home.database, where.home.journal) if path.exists()]
    newest_s = max((path.stat().st_mtime for path in marks), default=0.0)
    if newest_s > time.time() + CLOCK_SLACK_S:
        ahead_s = newest_s - time.time()
        says = f"the database was written {ahead_s:.0f} s in the future: the clock went back"
        return Finding("clock", "problem", says, "timedatectl set-ntp true")
    return Finding(
        "clock", "ok", f"{time.strftime('%Y-%m-%d %H:%M:%S UTC', time.gmtime())}, nights in {zone}"
    )


def _daemon(where: Where) -> Finding:
    from scheduler.client import Client, DaemonNotRunning

    try:
        view = Client(where.home, timeout_s=5).call("status")
    except DaemonNotRunning:
        return Finding("daemon", "warning", "not running: nothing starts by itself", "nightshot run")
    except NightshotError as error:
        return Finding("daemon", "problem", error.message, error.hint)
    return Finding("daemon", "ok", f"running, version {view['version']}, pid {view['pid']}")


def _database(where: Where, settings: Settings) -> Finding:
    url = settings.store_url(where.home.database)
    if url.startswith("sqlite"):
        return _sqlite(Path(url.partition(":///")[2].partition("?")[0]))
    return _postgresql(url)


def _sqlite(path: Path) -> Finding:
    import sqlite3

    if not path.exists():
        return Finding("database", "ok", f"{path} is created by the first run")
    try:
        with sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5) as connection:
            problem = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        connection.close()
    except sqlite3.Error as error:
        return Finding("database", "problem", f"{path}: {error}", "Restore the latest copy in state/backups.")
    if problem != "ok":
        return Finding(
            "database", "problem", f"{path}: {problem}", "Restore the latest copy in state/backups."
        )
    return Finding("database", "ok", str(path))


def _postgresql(url: str) -> Finding:
    import asyncio

    if find_spec("asyncpg") is None:
        says = "store.url is PostgreSQL, but its driver is not installed"
        return Finding("database", "problem", says, "python -m pip install 'nightshot[postgres]'")
    import asyncpg

    async def version() -> str:
        connection = await asyncpg.connect(url.replace("+asyncpg", "", 1), timeout=5)
        try:
            return str(await connection.fetchval("SHOW server_version", timeout=5))
        finally:
            await connection.close(timeout=5)

    try:
        return Finding("database", "ok", f"PostgreSQL {asyncio.run(version())}")
    except (OSError, TimeoutError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        # The driver's sentences name host, user and database; the password is in none of them.
        says = f"PostgreSQL cannot be reached: {error or type(error).__name__}"
        return Finding("database", "problem", says, "Look whether the server runs and store.url names it.")


def _simulator(settings: Settings) -> Finding:
    if not any(settings.kind_of(name) == "simulator" for name in settings.providers):
        return Finding("simulator", "ok", "not configured")
    missing = [package for package in LOCAL_PACKAGES if find_spec(package) is None]
    if missing:
        says = f"not installed: {', '.join(missing)}"
        return Finding("simulator", "warning", says, "python -m pip install 'nightshot[local]'")
    return Finding("simulator", "ok", "qiskit, its Aer simulator and its OpenQASM 3 reader are installed")


def _token(settings: Settings, provider: str) -> Finding:
    from scheduler.settings import secret_reader, token_source

    check = f"token of {provider}"
    source = token_source(settings, os.environ, provider)
    if source is None:
        says = "none, so nothing can be sent there"
        variable = "Set CODA_API_TOKEN, or write" if provider == "coda" else "Write"
        fix = f"{variable} token_file under [providers.{provider}]; without it free backends run as ever."
        return Finding(check, "warning", says, fix)
    if secret_reader(settings, os.environ)(provider)(f"{provider}-token") is None:
        return Finding(
            check, "problem", f"{source} is empty or cannot be read", f"Put the token into {source}."
        )
    if os.path.isfile(source) and os.stat(source).st_mode & 0o077:
        return Finding(check, "warning", f"{source} can be read by others", f"chmod 600 '{source}'")
    return Finding(check, "ok", f"present, from {source}")


def _reachable(where: Where, settings: Settings, provider: str) -> Finding:
    """Ask the provider for its devices: read-only, and the daemon need not run."""
    import asyncio

    from scheduler.clock import SystemClock
    from scheduler.plugins import build_provider
    from scheduler.ports import Site
    from scheduler.settings import secret_reader

    check = f"devices of {provider}"
    site = Site(
        name=provider,
        state_dir=where.home.state,
        clock=SystemClock(),
        prices=settings.prices_for(provider),
        secret=secret_reader(settings, os.environ)(provider),
    )

    async def device_names() -> list[str]:
        adapter = build_provider(settings.kind_of(provider), settings.provider_options(provider), site)
        try:
            return [device.name for device in await adapter.devices()]
        finally:
            await adapter.close()

    try:
        names = asyncio.run(device_names())
    except NightshotError as error:
        return Finding(check, "problem", error.message, error.hint or "Look at the network and at base_url.")
    return Finding(check, "ok", f"{len(names)}: {', '.join(names)}" if names else "the list is empty")
