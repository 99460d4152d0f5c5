"""SIGKILL at any moment, again and again: at most one bill an attempt, and no doubt that need not be.

After each kill, and before the next start, it is written down which attempts have a committed intent, which
of those a line in the journal and which a reply on disk: after the start those with a line and without a
reply are in doubt, and those without a line were never sent.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from scheduler.core.task import Accepted, Unknown
from scheduler.errors import NightshotError
from scheduler.journal import IntentJournal
from scheduler.replies import ReplySlots
from scheduler.store.open import open_store
from tests.support.coda_server import bills_in
from tests.support.daemon import PATIENCE_S, Daemon
from tests.support.databases import Databases, Kind, run_alone
from tests.support.stores import query

SERVER = Path(__file__).parent / "support" / "coda_server.py"


@contextmanager
def coda_process(bills: Path, **options: object) -> Iterator[str]:
    """A Coda in a process of its own: killing the daemon does not touch it. Yields its base URL."""
    more = [part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    command = [sys.executable, str(SERVER), "--bills", str(bills), *more]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().split()[-1]
        finally:
            process.kill()


@dataclass
class Tally:
    """In which step the kills hit: how many attempts were in it at that moment, over all kills."""

    kills: int = 0
    steps: Counter[str] = field(default_factory=Counter)
    doubts: int = 0


@dataclass
class Trial:
    daemon: Daemon
    url: str
    tally: Tally = field(default_factory=Tally)
    #: Killed between the commit of the intent and its line in the journal: never billed.
    never_sent: set[str] = field(default_factory=set)

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        async def ask() -> list[tuple[Any, ...]]:
            store = open_store(self.url)
            try:
                return await store.read(query(sql))
            finally:
                await store.close()

        found: list[tuple[Any, ...]] = run_alone(ask())
        return found

    def in_state(self, state: str) -> set[str]:
        return {row[0] for row in self.rows(f"SELECT id FROM attempts WHERE state = '{state}'")}

    def nothing_waits(self) -> bool:
        return not set(self.daemon.states()) & {"waiting", "admitted"}

    def start(self) -> None:
        """A database server takes a moment to notice that the last daemon is dead."""
        deadline_s = time.monotonic() + PATIENCE_S
        while True:
            self.daemon.launch()
            while self.daemon.process.poll() is None:
                with contextlib.suppress(NightshotError):
                    self.daemon.status()
                    return
                time.sleep(0.02)
            assert self.daemon.process.returncode == 75, self.daemon.log[-4000:]
            assert time.monotonic() < deadline_s, self.daemon.log[-4000:]

    def kill_and_start(self) -> None:
        """Kill it, write down what is on disk, start it, and compare."""
        self.daemon.kill()
        self.tally.kills += 1
        submitting, doubted = self.in_state("submitting"), self.in_state("in_doubt")
        kept = {a: o for a, o in ReplySlots(self.daemon.home.replies).kept().items() if a in submitting}
        answered = {a for a, outcome in kept.items() if not isinstance(outcome, Unknown)}
        journal = IntentJournal(self.daemon.home.journal).newest()
        unsent = submitting - {intent.attempt_id for intent in journal.intents}
        assert not unsent & set(kept), "a reply to what never left"
        self.never_sent |= unsent
        self.tally.steps["intent, not in the journal"] += len(unsent)
        self.tally.steps["prepared, no intent"] += len(self.in_state("prepared"))
        self.tally.steps["intent, no reply on disk"] += len(submitting - unsent - set(kept))
        self.tally.steps["reply on disk, not in the database"] += len(kept)
        self.tally.steps["accepted"] += len(self.in_state("submitted"))
        self.start()
        assert self.in_state("in_doubt") >= doubted | (submitting - unsent - answered)
        assert self.in_state("not_sent") >= unsent
        # Those that came since are doubts of this life, not of the kill; none of them was answered before.
        assert not self.in_state("in_doubt") & answered
        for attempt in (a for a, o in kept.items() if isinstance(o, Accepted)):
            assert attempt not in self.in_state("submitting")

    def until_quiet(self, patience_s: float = 300.0) -> None:
        self.daemon.until(
            lambda: not set(self.daemon.states()) & {"waiting", "admitted", "running"},
            "every job has ended or is in doubt",
            patience_s,
        )


def many_jobs(count: int) -> str:
    lines = [json.dumps({"nightshot": 1, "count": count})]
    for number in range(count):
        code = f"OPENQASM 3.0;\\n// {number}\\nqubit q;\\nbit c;\\nc = measure q;\\n"
        lines.append(json.dumps({"name": f"j{number}", "code": code, "backend": "iqm", "shots": 100}))
    return "\n".join(lines) + "\n"


def config(base_url: str, database: str, cap: int) -> str:
    url = f'[store]\nurl = "{database}"\n' if database.startswith("postgresql") else ""
    return f"""\
{url}[spool]
scan_interval_s = 0.3
[providers.coda]
kind = "coda"
base_url = "{base_url}"
reply_timeout_s = 3.0
mark_code = true
[backends."coda:iqm"]
slots = {cap}
[poll]
min_interval_s = 0.1
max_interval_s = 0.5
[breaker]
doubts = 100000
doubt_exposure = "1000000.00 USD"
"""


def kill_again_and_again(
    tmp_path: Path, databases: Databases, kind: Kind, *, jobs: int, kills: int, seed: int, fault_rate: float
) -> Tally:
    rng = random.Random(seed)
    bills = tmp_path / "bills.jsonl"
    home = tmp_path / "home"
    with coda_process(bills, seed=seed, delay=0.15, hang=2, fault_rate=fault_rate) as base_url:
        url = (
            databases.make(kind, tmp_path) if kind == "postgresql" else f"sqlite:///{home}/state/nightshot.db"
        )
        environ = {"CODA_API_TOKEN": "coda_of_the_kills"}
        daemon = Daemon(home, config=config(base_url, url, 24), environ=environ)
        trial = Trial(daemon, url)
        if kind == "sqlite":
            url = trial.url = f"sqlite:///{daemon.home.database}"
        try:
            trial.start()
            daemon.call("arm", night="100000.00", reason="kills")
            daemon.drop("many.jsonl", many_jobs(jobs))
            daemon.until(lambda: len(daemon.jobs()) == jobs, "the jobs are received")
            while trial.tally.kills < kills:
                if rng.random() < 0.8:
                    daemon.until(lambda: trial.in_state("submitting") or trial.nothing_waits(), "it sends")
                time.sleep(rng.uniform(0.0, 0.3))
                trial.kill_and_start()
                daemon.call("backends_resume", backend="coda:iqm", reason="the faults are pretended")
            trial.until_quiet()
            daemon.stop()
        finally:
            daemon.kill()
        trial.tally.doubts = len(trial.in_state("in_doubt"))
        require_one_bill_each(trial, bills, jobs)
    return trial.tally


def require_one_bill_each(trial: Trial, bills: Path, jobs: int) -> None:
    billed = bills_in(bills)
    assert all(bill.marker for bill in billed)
    per_attempt = Counter(bill.marker for bill in billed)
    assert max(per_attempt.values()) == 1, per_attempt.most_common(3)
    assert not trial.never_sent & set(per_attempt), "billed without a line in the journal"
    job_of = dict(trial.rows("SELECT id, job_id FROM attempts"))
    per_job = Counter(job_of[marker] for marker in per_attempt)
    assert max(per_job.values()) == 1, per_job.most_common(3)
    states = dict(trial.rows("SELECT state, COUNT(*) FROM jobs GROUP BY state"))
    assert sum(states.values()) == jobs
    # Every bill is the bill of a job that ran, or of one that is in doubt.
    known = {row[0] for row in trial.rows("SELECT id FROM attempts WHERE state IN ('settled', 'in_doubt')")}
    assert set(per_attempt) <= known
    completed = trial.rows("SELECT COUNT(*) FROM attempts WHERE state = 'settled'")[0][0]
    assert completed <= len(billed)
    books = trial.rows("SELECT SUM(posted), SUM(held) FROM cap_windows WHERE cap = 'night'")[0]
    assert books[0] == 1_300_000 * completed
    assert books[1] == 1_300_000 * len(trial.in_state("in_doubt"))


@pytest.mark.slow  # tests/kills kills at each step in every run; this one at any moment
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_daemon_killed_again_and_again_pays_once(tmp_path: Path, databases: Databases, kind: Kind) -> None:
    tally = kill_again_and_again(tmp_path, databases, kind, jobs=120, kills=8, seed=1, fault_rate=0.05)
    print(tally)
    assert tally.steps["intent, no reply on disk"] > 0, "no kill hit a call: the trial proves nothing"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
@pytest.mark.parametrize("seed", range(int(os.environ.get("KILL_SEEDS", "3"))))
def test_many_kills(tmp_path: Path, databases: Databases, kind: Kind, seed: int) -> None:
    tally = kill_again_and_again(tmp_path, databases, kind, jobs=600, kills=40, seed=seed, fault_rate=0.1)
    print(tally)
    assert tally.steps["intent, no reply on disk"] >= 10
