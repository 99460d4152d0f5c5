"""Audit: look for rows that contradict what must be true of the books, at the start, hourly, before a night.

Only paid submission waits for the first look after a start. When a sentence is broken nothing paid is sent
until a person has looked; polling and settling go on, because what runs is paid for already.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from scheduler.core.audit import AuditReport, AuditVerdict
from scheduler.core.timing import SECOND_US
from scheduler.ports import Kit

HOUR_US = 3600 * SECOND_US
#: A full audit before a night is done by the time the night opens.
BEFORE_NIGHT_US = 900 * SECOND_US
ACTOR = "nightshot"


@dataclass(slots=True)
class Auditing:
    kit: Kit
    _next_us: int = 0
    #: The opening of the latest night that was audited for.
    _night_us: int = field(default=0)

    async def at_start(self) -> None:
        """From here on paid submission waits until `step` has looked once."""
        now_us = self.kit.clock.now_us()
        await self.kit.store.write(lambda tx: tx.begin_audit(now_us))

    async def step(self) -> int:
        """Audit when it is due; returns how many sentences are broken."""
        now_us = self.kit.clock.now_us()
        opens_us = self._next_night_us(now_us)
        night_is_near = opens_us - BEFORE_NIGHT_US <= now_us and self._night_us != opens_us
        if now_us < self._next_us and not night_is_near:
            return 0
        report = await self._audit(full=night_is_near)
        if night_is_near:
            self._night_us = opens_us
        self._next_us = now_us + HOUR_US
        return len(report.findings)

    def _next_night_us(self, now_us: int) -> int:
        """When the hours of the next night open; without hours, when it begins."""
        hours = self.kit.rules.night_hours
        following = None if hours is None else hours.next(now_us)
        return self.kit.rules.night(now_us).closes_us if following is None else following.opens_us

    async def due_in_s(self) -> float | None:
        """Seconds until the next audit is due."""
        now_us = self.kit.clock.now_us()
        opens_us = self._next_night_us(now_us)
        near_us = opens_us - BEFORE_NIGHT_US
        due_us = self._next_us if self._night_us == opens_us else min(self._next_us, near_us)
        return max(0.0, (due_us - now_us) / SECOND_US)

    async def _audit(self, *, full: bool) -> AuditReport:
        now_us = self.kit.clock.now_us()
        # An expiry is booked when it is noticed, and an audit notices.
        await self.kit.store.write(lambda tx: tx.expire_grants(now_us))
        report = await self.kit.store.read(lambda tx: tx.audit(full, now_us))
        verdict = await self.kit.store.write(lambda tx: tx.record_audit(report, ACTOR, now_us))
        for finding in report.findings:
            self.kit.log("audit broken", code=finding.code, sentence=str(finding), rows=len(finding.rows))
        self.kit.log("audited", full=report.full, checked=len(report.checked), verdict=verdict.value)
        if verdict is AuditVerdict.CLEAN:
            self.kit.wake("admit")
        return report
