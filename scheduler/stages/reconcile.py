"""Reconcile: before any timer runs, find out what the last process left behind; never send anything.

An attempt left SUBMITTING has an answer in a reply file, or it is in doubt. One in doubt is settled by
evidence only: the provider's, or a named person's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import assert_never

from scheduler.core.admission import Pause
from scheduler.core.intents import Disagreement, JournalRead, compare
from scheduler.core.lifecycle import AttemptEvent, AttemptState, JobEvent
from scheduler.core.records import LostAttempt
from scheduler.core.task import Accepted, CannotTell, Evidence, Found, NeverArrived, NotSent, Outcome, Unknown
from scheduler.ports import IntentLog, Kit, Provider, ReplyFiles
from scheduler.ports_store import ReconcileTx
from scheduler.stages.outcome import Sent, record_contradiction, record_outcome

#: The pause that only `backends resume NAME --gate journal` with a reason lifts, by starting a new epoch.
JOURNAL_PAUSE = "journal"
#: Every attempt that was left behind must be looked at before its reply's slot is used again.
_ALL = 1_000_000
_CRASHED = "the daemon stopped after the intent was written and before an answer was"


@dataclass(frozen=True, slots=True)
class Reconciling:
    kit: Kit
    replies: ReplyFiles
    journal: IntentLog

    async def at_start(self) -> list[str]:
        """Give every attempt left SUBMITTING its answer or its doubt; returns what was done."""
        kept = await asyncio.to_thread(self.replies.kept)
        journal = await asyncio.to_thread(self.journal.newest)
        agreed, said = await self.kit.store.write(lambda tx: self._compare_journal(tx, journal))
        if agreed:
            mark = await self.kit.store.read(lambda tx: tx.intent_mark())
            # The file is there before the first intent, or a crash at that one would look like a lost file.
            await asyncio.to_thread(self.journal.begin, mark.epoch if mark else 1)
        said += await self.kit.store.write(lambda tx: self._recover(tx, kept))
        await asyncio.to_thread(self.replies.adopt)
        await self.step()
        return said

    def _compare_journal(self, tx: ReconcileTx, journal: JournalRead) -> tuple[bool, list[str]]:
        """Hold the two memories of what was sent against each other; a disagreement stops paid submission."""
        mark = tx.intent_mark()
        same_epoch = mark is not None and journal.epoch == mark.epoch
        last = max((intent.sequence for intent in journal.intents), default=0) if same_epoch else 0
        attempts = tx.intents_since(mark.epoch, max(last, 1)) if mark else {}
        now_us = self.kit.clock.now_us()
        found = compare(mark, journal, attempts)
        if journal.epoch is not None:
            tx.see_journal_epoch(journal.epoch)
        if isinstance(found, Disagreement):
            return False, self._stop_paid_submission(tx, found, now_us)
        by_id = {lost.attempt_id: lost for lost in tx.lost_attempts()}
        said = []
        for attempt_id in found.never_sent:
            lost = by_id.get(attempt_id)
            if lost is not None and lost.state is AttemptState.SUBMITTING:
                reason = "its number never reached the intent journal, so it was never sent"
                word = record_outcome(
                    tx, replace(_sent(lost), vetoed=True), NotSent(reason), self.kit.rules, now_us
                )
                said.append(f"attempt {attempt_id}: {word} ({reason})")
        return True, said

    def _stop_paid_submission(self, tx: ReconcileTx, found: Disagreement, now_us: int) -> list[str]:
        sentence = (
            f"{found.sentence}. Compare with the provider's invoice (nightshot reconcile --csv FILE) first"
        )
        for name, provider in self.kit.providers.items():
            if provider.paid:
                tx.pause_backend(name, Pause(JOURNAL_PAUSE, sentence), now_us)
        named = f"; without a row here: {', '.join(found.unknown[:20])}" if found.unknown else ""
        return [f"paid submission is stopped: {found.sentence}{named}"]

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
        return said + self._recover_contradictions(tx, kept)

    def _recover_contradictions(self, tx: ReconcileTx, kept: Mapping[str, Outcome]) -> list[str]:
        """Replies on disk about attempts that a person had resolved otherwise: the replies are right."""
        said = []
        for attempt_id, outcome in kept.items():
            backend = tx.backend_of(attempt_id)
            if backend is None or not isinstance(outcome, Accepted):
                continue
            now_us = self.kit.clock.now_us()
            corrected = record_contradiction(tx, attempt_id, backend, outcome, self.kit.rules, now_us)
            if corrected is not None:
                said.append(f"attempt {attempt_id}: corrected: {corrected.sentence}")
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
