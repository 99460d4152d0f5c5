"""A real daemon in a process of its own, and a look at its database that it cannot notice."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from scheduler.client import Client, DaemonNotRunning
from scheduler.home import Home

PATIENCE_S = 60.0


@contextmanager
def running_daemon(home: Home, environ: Mapping[str, str] | None = None) -> Iterator[int]:
    """Yield its process id once it answers; its log goes to a file, as it would in a service."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("NIGHTSHOT_", "CODA_"))}
    command = [sys.executable, "-m", "scheduler.cli", "--home", str(home.root), "run"]
    with (home.root / "daemon.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=clean | dict(environ or {}))
    try:
        until(lambda: _answers(home) or process.poll() is not None, "the daemon is ready")
        if process.poll() is not None:
            raise RuntimeError(f"the daemon did not start:\n{(home.root / 'daemon.log').read_text()}")
        yield process.pid
    finally:
        process.terminate()
        process.wait()


def _answers(home: Home) -> bool:
    try:
        Client(home).call("status")
    except DaemonNotRunning:
        return False
    return True


def until(fact: Callable[[], object], what: str, pause_s: float = 0.005) -> float:
    """Wait for a fact; returns the monotonic time at which it was seen."""
    ends_s = time.monotonic() + PATIENCE_S
    while not fact():
        if time.monotonic() > ends_s:
            raise TimeoutError(f"not within {PATIENCE_S:g} s: {what}")
        time.sleep(pause_s)
    return time.monotonic()


class Watcher:
    """Looks at the database of another process, read-only, several thousand times a second."""

    #: Long enough to leave the daemon its core, short beside what is measured.
    PAUSE_S = 0.0002

    def __init__(self, database: Path) -> None:
        self._connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True, isolation_level=None)

    def count(self, question: str) -> int:
        return int(self._connection.execute(question).fetchone()[0])

    def until_more(self, question: str, than: int) -> float:
        return until(lambda: self.count(question) > than, question, self.PAUSE_S)

    def close(self) -> None:
        self._connection.close()
