"""Clockwatch: paid submission waits while the clocks disagree; free work and polling go on.

Agreement opens the gate again by itself; who knows better says so: `backends resume NAME --gate clock`.
"""

from __future__ import annotations

from dataclasses import dataclass

from scheduler.core.admission import Pause
from scheduler.core.clocks import ClockMark, judge_clocks
from scheduler.ports import Kit
from scheduler.ports_store import ClockTx

CLOCK_PAUSE = "clock"


@dataclass(frozen=True, slots=True)
class Clockwatching:
    kit: Kit

    async def step(self) -> int:
        changed = await self.kit.store.write(lambda tx: self._watch(tx, self.kit.clock.both()))
        if changed:
            self.kit.wake("admit")
        return changed

    def _watch(self, tx: ClockTx, now: ClockMark) -> int:
        doubt = judge_clocks(tx.clock_mark(), now, tx.database_us())
        paid = [name for name, provider in self.kit.providers.items() if provider.paid]
        if doubt is None:
            tx.set_clock_mark(now)
            return sum(tx.clear_pause(name, CLOCK_PAUSE) for name in paid)
        for name in paid:
            tx.pause_backend(name, Pause(CLOCK_PAUSE, doubt), now.wall_us)
        return 0
