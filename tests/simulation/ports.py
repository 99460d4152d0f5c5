"""The ports of one simulated process: real adapters behind them, a death at any step in front.

`Life` is one process: it dies once, at a point drawn by chance, and from then on nothing it still tries has
any effect. What was committed, kept in a reply file or sent to a provider before stays as it is.
"""

from __future__ import annotations

import asyncio
import errno
import os
import random
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from scheduler.core.intents import Intent, JournalRead
from scheduler.core.task import Outcome
from scheduler.errors import TryAgain
from scheduler.journal import IntentJournal
from scheduler.ports import Clock, ReplySlot
from scheduler.ports_store import Store, Tx
from scheduler.replies import ReplySlots

T = TypeVar("T")


#: Where a death matters most, and where a process spends least of its time.
_AROUND_THE_CALL = ("Submitting", "reply", "journal line", "the request has left", "the answer is here")


class Killed(BaseException):
    """The process died here. No stage may catch it, as none can catch SIGKILL."""


class _CutShort(Exception):
    """Ends a transaction's work just before its commit."""


class Inline(ThreadPoolExecutor):
    """Runs what is handed to a thread at once, so that one seed gives one order of events."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        done: Future[T] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except BaseException as error:  # handed on to the one who asked
            done.set_exception(error)
        return done


@dataclass
class Life:
    """One process of the daemon: `kill_rate` is the chance to die at each of its points."""

    rng: random.Random
    clock: Clock
    kill_rate: float
    #: The chance that the disk or the database says no, once or for minutes.
    weather_rate: float
    tell: Callable[[str], None]
    died_at: str | None = None
    #: What happened at ports so far; a driver sees by it that nothing moves any more.
    activity: int = 0
    storm_until_us: int = 0
    #: Outcomes whose reply file was complete, by attempt.
    kept: dict[str, Outcome] = field(default_factory=dict)

    def dies(self, point: str) -> bool:
        """Whether the process is killed at this point; the caller then raises Killed."""
        self.alive()
        around_the_call = any(word in point for word in _AROUND_THE_CALL)
        if self.rng.random() >= self.kill_rate * (8 if around_the_call else 1):
            return False
        self.died_at = point
        self.tell(f"KILLED {point}")
        return True

    def point(self, name: str) -> None:
        """Die here, or go on."""
        self.activity += 1
        if self.dies(name):
            raise Killed(name)

    def alive(self) -> None:
        if self.died_at is not None:
            raise Killed(self.died_at)

    def kill(self, why: str) -> None:
        if self.died_at is None:
            self.died_at = why
            self.tell(f"KILLED {why}")

    def bad_weather(self) -> bool:
        if self.clock.now_us() < self.storm_until_us:
            return True
        if self.rng.random() >= self.weather_rate:
            return False
        if self.rng.random() < 0.3:
            self.storm_until_us = self.clock.now_us() + int(self.rng.uniform(1, 200) * 1e6)
        return True

    async def breathe(self) -> None:
        """Let others go first, sometimes."""
        self.alive()
        for _ in range(self.rng.randrange(4)):
            self.activity += 1
            await asyncio.sleep(0)
        self.alive()


class MortalStore:
    """The `Store` port on a real store: one operation at a time, a death before or after each commit."""

    def __init__(self, life: Life, real: Store, committed: Callable[[], None]) -> None:
        self._life = life
        self._real = real
        self._committed = committed

    async def write(self, work: Callable[[Tx], T]) -> T:
        await self._life.breathe()
        away = self._life.bad_weather()
        if away and self._life.rng.random() < 0.7:
            raise TryAgain("pretended: the disk is full")
        name = name_of(work)
        if self._life.dies(f"before the commit of {name}"):
            await self._cut_short(work)
            raise Killed(name)
        result = await self._real.write(work)
        self._life.activity += 1
        self._committed()
        self._life.point(f"after the commit of {name}")
        if away:
            raise TryAgain("pretended: committed, but the answer was lost")
        return result

    async def _cut_short(self, work: Callable[[Tx], Any]) -> None:
        def doomed(tx: Tx) -> None:
            work(tx)
            raise _CutShort

        try:
            await self._real.write(doomed)
        except Exception:
            pass  # whatever it was, nothing of it is committed: that is the point

    async def read(self, work: Callable[[Tx], T]) -> T:
        await self._life.breathe()
        if self._life.bad_weather():
            raise TryAgain("pretended: the database is away")
        return await self._real.read(work)

    async def read_behind(self, work: Callable[[Tx], T]) -> T:
        # Nothing is committed by it: no death here differs from one before the next step.
        await self._life.breathe()
        if self._life.bad_weather():
            raise TryAgain("pretended: the database is away")
        return await self._real.read_behind(work)

    async def close(self) -> None:
        await self._real.close()


def name_of(work: Callable[..., Any]) -> str:
    name: str | None = getattr(work, "__qualname__", None)
    return "a partial" if name is None else name.partition(".<locals>")[0]


class MortalSlot:
    def __init__(self, life: Life, real: ReplySlot) -> None:
        self._life = life
        self._real = real

    def keep(self, attempt_id: str, outcome: Outcome) -> None:
        self._life.point("before the reply file")
        if self._life.bad_weather():
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self._real.keep(attempt_id, outcome)
        self._life.kept[attempt_id] = outcome
        self._life.point("after the reply file")

    def release(self) -> None:
        self._life.alive()
        self._real.release()


class MortalReplies:
    """The `ReplyFiles` port on real reply files."""

    def __init__(self, life: Life, real: ReplySlots) -> None:
        self._life = life
        self._real = real

    def reserve(self) -> ReplySlot:
        self._life.point("before a reply slot is reserved")
        if self._life.bad_weather():
            raise TryAgain("pretended: no room for a reply")
        return MortalSlot(self._life, self._real.reserve())

    def adopt(self) -> None:
        self._life.point("before the reply slots are adopted")
        self._real.adopt()

    def kept(self) -> Mapping[str, Outcome]:
        self._life.alive()
        return self._real.kept()


class MortalJournal:
    """The `IntentLog` port on a real intent journal; a death may leave half a line."""

    def __init__(self, life: Life, real: IntentJournal, folder: Path) -> None:
        self._life = life
        self._real = real
        self._folder = folder

    def newest(self) -> JournalRead:
        self._life.alive()
        return self._real.newest()

    def begin(self, epoch: int) -> None:
        self._life.point("before the journal begins")
        self._real.begin(epoch)

    def append(self, intent: Intent) -> None:
        if self._life.dies("before the journal line"):
            if self._life.rng.random() < 0.5:
                self._tear(intent)
            raise Killed
        if self._life.bad_weather():
            raise TryAgain("pretended: the journal's disk is full")
        self._real.append(intent)
        self._life.point("after the journal line")

    def _tear(self, intent: Intent) -> None:
        path = self._folder / f"intents-{intent.epoch:06d}.log"
        with path.open("ab") as file:
            file.write(b"0badc0de [1, 2, ")

    def close(self) -> None:
        self._real.close()
