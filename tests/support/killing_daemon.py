"""The real daemon, which kills itself with SIGKILL the n-th time it reaches a named step of a submission.

    python -m tests.support.killing_daemon --home HOME --step 'during the POST' --after 3 \\
        --kills FILE --witness FILE

Composed like any daemon; only the objects behind the ports (store, intent journal, provider, reply files) are
wrapped in ones that do what the real ones do and then, perhaps, die. Nothing is patched. Just before it dies
it appends one line to the file of kills that says where.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from scheduler.core.intents import Intent, JournalRead
from scheduler.core.pricing import Estimate
from scheduler.core.task import Accepted, Device, Evidence, Outcome, RunRequest, TaskReport
from scheduler.daemon import Daemon, bring_up_to_date, prepare
from scheduler.home import Home
from scheduler.locks import file_lock
from scheduler.ports import IntentLog, Provider, ReplyFiles, ReplySlot, SendGate
from scheduler.ports_store import Store, Tx

T = TypeVar("T")
NEVER = "never"
BEFORE_INTENT = "before the intent"
IN_INTENT = "within the intent's transaction"
AFTER_INTENT = "after the intent, before the journal"
AFTER_JOURNAL = "after the journal, before the POST"
DURING_POST = "during the POST"
AFTER_REPLY = "after the reply, before its file"
AFTER_FILE = "after the reply file, before the commit"
IN_COMMIT = "within the outcome's transaction"
AFTER_COMMIT = "after the commit"
#: Between what is written and what is sent.
BETWEEN = (BEFORE_INTENT, AFTER_INTENT, AFTER_JOURNAL, DURING_POST, AFTER_REPLY, AFTER_FILE, AFTER_COMMIT)
#: And within a transaction, with all of its statements done.
WITHIN = (IN_INTENT, IN_COMMIT)
STEPS = BETWEEN + WITHIN


@dataclass
class Reaper:
    """Knows at which step, and the how manieth time there, this process is to die."""

    step: str
    after: int
    kills: Path
    #: How long an answer of the pretended Coda takes: within this a POST is on its way for certain.
    during_s: float
    chance: random.Random
    #: What came of every call whose end this process saw, kept apart from all of the daemon's own memories.
    witness: Path
    _arrivals: int = 0

    def reach(self, step: str, attempt_id: str) -> None:
        if self.is_due(step):
            self.die(step, attempt_id)

    def is_due(self, step: str) -> bool:
        """Count one arrival at a step; True when it is the last one this process makes."""
        if step != self.step:
            return False
        self._arrivals += 1
        return self._arrivals == self.after

    def spare(self) -> None:
        """It was to die in a step that ended too soon: it dies the next times it gets there."""
        self._arrivals = 0

    def saw(self, attempt_id: str, outcome: Outcome) -> None:
        _append(self.witness, {"attempt": attempt_id, "outcome": type(outcome).__name__})

    def die(self, step: str, attempt_id: str) -> None:
        _append(self.kills, {"step": step, "attempt": attempt_id, "pid": os.getpid()})
        os.kill(os.getpid(), signal.SIGKILL)


def _append(path: Path, line: Mapping[str, object]) -> None:
    with path.open("ab") as file:
        file.write(json.dumps(line).encode() + b"\n")


@dataclass(frozen=True)
class MortalTx:
    """A transaction within which the process may die, after the last statement and before the commit."""

    real: Tx
    reaper: Reaper

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def number_intent(self, attempt_id: str, at_us: int) -> Intent:
        found = self.real.number_intent(attempt_id, at_us)
        self.reaper.reach(IN_INTENT, attempt_id)
        return found

    def attempt_accepted(self, attempt_id: str, outcome: Accepted, next_poll_us: int) -> bool:
        found = self.real.attempt_accepted(attempt_id, outcome, next_poll_us)
        self.reaper.reach(IN_COMMIT, attempt_id)
        return found


@dataclass(frozen=True)
class MortalStore:
    real: Store
    reaper: Reaper

    async def write(self, work: Callable[[Tx], T]) -> T:
        return await self.real.write(lambda tx: work(MortalTx(tx, self.reaper)))

    async def read(self, work: Callable[[Tx], T]) -> T:
        return await self.real.read(work)

    async def read_behind(self, work: Callable[[Tx], T]) -> T:
        return await self.real.read_behind(work)

    async def close(self) -> None:
        await self.real.close()


@dataclass(frozen=True)
class MortalJournal:
    real: IntentLog
    reaper: Reaper

    def newest(self) -> JournalRead:
        return self.real.newest()

    def begin(self, epoch: int) -> None:
        self.real.begin(epoch)

    def append(self, intent: Intent) -> None:
        # Called with the intent committed and as the first thing after it.
        self.reaper.reach(AFTER_INTENT, intent.attempt_id)
        self.real.append(intent)


@dataclass
class MortalProvider:
    real: Provider
    reaper: Reaper
    paid: bool

    async def submit(self, request: RunRequest, send_gate: SendGate) -> Outcome:
        doom: list[asyncio.TimerHandle] = []

        async def gate() -> str | None:
            refusal = await send_gate()
            if refusal is None:
                self.reaper.reach(AFTER_JOURNAL, request.attempt_id)
            if refusal is None and self.reaper.is_due(DURING_POST):
                wait_s = self.reaper.chance.uniform(0.0, self.reaper.during_s)
                loop = asyncio.get_running_loop()
                doom.append(loop.call_later(wait_s, self.reaper.die, DURING_POST, request.attempt_id))
            return refusal

        outcome = await self.real.submit(request, gate)
        for timer in doom:
            # The answer came first: it counts as dead during the POST only if it died during the POST.
            timer.cancel()
        if doom:
            self.reaper.spare()
        self.reaper.saw(request.attempt_id, outcome)
        self.reaper.reach(AFTER_REPLY, request.attempt_id)
        return outcome

    async def devices(self) -> Sequence[Device]:
        return await self.real.devices()

    async def estimate(self, request: RunRequest) -> Estimate:
        return await self.real.estimate(request)

    async def poll(self, provider_job_id: str, request: RunRequest) -> TaskReport:
        return await self.real.poll(provider_job_id, request)

    async def find(self, attempt_id: str) -> Evidence:
        return await self.real.find(attempt_id)

    def tell_finished(self, listener: Callable[[str], None]) -> None:
        self.real.tell_finished(listener)

    async def forget(self, provider_job_id: str) -> None:
        await self.real.forget(provider_job_id)

    async def close(self) -> None:
        await self.real.close()


@dataclass
class MortalSlot:
    real: ReplySlot
    reaper: Reaper
    _kept: str = ""

    def keep(self, attempt_id: str, outcome: Outcome) -> None:
        self.real.keep(attempt_id, outcome)
        self._kept = attempt_id
        self.reaper.reach(AFTER_FILE, attempt_id)

    def release(self) -> None:
        # Released with a reply in it: what it says is committed. Without one: nothing was sent.
        if self._kept:
            self.reaper.reach(AFTER_COMMIT, self._kept)
        self.real.release()


@dataclass(frozen=True)
class MortalReplies:
    real: ReplyFiles
    reaper: Reaper

    def reserve(self) -> ReplySlot:
        slot = self.real.reserve()
        # The stage's next step is the transaction of the intent.
        self.reaper.reach(BEFORE_INTENT, "")
        return MortalSlot(slot, self.reaper)

    def adopt(self) -> None:
        self.real.adopt()

    def kept(self) -> Mapping[str, Outcome]:
        return self.real.kept()


class MortalDaemon(Daemon):
    """The daemon's own composition, with each port's object behind one that may die."""

    reaper: Reaper

    async def _compose(self, stack: contextlib.AsyncExitStack) -> None:
        await super()._compose(stack)
        kit, submit = self._kit, self._submit
        kit.store = MortalStore(kit.store, self.reaper)
        kit.providers = {
            name: MortalProvider(provider, self.reaper, provider.paid) if provider.paid else provider
            for name, provider in kit.providers.items()
        }
        submit.replies = MortalReplies(submit.replies, self.reaper)
        submit.journal = MortalJournal(submit.journal, self.reaper)


def main() -> int:
    parser = argparse.ArgumentParser(description="A daemon that dies at a named step of a submission.")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--kills", type=Path, required=True)
    parser.add_argument("--witness", type=Path, required=True)
    parser.add_argument("--step", choices=[*STEPS, NEVER], default=NEVER)
    parser.add_argument("--after", type=int, default=1, help="die the how manieth time it gets there")
    parser.add_argument("--during", type=float, default=0.05, help="seconds for which a POST is on its way")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    home = Home(asked.home, config_candidates=(asked.home / "nightshot.toml",))
    place = prepare(home, None)
    with file_lock(home.lock, f"the home {home.root}"):
        bring_up_to_date(place)

        async def run() -> int:
            daemon = MortalDaemon(place, until_idle=False)
            daemon.reaper = Reaper(
                asked.step, asked.after, asked.kills, asked.during, random.Random(asked.seed), asked.witness
            )
            return await daemon.run()

        return asyncio.run(run())


if __name__ == "__main__":
    sys.exit(main())
