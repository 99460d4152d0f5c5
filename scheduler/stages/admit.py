"""Admit: the heads of the queues whose gates are all open become prepared attempts, in one transaction.

What is in flight and what is promised is counted from rows inside that transaction, never from counters
beside them, so two passes can never hand out the same slot.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scheduler.core.admission import BackendLoad, Candidate, Decision, decide
from scheduler.core.breaker import Move, Phase
from scheduler.core.windows import open_windows
from scheduler.ports import Kit
from scheduler.ports_store import AdmissionTx
from scheduler.stages.purse import purse_for

#: Heads looked at beyond the free slots: so many unaffordable jobs may stand before an affordable one.
LOOK_PAST = 100


@dataclass(frozen=True, slots=True)
class Admitting:
    kit: Kit

    async def step(self) -> int:
        # Before it is known whether there is anything: what submit asks comes behind this in the store, and
        # may share its commit. Woken afterwards it would ask in a transaction of its own.
        self.kit.wake("submit")
        admitted, stale = await self.kit.store.write(self._admit)
        if stale:
            self.kit.wake("estimate")
        return admitted

    def _admit(self, tx: AdmissionTx) -> tuple[int, int]:
        """Returns how many were admitted, and how many queues stand before a quote that ran out."""
        now_us = self.kit.clock.now_us()
        loads = tx.fill_loads([load for name in tx.waiting_backends() if (load := self.load_of(name))])
        prepared = [job for job in tx.prepared_candidates() if self._is_paid(job.backend)]
        windows = open_windows(self.kit.rules.hours, now_us)
        # As many as there are slots first: mostly they may all start, and the rest need not be looked at.
        for look_past in (0, LOOK_PAST):
            heads = {
                load.name: tx.queue_heads(load.name, now_us, load.room + look_past, windows)
                for load in loads
                if load.room > 0
            }
            if not any(heads.values()):
                return 0, 0
            decision = self._decide(tx, loads, heads, prepared, now_us)
            if not decision.closed:
                break
        for load in loads:
            if load.breaker.phase is not Phase.CLOSED and any(
                j.backend == load.name for j in decision.admitted
            ):
                tx.record_breaker(load.name, Move.PROBE, now_us, self.kit.rules.breaker)
        unpriced = [gates for gates in decision.closed.values() if any(g.code == "estimate" for g in gates)]
        ready = [(job, self.kit.new_id()) for job in decision.admitted]
        return len(tx.prepare_attempts(ready, now_us)), len(unpriced)

    def _decide(
        self,
        tx: AdmissionTx,
        loads: Sequence[BackendLoad],
        heads: Mapping[str, Sequence[Candidate]],
        prepared: Sequence[Candidate],
        now_us: int,
    ) -> Decision:
        candidates = [job for jobs in heads.values() for job in jobs]
        purse = purse_for(tx, [*candidates, *prepared], self.kit.rules, now_us)
        for job in prepared:
            # Admitted but not sent yet: no hold stands for it, and its money must not be promised twice.
            purse = purse.after(job, now_us)
        rules = self.kit.rules
        return decide(loads, heads, purse, rules.doubt_limits, now_us, rules.hours)

    def _is_paid(self, name: str) -> bool:
        rules = self.kit.rules.backend(name)
        return rules is None or rules.paid

    def load_of(self, name: str) -> BackendLoad | None:
        rules = self.kit.rules.backend(name)
        if rules is None or not rules.enabled:
            return None
        return BackendLoad(name, rules.paid, rules.slots)
