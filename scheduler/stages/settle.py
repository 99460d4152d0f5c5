"""Settle: an ended task's hold is posted with what it cost and its job ends; each exactly once."""

from __future__ import annotations

from dataclasses import dataclass

from scheduler.core.breaker import Trouble
from scheduler.core.settlement import settle
from scheduler.ports import Kit
from scheduler.ports_store import SettleTx

GROUP = 200


@dataclass(frozen=True, slots=True)
class Settling:
    kit: Kit

    async def step(self) -> int:
        settled = await self.kit.store.write(self._settle)
        if settled:
            self.kit.wake("publish")
            self.kit.wake("admit")
        if settled == GROUP:
            self.kit.wake("settle")
        return settled

    def _settle(self, tx: SettleTx) -> int:
        tasks = tx.finished_tasks(GROUP)
        settled = [(task, settle(task.hold_microusd, task.cost)) for task in tasks]
        if settled:
            now_us = self.kit.clock.now_us()
            tx.settle_attempts(settled, now_us)
            for task, settlement in settled:
                if settlement.overrun_microusd:
                    tx.record_breaker(task.backend, Trouble.OVERRUN, now_us, self.kit.rules.breaker)
        return len(settled)
