"""The real daemon as a process of its own on a home of its own, asked over its socket like anybody would."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from scheduler.client import Client
from scheduler.daemon import answer_offline
from scheduler.errors import NightshotError, Unreachable
from scheduler.home import Home, make_folders
from scheduler.store.migrate import upgrade

#: As much as a machine under load may need; a test that passes never waits for so long.
PATIENCE_S = 60.0
#: Without its privileges even root may not read what is closed to it: permissions count as for anybody.
WITHOUT_PRIVILEGES = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")


class NeverHappened(AssertionError):
    """A fact that was waited for; with the daemon's log, which usually knows why."""


def environment(**more: str) -> dict[str, str]:
    """Without settings and tokens of whoever runs the tests."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("NIGHTSHOT_", "CODA_", "CREDENTIALS_"))}
    return {**kept, "TZ": "UTC", **more}


@functools.cache
def upgraded_database() -> bytes:
    """The file that a first start makes, which takes longer than everything else of a start."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "new.db"
        upgrade(f"sqlite:///{path}", Path(folder))
        with contextlib.closing(sqlite3.connect(path)) as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return path.read_bytes()


class Daemon:
    """A home and, between `start` and `kill` or `stop`, a daemon on it."""

    def __init__(
        self,
        root: Path,
        *,
        config: str = "",
        environ: dict[str, str] | None = None,
        prefix: tuple[str, ...] = (),
        first_start: bool = False,
    ) -> None:
        """Unless this is about a first start, the home's database is there already, with nothing in it."""
        self.home = Home(root, config_candidates=(root / "nightshot.toml",))
        make_folders(self.home)
        if config:
            (root / "nightshot.toml").write_text(config)
        if not first_start and not self.home.database.exists():
            self.home.database.write_bytes(upgraded_database())
        #: Beside the home: a home on a full disk must not silence it.
        self._log_path = root.parent / f"{root.name}.log"
        self._environ = environment(**(environ or {}))
        self._prefix = prefix
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Daemon:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    # -------------------------------------------------------------------------------------- life and death

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "the daemon was not started"
        return self._process

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def log(self) -> str:
        return self._log_path.read_text(errors="replace") if self._log_path.exists() else ""

    def command(self, *arguments: str) -> list[str]:
        return [
            *self._prefix, sys.executable, "-m", "scheduler.cli", "--home", str(self.home.root), *arguments
        ]  # fmt: skip

    def launch(self, *options: str) -> Daemon:
        """Start the process and do not wait for it."""
        assert self._process is None or self._process.poll() is not None
        with self._log_path.open("ab") as log:
            self._process = subprocess.Popen(
                self.command("run", *options),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environ,
            )
        return self

    def start(self) -> Daemon:
        """Start the process and wait until it answers."""
        self.launch()
        self.until(self.answers, "the daemon answers")
        return self

    def answers(self) -> bool:
        if self.process.poll() is not None:
            raise NeverHappened(f"the daemon ended with code {self.process.returncode}:\n{self.log}")
        try:
            self.status()
        except NightshotError:
            return False
        return True

    def kill(self) -> None:
        """SIGKILL, as a power cut would; nothing when it does not run."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)

    def run_until_idle(self) -> int:
        self.launch("--until-idle")
        return self.process.wait(PATIENCE_S)

    def ask(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command on this home and wait for its end."""
        return subprocess.run(
            self.command(*arguments),
            capture_output=True,
            text=True,
            env=self._environ,
            check=False,
            timeout=PATIENCE_S,
        )

    # ----------------------------------------------------------------------------------------------- facts

    def call(self, op: str, **args: Any) -> dict[str, Any]:
        return Client(self.home, 10.0).call(op, args)

    def told(self, op: str, **args: Any) -> dict[str, Any]:
        """As every command asks: the daemon if one runs, else the store itself; only without a process."""
        if self._process is not None and self._process.poll() is None:
            return self.call(op, **args)
        return answer_offline(self.home, None, op, args)

    def status(self) -> dict[str, Any]:
        return self.call("status")

    def needs(self) -> str:
        """What `status` says that a person must look at, in one text."""
        return "\n".join(f"{need['what']}: {need['sentence']}" for need in self.status()["needs_you"])

    def jobs(self) -> list[dict[str, Any]]:
        return [job for job in self.call("jobs", limit=10_000)["jobs"] if isinstance(job, dict)]

    def states(self) -> dict[str, int]:
        """How many jobs are in each state."""
        found: dict[str, int] = {}
        for job in self.jobs():
            found[job["state"]] = found.get(job["state"], 0) + 1
        return found

    def until(self, fact: Callable[[], object], what: str, patience_s: float = PATIENCE_S) -> None:
        deadline_s = time.monotonic() + patience_s
        while True:
            try:
                if fact():
                    return
            except Unreachable:
                pass  # it is about to start, or busy dying
            if time.monotonic() > deadline_s:
                raise NeverHappened(f"it never happened that {what}; its log:\n{self.log[-8000:]}")
            time.sleep(0.02)

    def lives(self) -> bool:
        return self.process.poll() is None and self.answers()

    def cpu_s(self) -> float:
        """Processor time this process has used so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def cpu_share(self, during_s: float = 1.0) -> float:
        """The share of a core it uses during a moment in which it should have little to do."""
        before = self.cpu_s()
        time.sleep(during_s)
        return (self.cpu_s() - before) / during_s

    # ----------------------------------------------------------------------------------------------- files

    def drop(self, name: str, text: str) -> None:
        """Put a file into the inbox as any program should: write under another name, then rename."""
        path = self.home.inbox / name
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f"{path.name}.tmp")
        unfinished.write_text(text)
        unfinished.rename(path)

    @property
    def whys(self) -> dict[str, str]:
        found = sorted(self.home.rejected.glob("*.WHY.txt"))
        return {path.name.removesuffix(".WHY.txt"): path.read_text() for path in found}

    def result_folders(self) -> list[Path]:
        """Folders that are complete; one that is being written has a hidden name."""
        found = (path for night in self.home.results.iterdir() for path in night.iterdir())
        return sorted(path for path in found if not path.name.startswith("."))

    def written_folders(self, count: int) -> list[Path]:
        """Wait for so many: a job is completed a moment before its files are."""
        self.until(lambda: len(self.result_folders()) == count, f"{count} results are written")
        return self.result_folders()

    def times_logged(self, pattern: str) -> int:
        return len(re.findall(pattern, self.log))
