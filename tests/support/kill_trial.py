"""Kill the real daemon at every step of a submission, again and again, and then count bills.

Between two lives it is written down which attempts have a committed intent, which of those the journal knows,
and for which a reply lies on disk. From that alone follows what must become of each.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scheduler.clock import SystemClock
from scheduler.errors import NightshotError
from scheduler.journal import IntentJournal
from scheduler.replies import ReplySlots
from scheduler.store.open import open_store
from tests.support.coda_server import Bill, bills_in
from tests.support.daemon import PATIENCE_S, Daemon
from tests.support.databases import run_alone
from tests.support.killing_daemon import NEVER, STEPS
from tests.support.stores import query

SERVER = Path(__file__).parent / "coda_server.py"
PRICE_MICROUSD = 1_300_000
#: How long the pretended Coda thinks: the window in which a POST is on its way.
ANSWER_DELAY_S = 0.08
BUSY = 75
CRASHED = "the daemon stopped after the intent"
#: A job has come to rest: it has ended, or only a person can say more.
AT_REST = {"completed", "rejected", "in_doubt"}


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


def config(base_url: str, database: str) -> str:
    """Every limit that would stop after so many doubts is raised: here doubts are what is made."""
    url = f'[store]\nurl = "{database}"\n' if database.startswith("postgresql") else ""
    return f"""\
{url}[spool]
scan_interval_s = 0.3
[providers.coda]
kind = "coda"
base_url = "{base_url}"
reply_timeout_s = 1.0
mark_code = true
[backends."coda:iqm"]
slots = 6
[poll]
min_interval_s = 0.1
max_interval_s = 0.5
[breaker]
doubts = 100000
doubt_exposure = "1000000.00 USD"
failures = 100000
refusals = 100000
suspicious_results = 100000
"""


def many_jobs(first: int, count: int) -> str:
    lines = [json.dumps({"nightshot": 1, "count": count})]
    for number in range(first, first + count):
        code = f"OPENQASM 3.0;\n// {number}\nqubit q;\nbit c;\nc = measure q;\n"
        lines.append(json.dumps({"name": f"j{number}", "code": code, "backend": "iqm", "shots": 100}))
    return "\n".join(lines) + "\n"


class MortalProcess(Daemon):
    """A home whose daemon dies at the step that it is started with."""

    def __init__(self, root: Path, *, config: str) -> None:
        super().__init__(root, config=config, environ={"CODA_API_TOKEN": "coda_of_the_kills"})
        self.kills = root.parent / "kills.jsonl"
        self.witness = root.parent / "witness.jsonl"

    def command(self, *arguments: str) -> list[str]:
        if arguments[0] != "run":
            return super().command(*arguments)
        files = ["--home", self.home.root, "--kills", self.kills, "--witness", self.witness]
        module = [sys.executable, "-m", "tests.support.killing_daemon"]
        return [*module, *map(str, files), *arguments[1:]]


@dataclass
class Tally:
    """What the kills hit and what is left, over one trial."""

    kills: Counter[str] = field(default_factory=Counter)
    #: Attempts that were in another step than the one that was aimed at, when the process died.
    caught: Counter[str] = field(default_factory=Counter)
    jobs: int = 0
    bills: int = 0
    states: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.kills + other.kills,
            self.caught + other.caught,
            self.jobs + other.jobs,
            self.bills + other.bills,
            self.states + other.states,
            self.seconds + other.seconds,
        )

    def __str__(self) -> str:
        lines = [f"  {step:<42}{self.kills[step]:>4}" for step in STEPS if self.kills[step]]
        ended = ", ".join(f"{count} {state}" for state, count in sorted(self.states.items()))
        also = ", ".join(f"{count} {where}" for where, count in sorted(self.caught.items()))
        return "\n".join(
            [
                f"{sum(self.kills.values())} kills in {self.seconds:.0f} s:",
                *lines,
                f"attempts under way at the kills: {also}",
                f"{self.jobs} jobs: {ended}; {self.bills} bills; 0 lost, 0 paid twice",
            ]
        )


@dataclass
class Trial:
    """One home, one database, one Coda; `kill_at` is one life of the daemon."""

    daemon: MortalProcess
    url: str
    rng: random.Random
    tally: Tally = field(default_factory=Tally)
    #: Committed, journalled, and no reply on disk: what must be in doubt for ever.
    doubts: set[str] = field(default_factory=set)
    #: Committed, and the journal never heard of it: what must not have been sent.
    never_sent: set[str] = field(default_factory=set)

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = self._read(query(sql))
        return found

    def _read(self, work: Callable[[Any], Any]) -> Any:
        async def ask() -> Any:
            store = open_store(self.url)
            try:
                return await store.read(work)
            finally:
                await store.close()

        return run_alone(ask())

    def begin(self, jobs: int) -> None:
        """Arm it, and let it have its first jobs."""
        self.daemon.start()
        self.daemon.call("arm", night="100000.00", reason="kills")
        self.drop(jobs)
        self.daemon.until(lambda: len(self.daemon.jobs()) == jobs, "the jobs are received")
        self.daemon.kill()
        self._write_down()

    def drop(self, count: int) -> None:
        self.daemon.drop(f"from-{self.tally.jobs}.jsonl", many_jobs(self.tally.jobs, count))
        self.tally.jobs += count

    def kill_at(self, step: str) -> None:
        ((waiting,),) = self.rows("SELECT COUNT(*) FROM jobs WHERE state IN ('waiting', 'admitted')")
        if waiting < 30:
            self.drop(60)
        after, seed = self.rng.randint(1, 6), self.rng.randrange(1 << 30)
        told = f"--step|{step}|--after|{after}|--seed|{seed}|--during|{ANSWER_DELAY_S}".split("|")
        while True:
            self.daemon.launch(*told)
            code = self.daemon.process.wait(PATIENCE_S)
            # A database server takes a moment to notice that the last daemon is dead.
            assert code in (-9, BUSY), f"at {step!r} it ended with {code}:\n{self.daemon.log[-6000:]}"
            if code == -9:
                break
        *_, last = self.daemon.kills.read_text().splitlines()
        assert json.loads(last) | {"pid": self.daemon.pid, "step": step} == json.loads(last)
        self.tally.kills[step] += 1
        self._write_down()

    def _write_down(self) -> None:
        """What is on disk of each attempt that was under way."""
        submitting = dict(self.rows("SELECT id, intent_sequence FROM attempts WHERE state = 'submitting'"))
        found = IntentJournal(self.daemon.home.journal).newest()
        assert not found.damage, found.damage
        journalled = {intent.attempt_id for intent in found.intents}
        kept = ReplySlots(self.daemon.home.replies).kept()
        for attempt_id in submitting:
            if attempt_id in kept:
                self.tally.caught["with a reply on disk"] += 1
            elif attempt_id in journalled:
                self.doubts.add(attempt_id)
                self.tally.caught["journalled, without a reply"] += 1
            else:
                self.never_sent.add(attempt_id)
                self.tally.caught["not journalled"] += 1

    def end(self, patience_s: float) -> None:
        """Let it live until every job has come to rest, and stop it."""
        while True:
            self.daemon.launch("--step", NEVER)
            self.daemon.until(lambda: self.daemon.process.poll() is not None or self._answers(), "it starts")
            if self.daemon.process.poll() is None:
                break
            assert self.daemon.process.returncode == BUSY, self.daemon.log[-6000:]
        self.daemon.until(lambda: set(self._states()) <= AT_REST, "every job has come to rest", patience_s)
        self.daemon.until(self._all_published, "every result is written")
        assert self.daemon.stop() == 0
        self.tally.states = self._states()

    def _answers(self) -> bool:
        """False, and no failure, when it ends in this very moment: whoever waits looks at that too."""
        try:
            self.daemon.status()
        except NightshotError:
            return False
        return True

    def _states(self) -> Counter[str]:
        return Counter(dict(self.rows("SELECT state, COUNT(*) FROM jobs GROUP BY state")))

    def _all_published(self) -> bool:
        ended = "state IN ('completed', 'rejected', 'failed')"
        unwritten = f"SELECT COUNT(*) FROM jobs WHERE {ended} AND published_us IS NULL"
        return self.rows(unwritten) == [(0,)]

    # ------------------------------------------------------------------------------- what must be true

    def require_the_truth(self, bills: Path) -> None:
        billed = bills_in(bills)
        self.tally.bills = len(billed)
        self._require_nothing_lost()
        self._require_one_bill_each(billed)
        self._require_exactly_these_doubts(billed)
        self._require_books(billed)

    def _require_nothing_lost(self) -> None:
        assert sum(self._states().values()) == self.tally.jobs
        names = self.rows("SELECT COUNT(DISTINCT name) FROM jobs")
        assert names == [(self.tally.jobs,)]
        assert self.rows("SELECT COUNT(*) FROM results")[0][0] == self._states()["completed"]
        assert list(self.daemon.home.claimed.iterdir()) == []

    def _require_one_bill_each(self, billed: list[Bill]) -> None:
        assert all(bill.marker for bill in billed)
        per_attempt = Counter(bill.marker for bill in billed)
        assert max(per_attempt.values()) == 1, per_attempt.most_common(3)
        job_of = dict(self.rows("SELECT id, job_id FROM attempts"))
        per_job = Counter(job_of[marker] for marker in per_attempt)
        assert max(per_job.values()) == 1, per_job.most_common(3)
        settled = {row[0] for row in self.rows("SELECT id FROM attempts WHERE state = 'settled'")}
        assert settled <= set(per_attempt), "a result without a bill"
        assert set(per_attempt) <= settled | self._in_doubt(), "a bill that nobody knows of"

    def _require_exactly_these_doubts(self, billed: list[Bill]) -> None:
        witnessed = map(json.loads, self.daemon.witness.read_text().splitlines())
        unclear = {seen["attempt"] for seen in witnessed if seen["outcome"] == "Unknown"}
        assert self._in_doubt() == self.doubts | unclear
        reasons = dict(self.rows("SELECT id, reason FROM attempts WHERE state = 'in_doubt'"))
        assert {a for a, reason in reasons.items() if reason.startswith(CRASHED)} == self.doubts
        states = dict(self.rows("SELECT id, state FROM attempts"))
        assert {states[attempt_id] for attempt_id in self.never_sent} <= {"not_sent"}
        assert not self.never_sent & {bill.marker for bill in billed}

    def _in_doubt(self) -> set[str]:
        return {row[0] for row in self.rows("SELECT id FROM attempts WHERE state = 'in_doubt'")}

    def _require_books(self, billed: list[Bill]) -> None:
        ((held, posted),) = self.rows("SELECT SUM(held), SUM(posted) FROM cap_windows WHERE measure = 'cost'")
        completed = self._states()["completed"]
        assert (held, posted) == (PRICE_MICROUSD * len(self._in_doubt()), PRICE_MICROUSD * completed)
        assert PRICE_MICROUSD * len(billed) <= held + posted
        now_us = SystemClock().now_us()
        report = self._read(lambda tx: tx.audit(True, now_us))
        assert report.findings == (), report.findings
        assert (
            self.rows("SELECT backend, code FROM pauses WHERE code NOT IN ('rate', 'backend-offline')") == []
        )


def run_trial(
    folder: Path,
    database: str,
    *,
    steps: Sequence[str],
    rounds: int,
    jobs: int,
    seed: int,
    fault_rate: float,
    patience_s: float,
) -> Tally:
    """`rounds` kills at each of `steps`; `database` is a PostgreSQL URL, or empty for SQLite."""
    began_s = time.monotonic()
    rng = random.Random(seed)
    bills = folder / "bills.jsonl"
    options = {"seed": seed, "delay": ANSWER_DELAY_S, "hang": 2, "fault_rate": fault_rate}
    with coda_process(bills, **options) as base_url:
        daemon = MortalProcess(folder / "home", config=config(base_url, database))
        url = database or f"sqlite:///{daemon.home.database}"
        trial = Trial(daemon, url, rng)
        try:
            trial.begin(jobs)
            aims = list(steps) * rounds
            rng.shuffle(aims)
            for step in aims:
                trial.kill_at(step)
            trial.end(patience_s)
        finally:
            daemon.kill()
        trial.require_the_truth(bills)
    trial.tally.seconds = time.monotonic() - began_s
    return trial.tally
