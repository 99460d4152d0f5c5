"""Submit: a prepared attempt is sent at most once, whatever happens.

PREPARED --intent and hold committed--> SUBMITTING --one POST--> outcome --reply file, then commit--> next.
No transaction is open during the call. A crash anywhere leaves SUBMITTING, which is never sent again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from scheduler.core.admission import BackendLoad, doubt_gate
from scheduler.core.lifecycle import AttemptEvent, JobEvent
from scheduler.core.records import PreparedAttempt
from scheduler.core.task import NotSent, Outcome, Unknown
from scheduler.core.timing import night_of
from scheduler.errors import TryAgain
from scheduler.ports import Kit, Provider, ReplyFiles, ReplySlot
from scheduler.ports_store import SubmissionTx
from scheduler.stages.outcome import Sent, record_outcome

T = TypeVar("T")

#: How long to wait before an outcome that could not be written is tried again.
_WRITE_AGAIN_S = 1.0


class _NotNow(Exception):
    """The money rules say no to this attempt: the intent is rolled back with it."""


@dataclass(slots=True)
class Submitting:
    kit: Kit
    replies: ReplyFiles
    _in_hand: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    _draining: bool = False

    @property
    def in_hand(self) -> int:
        """How many are on their way right now."""
        return len(self._in_hand)

    async def step(self) -> int:
        """Start sending what is prepared, up to the configured number at once; does not wait for the ends."""
        room = self.kit.rules.submit_concurrency - len(self._in_hand)
        if room <= 0 or self._draining:
            return 0
        in_hand = frozenset(self._in_hand)
        prepared = await self.kit.store.read(lambda tx: tx.prepared_attempts(room, in_hand))
        for attempt in prepared:
            task = asyncio.create_task(self._carry(attempt), name=f"submit {attempt.attempt_id}")
            self._in_hand[attempt.attempt_id] = task
            task.add_done_callback(lambda _t, attempt_id=attempt.attempt_id: self._let_go(attempt_id))  # type: ignore[misc]
        return len(prepared)

    def _let_go(self, attempt_id: str) -> None:
        task = self._in_hand.pop(attempt_id)
        if not task.cancelled() and (error := task.exception()) is not None:
            # Not woken: whatever it was would only happen again at once; the next tick is soon enough.
            self.kit.log("submit failed", attempt=attempt_id, error=repr(error))
            return
        self.kit.wake("submit")

    async def drain(self, timeout_s: float | None = None) -> None:
        """Take nothing new and let open calls end; what is still open then is left to reconcile."""
        self._draining = True
        if self._in_hand:
            _, late = await asyncio.wait(list(self._in_hand.values()), timeout=timeout_s)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)

    async def _carry(self, attempt: PreparedAttempt) -> None:
        provider = self.kit.provider_of(attempt.backend)
        rules = self.kit.rules.backend(attempt.backend)
        if provider is None or rules is None or not rules.enabled:
            what = "switched off" if rules else "no longer configured"
            await self._give_up(attempt, f"{attempt.backend} is {what}")
            return
        try:
            slot = await asyncio.to_thread(self.replies.reserve)
        except TryAgain as full:
            self.kit.log("cannot send", attempt=attempt.attempt_id, reason=full.message)
            await self.kit.clock.sleep(_WRITE_AGAIN_S)
            return
        if not await self._intend(attempt, rules.paid):
            slot.release()
            return
        sent, outcome = await self._send(provider, attempt, rules.paid)
        await self._record(sent, outcome, slot)

    async def _intend(self, attempt: PreparedAttempt, paid: bool) -> bool:
        """Commit the intent and its hold; False when this attempt is not to be sent (now)."""
        try:
            return await self.kit.store.write(lambda tx: self._commit_intent(tx, attempt, paid))
        except _NotNow as why:
            await self._give_up(attempt, str(why))
        except TryAgain as trouble:
            # The commit may have been done and only its answer lost: the attempt is ended either way.
            await self.kit.clock.sleep(_WRITE_AGAIN_S)
            await self._give_up(attempt, f"its intent was not written for certain: {trouble.message}")
        return False

    def _commit_intent(self, tx: SubmissionTx, attempt: PreparedAttempt, paid: bool) -> bool:
        now_us = self.kit.clock.now_us()
        if not tx.commit_intent(attempt.attempt_id, now_us, now_us + self.kit.rules.send_within_us):
            return False
        if paid:
            if not tx.quote_is_valid(attempt.job_id, now_us):
                raise _NotNow("its quote is too old: a new one is asked for")
            night = night_of(now_us, self.kit.rules.zone).key
            if not tx.take_hold(attempt.attempt_id, night, attempt.estimate_microusd, now_us):
                raise _NotNow("tonight's cap has no room for it, or paid submission was disarmed")
        return True

    async def _give_up(self, attempt: PreparedAttempt, reason: str) -> None:
        def send_back(tx: SubmissionTx) -> None:
            now_us = self.kit.clock.now_us()
            if tx.end_attempt(attempt.attempt_id, AttemptEvent.NOT_SENT, now_us, reason):
                event = JobEvent.CANCEL if tx.cancel_asked(attempt.job_id) else JobEvent.SEND_BACK
                tx.move_job(attempt.job_id, event, now_us, reason)

        await self._write(attempt.attempt_id, send_back)

    async def _send(self, provider: Provider, attempt: PreparedAttempt, paid: bool) -> tuple[Sent, Outcome]:
        answers: list[str | None] = []

        async def send_gate() -> str | None:
            try:
                refusal = await self.kit.store.read(lambda tx: self._refusal(tx, attempt, paid))
            except TryAgain as away:
                refusal = f"the store could not be asked: {away.message}"
            answers.append(refusal)
            return refusal

        try:
            outcome = await provider.submit(attempt.request, send_gate)
        except Exception as bug:  # noqa: BLE001 - a provider's bug must not leave money without a word
            reason = f"the provider's code failed: {bug!r}"
            outcome = Unknown(reason) if None in answers else NotSent(reason)
        vetoed = any(answers) and isinstance(outcome, NotSent)
        return Sent(attempt.attempt_id, attempt.job_id, attempt.backend, vetoed), outcome

    def _refusal(self, tx: SubmissionTx, attempt: PreparedAttempt, paid: bool) -> str | None:
        now_us = self.kit.clock.now_us()
        refusal = tx.send_refusal(attempt.attempt_id, now_us, paid)
        if refusal is None and paid:
            # Many may have been admitted together; those still here must not add to the doubts of the first.
            (load,) = tx.fill_loads([BackendLoad(attempt.backend, paid, slots=1)])
            gate = doubt_gate(load, self.kit.rules.doubt_limits)
            return None if gate is None else gate.sentence
        return refusal

    async def _record(self, sent: Sent, outcome: Outcome, slot: ReplySlot) -> None:
        """Reply file first, then the database; a full disk makes this wait, never forget."""
        try:
            await asyncio.to_thread(slot.keep, sent.attempt_id, outcome)
        except OSError as error:
            self.kit.log("reply file failed", attempt=sent.attempt_id, error=str(error))
        word = await self._write(
            sent.attempt_id,
            lambda tx: record_outcome(tx, sent, outcome, self.kit.rules, self.kit.clock.now_us()),
        )
        slot.release()
        self.kit.log("submitted", attempt=sent.attempt_id, job=sent.job_id, outcome=word)
        for stage in ("poll", "admit", "publish"):
            self.kit.wake(stage)

    async def _write(self, attempt_id: str, work: Callable[[SubmissionTx], T]) -> T:
        """Write however long the store is away: what became of an attempt is never dropped."""
        while True:
            try:
                return await self.kit.store.write(work)
            except TryAgain as trouble:
                self.kit.log("not written yet", attempt=attempt_id, reason=trouble.message)
                await self.kit.clock.sleep(_WRITE_AGAIN_S)
