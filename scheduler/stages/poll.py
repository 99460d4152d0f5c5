"""Poll: read the status of open tasks; reading may be repeated by anyone and never runs anything again.

A task whose status cannot be read for days stays open, is asked ever more rarely, and shows up for people.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import assert_never

from scheduler.core.records import OpenTask
from scheduler.core.task import Completed, Failed, NotKnown, StillOpen, TaskReport
from scheduler.core.timing import next_poll_at_us, retry_at_us
from scheduler.errors import TryAgain
from scheduler.ports import Kit, PollFailed
from scheduler.ports_store import PollTx

AT_ONCE = 64
#: A hint about a task that is not open (yet, or any more) is kept so long.
_HINT_KEPT_US = 60_000_000
#: How long to wait before a report that could not be written is tried again.
_WRITE_AGAIN_S = 1.0


@dataclass(slots=True)
class Polling:
    kit: Kit
    _in_hand: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    _nudged: dict[str, int] = field(default_factory=dict)

    def nudge(self, attempt_id: str) -> None:
        """A provider says that this task ended: look now instead of when it is due."""
        self._nudged[attempt_id] = self.kit.clock.now_us()
        self.kit.wake("poll")

    @property
    def in_hand(self) -> int:
        """How many are on their way right now."""
        return len(self._in_hand)

    async def step(self) -> int:
        room = AT_ONCE - len(self._in_hand)
        if room <= 0:
            return 0
        in_hand, now_us = frozenset(self._in_hand), self.kit.clock.now_us()
        self._nudged = {a: at_us for a, at_us in self._nudged.items() if now_us - at_us < _HINT_KEPT_US}
        nudged = [attempt_id for attempt_id in self._nudged if attempt_id not in in_hand][:room]

        def gather(tx: PollTx) -> list[OpenTask]:
            early = [task for attempt_id in nudged if (task := tx.open_task(attempt_id))]
            known = in_hand | {task.attempt_id for task in early}
            return early + tx.due_tasks(now_us, room - len(early), known)

        tasks = await self.kit.store.read(gather)
        for task in tasks:
            self._nudged.pop(task.attempt_id, None)
            look = asyncio.create_task(self._look(task), name=f"poll {task.attempt_id}")
            self._in_hand[task.attempt_id] = look
            look.add_done_callback(lambda _t, attempt_id=task.attempt_id: self._let_go(attempt_id))  # type: ignore[misc]
        return len(tasks)

    def _let_go(self, attempt_id: str) -> None:
        look = self._in_hand.pop(attempt_id)
        if not look.cancelled() and (error := look.exception()) is not None:
            self.kit.log("poll failed", attempt=attempt_id, error=repr(error))
        self.kit.wake("poll")

    async def due_in_s(self) -> float | None:
        """Seconds until the next look is due; None when nothing is: those in hand wake us when they end."""
        if len(self._in_hand) >= AT_ONCE:
            return None
        in_hand = frozenset(self._in_hand)
        next_us = await self.kit.store.read(lambda tx: tx.next_due_us(in_hand))
        return None if next_us is None else max(0.0, (next_us - self.kit.clock.now_us()) / 1e6)

    async def drain(self) -> None:
        for look in list(self._in_hand.values()):
            look.cancel()
        if self._in_hand:
            await asyncio.wait(list(self._in_hand.values()))

    async def settle_down(self) -> None:
        """Wait until every look that was started has ended."""
        while self._in_hand:
            await asyncio.wait(list(self._in_hand.values()))

    async def _look(self, task: OpenTask) -> None:
        provider = self.kit.provider_of(task.backend)
        report: TaskReport | PollFailed
        if provider is None:
            report = PollFailed(f"provider of {task.backend} is not configured any more")
        else:
            try:
                report = await provider.poll(task.provider_job_id, task.request)
            except PollFailed as failure:
                report = failure
            except Exception as bug:  # noqa: BLE001 - a provider's bug must slow us down like any failure
                report = PollFailed(f"the provider's code failed: {bug!r}")
        if await self._write_down(task, report):
            self.kit.log("task ended", attempt=task.attempt_id, job=task.job_id)
            self.kit.wake("settle")

    async def _write_down(self, task: OpenTask, report: TaskReport | PollFailed) -> bool:
        """Record a report however long the store is away; asking the provider again would not help it."""
        while True:
            try:
                return await self.kit.store.write(lambda tx: self._record(tx, task, report))
            except TryAgain as trouble:
                self.kit.log("report not written yet", attempt=task.attempt_id, reason=trouble.message)
                await self.kit.clock.sleep(_WRITE_AGAIN_S)

    def _record(self, tx: PollTx, task: OpenTask, report: TaskReport | PollFailed) -> bool:
        now_us = self.kit.clock.now_us()
        match report:
            case StillOpen():
                pace = self.kit.rules.poll_pace
                next_us = next_poll_at_us(task.attempt_id, task.sent_us, now_us, task.polls + 1, pace)
                tx.still_open(task.attempt_id, report.status_word, next_us)
                return False
            case Completed():
                return tx.finish_completed(task, report, now_us)
            case Failed():
                return tx.finish_failed(task.attempt_id, report.reason, report.raw, report.never_runs, now_us)
            case NotKnown():
                self._later(tx, task, f"the provider does not know it: {report.reason}", None, now_us)
                return False
            case PollFailed():
                self._later(tx, task, report.message, report.retry_after_s, now_us)
                return False
            case _:
                assert_never(report)

    def _later(
        self, tx: PollTx, task: OpenTask, reason: str, retry_after_s: float | None, now_us: int
    ) -> None:
        next_us = retry_at_us(task.attempt_id, now_us, task.poll_failures + 1, retry_after_s, last_s=3600.0)
        tx.poll_failed(task.attempt_id, reason, next_us)
