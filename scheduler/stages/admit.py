"""Admit: the heads of the queues whose gates are all open become prepared attempts, in one transaction.

What is in flight and what is promised is counted from rows inside that transaction, never from counters
beside them, so two passes can never hand out the same slot.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from scheduler.core.admission import BackendLoad, decide
from scheduler.core.timing import night_of
from scheduler.ports import Kit
from scheduler.ports_store import AdmissionTx

#: Heads looked at beyond the free slots: so many unaffordable jobs may stand before an affordable one.
LOOK_PAST = 100


@dataclass(frozen=True, slots=True)
class Admitting:
    kit: Kit

    async def step(self) -> int:
        admitted, stale = await self.kit.store.write(self._admit)
        if admitted:
            self.kit.wake("submit")
        if stale:
            self.kit.wake("estimate")
        return admitted

    def _admit(self, tx: AdmissionTx) -> tuple[int, int]:
        """Returns how many were admitted, and how many need a new price first."""
        now_us = self.kit.clock.now_us()
        loads = tx.fill_loads([load for name in tx.waiting_backends() if (load := self.load_of(name))])
        heads = {
            load.name: tx.queue_heads(load.name, now_us, load.slots - load.in_flight + LOOK_PAST)
            for load in loads
            if load.in_flight < load.slots
        }
        if not any(heads.values()):
            return 0, 0
        night = tx.night_books(night_of(now_us, self.kit.rules.zone).key)
        # Admitted but not sent yet: no hold stands for it, and it must not be promised twice.
        promised = sum(cost for name, cost in tx.prepared_estimates().items() if self._is_paid(name))
        night = replace(night, held_microusd=night.held_microusd + promised)
        decision = decide(loads, heads, night, self.kit.rules.doubt_limits, now_us)
        # What was quoted yesterday is not what it costs today: a paid job is sent at a price that holds.
        paid = [job.job_id for job in decision.admitted if self._is_paid(job.backend)]
        stale = set(tx.drop_stale_quotes(paid, now_us))
        ready = [(job, self.kit.new_id()) for job in decision.admitted if job.job_id not in stale]
        return len(tx.prepare_attempts(ready, now_us)), len(stale)

    def _is_paid(self, name: str) -> bool:
        rules = self.kit.rules.backend(name)
        return rules is None or rules.paid

    def load_of(self, name: str) -> BackendLoad | None:
        rules = self.kit.rules.backend(name)
        if rules is None or not rules.enabled:
            return None
        return BackendLoad(name, rules.paid, rules.slots)
