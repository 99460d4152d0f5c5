"""One simulated daemon: its stages and ports, made anew at every start and forgotten when it is killed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scheduler.api.desk import Desk
from scheduler.core.roles import Roles
from scheduler.intake.document import Defaults
from scheduler.journal import IntentJournal
from scheduler.ports import Kit
from scheduler.replies import ReplySlots
from scheduler.results import Folders
from scheduler.stages.admit import Admitting
from scheduler.stages.audit import Auditing
from scheduler.stages.bookkeeping import Bookkeeping
from scheduler.stages.clockwatch import Clockwatching
from scheduler.stages.estimate import Estimating
from scheduler.stages.poll import Polling
from scheduler.stages.publish import Publishing
from scheduler.stages.reconcile import Reconciling
from scheduler.stages.settle import Settling
from scheduler.stages.submit import Submitting
from tests.simulation.clock import TrueClock
from tests.simulation.ports import Killed, Life, MortalJournal, MortalReplies, MortalStore
from tests.support.pretend import Client

if TYPE_CHECKING:
    from tests.simulation.night import Night


@dataclass
class Stage:
    name: str
    step: Callable[[], Awaitable[int]]
    woken: bool = True
    busy: bool = False
    failures: int = 0


class Process:
    """One daemon's objects, made anew at every start; all of them are forgotten when it is killed."""

    def __init__(self, night: Night, kill_rate: float) -> None:
        plan = night.plan
        self._night = night
        weather_rate = plan.weather_rate if night.busy_hours else 0.0
        self.life = Life(night.rng, TrueClock(night.clock), kill_rate, weather_rate, night.say)
        self.store = MortalStore(self.life, night.ground.open_store(), night.committed)
        self.tasks: set[asyncio.Task[Any]] = set()
        clients = {name: Client(server, self.life.point) for name, server in night.servers.items()}
        kit = Kit(self.store, night.clock, clients, night.rules, self.wake, night.new_id, self._log)
        replies = MortalReplies(self.life, ReplySlots(night.folder / "replies"))
        self.journal = MortalJournal(self.life, IntentJournal(night.journal), night.journal)
        self.submit = Submitting(kit, replies, self.journal)
        self.poll = Polling(kit)
        self.reconcile = Reconciling(kit, replies, self.journal)
        self.audit = Auditing(kit)
        self._clockwatch = Clockwatching(kit)
        folders = Folders(night.folder / "results", night.folder / "rejected")
        steps = {
            "estimate": Estimating(kit).step,
            "admit": Admitting(kit).step,
            "submit": self.submit.step,
            "poll": self.poll.step,
            "settle": Settling(kit).step,
            "publish": Publishing(kit, folders).step,
            "reconcile": self.reconcile.step,
            "audit": self.audit.step,
            "clockwatch": self._watch_the_clock,
            "bookkeeping": Bookkeeping(kit).step,
        }
        self.stages = {name: Stage(name, step) for name, step in steps.items()}
        self.desk = _desk(night, kit)
        for client in clients.values():
            client.tell_finished(self.poll.nudge)

    async def _watch_the_clock(self) -> int:
        changed = await self._clockwatch.step()
        self._night.clock_was_watched()
        return changed

    async def recover(self) -> list[str]:
        """What the daemon does before any timer runs."""
        await self.audit.at_start()
        return await self.reconcile.at_start()

    async def close(self) -> None:
        self.journal.close()
        await self.store.close()

    def wake(self, name: str) -> None:
        if name in self.stages:
            self.stages[name].woken = True

    def wake_some(self) -> None:
        """As ticks do, which are not all of one length."""
        for stage in self.stages.values():
            stage.woken = stage.woken or self._night.rng.random() < 0.5

    def _log(self, event: str, **facts: Any) -> None:
        if self.life.died_at is None:
            self._night.say(f"{event} {facts}")

    def start_woken(self) -> int:
        """Start a step of every stage that was woken and has none under way."""
        ready = [s for s in self.stages.values() if s.woken and not s.busy]
        self._night.rng.shuffle(ready)
        for stage in ready:
            stage.woken, stage.busy = False, True
            self.do(self._step(stage))
        return len(ready)

    def do(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _step(self, stage: Stage) -> None:
        try:
            await stage.step()
            stage.failures = 0
        except Killed:
            pass
        except Exception as error:
            stage.failures += 1
            self._log(f"stage {stage.name} failed", error=repr(error))
            stage.woken = True
            await self._night.clock.sleep(min(30.0, 0.25 * 2 ** min(stage.failures, 7)))
        finally:
            stage.busy = False


def _desk(night: Night, kit: Kit) -> Desk:
    return Desk(
        kit=kit,
        home=night.folder,
        timezone="Europe/Berlin",
        results=night.folder / "results",
        defaults=Defaults("blind:qpu", 100, 1000, 1 << 20),
        resolve=lambda spec: spec,
        known_backends=("blind:qpu", "free:qpu", "open:qpu"),
        troubles=dict,
        roles=Roles(lambda _role, _user: True, approve_own=True),
    )
