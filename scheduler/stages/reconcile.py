"""Reconcile: before any timer runs, find out what the last process left behind; never send anything.

An attempt left SUBMITTING has an answer in a reply file, or it is in doubt. One in doubt is settled by
evidence only: the provider's, or a named person's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import assert_never

from scheduler.core.lifecycle import AttemptEvent, AttemptState, JobEvent
from scheduler.core.records import LostAttempt
from scheduler.core.task import Accepted, CannotTell, Evidence, Found, NeverArrived, Outcome, Unknown
from scheduler.ports import Kit, Provider, ReplyFiles
from scheduler.ports_store import ReconcileTx
from scheduler.stages.outcome import Sent, record_outcome

#: Every attempt that was left behind must be looked at before its reply's slot is used again.
_ALL = 1_000_000
_CRASHED = "the daemon stopped after the intent was written and before an answer was"


@dataclass(frozen=True, slots=True)
class Reconciling:
    kit: Kit
    replies: ReplyFiles

    async def at_start(self) -> list[str]:
        """Give every attempt left SUBMITTING its answer or its doubt; returns what was done."""
        kept = await asyncio.to_thread(self.replies.kept)
        said = await self.kit.store.write(lambda tx: self._recover(tx, kept))
        await asyncio.to_thread(self.replies.adopt)
        await self.step()
        return said

    def _recover(self, tx: ReconcileTx, kept: Mapping[str, Outcome]) -> list[str]:
        said = []
        for lost in tx.lost_attempts(_ALL):
            outcome = kept.get(lost.attempt_id)
            if lost.state is AttemptState.IN_DOUBT and not isinstance(outcome, Accepted):
                continue
            word = record_outcome(
                tx, _sent(lost), outcome or Unknown(_CRASHED), self.kit.rules, self.kit.clock.now_us()
            )
            source = "its reply file" if outcome else "no reply on disk"
            said.append(f"attempt {lost.attempt_id}: {word} ({source})")
        return said

    async def step(self) -> int:
        """Ask the providers for evidence about every attempt in doubt."""
        lost = await self.kit.store.read(lambda tx: tx.lost_attempts())
        moved = 0
        for attempt in lost:
            if attempt.state is not AttemptState.IN_DOUBT:
                continue  # a call of this very process is on its way
            provider = self.kit.provider_of(attempt.backend)
            if provider is None:
                continue
            evidence = await self._ask(provider, attempt)
            moved += await self.kit.store.write(
                lambda tx, a=attempt, e=evidence: self._apply(tx, a, e)  # type: ignore[misc]
            )
        if moved:
            for stage in ("poll", "admit"):
                self.kit.wake(stage)
        return moved

    async def _ask(self, provider: Provider, lost: LostAttempt) -> Evidence:
        try:
            return await provider.find(lost.attempt_id)
        except Exception as error:  # noqa: BLE001 - one provider's failure must not keep the daemon from starting
            self.kit.log("no evidence", attempt=lost.attempt_id, error=repr(error))
            return CannotTell(str(error))

    def _apply(self, tx: ReconcileTx, lost: LostAttempt, evidence: Evidence) -> int:
        now_us = self.kit.clock.now_us()
        match evidence:
            case Found():
                taken = Accepted(evidence.provider_job_id, "found", evidence.cost)
                return int(record_outcome(tx, _sent(lost), taken, self.kit.rules, now_us) == "accepted")
            case NeverArrived():
                if not tx.end_attempt(lost.attempt_id, AttemptEvent.NEVER_ARRIVED, now_us, evidence.reason):
                    return 0
                event = JobEvent.CANCEL if tx.cancel_asked(lost.job_id) else JobEvent.SEND_BACK
                tx.move_job(lost.job_id, event, now_us, f"never arrived: {evidence.reason}")
                return 1
            case CannotTell():
                return 0
            case _:
                assert_never(evidence)


def _sent(lost: LostAttempt) -> Sent:
    return Sent(lost.attempt_id, lost.job_id, lost.backend)
