"""Bookkeeping: what time alone changes about money. Grants expire, and alarms are told once each."""

from __future__ import annotations

from dataclasses import dataclass, field

from scheduler.core.alarms import Alarm
from scheduler.ports import Kit
from scheduler.ports_store import Tx
from scheduler.stages.purse import caps_in_force


@dataclass(slots=True)
class Bookkeeping:
    kit: Kit
    #: The configuration only changes with the process, so open windows take its limits once.
    _aligned: bool = field(default=False)

    async def step(self) -> int:
        expired, alarms, aligned = await self.kit.store.write(self._keep_books)
        if expired:
            self.kit.log("grants expired", count=expired)
        for name in aligned:
            self.kit.log("cap follows the configuration", cap=name)
        for alarm in alarms:
            self.kit.log("alarm", cap=alarm.cap, percent=alarm.percent, says=alarm.sentence)
        if aligned:
            self.kit.wake("admit")
        self._aligned = True
        return expired + len(alarms)

    def _keep_books(self, tx: Tx) -> tuple[int, list[Alarm], list[str]]:
        now_us, rules = self.kit.clock.now_us(), self.kit.rules
        aligned = [] if self._aligned else tx.align_caps(rules.spending.caps, now_us)
        caps = caps_in_force(tx.arming(), rules)
        return tx.expire_grants(now_us), tx.new_alarms(caps, rules.spending.alarms, now_us), aligned
