"""Timekeeping: what the time alone changes. Jobs wake, deadlines pass, windows open, others have ended.

Nothing starts here, and admission asks everything once more. A job whose time has come goes back into the
queue; one that can never start is cancelled with the reason, so that it does not wait for ever in silence.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from scheduler.core.lifecycle import JobEvent
from scheduler.core.timing import SECOND_US, iso
from scheduler.core.windows import Occurrence, open_occurrences
from scheduler.ports import Kit
from scheduler.ports_store import Tx

#: Jobs moved in one transaction, so that a thousand of them hold nobody up for long.
GROUP = 200
#: Clocks jump, and jobs come with a time of their own: what is due is asked again after so many seconds.
LONGEST_SLEEP_S = 5.0


@dataclass(frozen=True, slots=True)
class _Kept:
    woken: int
    ended: int
    open: tuple[Occurrence, ...]
    #: Those of them that nobody had seen before, in whichever process.
    opened: tuple[Occurrence, ...]
    more: bool


@dataclass(slots=True)
class Timekeeping:
    kit: Kit
    #: Openings that this process has seen in the rows, or put there.
    _seen: set[Occurrence] = field(default_factory=set)

    async def step(self) -> int:
        if await self.due_in_s():
            return 0
        kept = await self.kit.store.write(self._keep)
        self._seen.update(kept.open)
        self._tell(kept)
        return kept.woken + kept.ended

    def _tell(self, kept: _Kept) -> None:
        for occurrence in kept.opened:
            closes = iso(occurrence.closes_us)
            self.kit.log("window opened", window=occurrence.window, key=occurrence.key, closes=closes)
        if kept.woken or kept.opened:
            for stage in ("estimate", "admit"):
                self.kit.wake(stage)
        if kept.ended:
            self.kit.wake("publish")
        if kept.more:
            self.kit.wake("timekeeping")

    async def due_in_s(self) -> float:
        """Seconds until a job's time comes or passes, or a window opens or closes."""
        now_us = self.kit.clock.now_us()
        if self._unseen(now_us):
            return 0.0
        due = [each.changes_us(now_us) for each in self.kit.rules.hours.values()]
        due.append(await self.kit.store.read(lambda tx: now_us if tx.broken_needs(1) else tx.next_time_us()))
        waits_s = [max(0.0, (each - now_us) / SECOND_US) for each in due if each is not None]
        return min([LONGEST_SLEEP_S, *waits_s])

    def _unseen(self, now_us: int) -> list[Occurrence]:
        return [each for each in open_occurrences(self.kit.rules.hours, now_us) if each not in self._seen]

    def _keep(self, tx: Tx) -> _Kept:
        now_us = self.kit.clock.now_us()
        unseen = self._unseen(now_us)
        opened = tuple(each for each in unseen if tx.record_occurrence(each, now_us))
        woken = tx.wake_sleepers(now_us, GROUP)
        overdue = tx.overdue_jobs(now_us, GROUP)
        ended = 0
        for job_id, deadline_us in overdue:
            sentence = f"cancelled: its deadline, {iso(deadline_us)}, passed before it could be sent"
            ended += tx.move_job(job_id, JobEvent.CANCEL, now_us, sentence)
        broken = tx.broken_needs(GROUP)
        for job_id, before in broken:
            sentence = f"cancelled: it comes after {before.label}, which is {before.word} and had to complete"
            ended += tx.move_job(job_id, JobEvent.CANCEL, now_us, sentence)
            tx.close_needs(job_id)
        # Whoever comes after one of these is broken now as well.
        return _Kept(woken, ended, tuple(unseen), opened, GROUP in (woken, len(overdue)) or bool(broken))
