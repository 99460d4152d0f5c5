"""Submit: a prepared attempt is sent at most once, whatever happens.

PREPARED --intent and hold committed--> SUBMITTING --journal line on disk, send gate, one POST--> outcome
--reply file, then commit--> next.
No transaction is open during the call. A crash anywhere leaves SUBMITTING, which is never sent again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TypeVar

from scheduler.core.admission import BackendLoad, doubt_gate, judge_money
from scheduler.core.intents import Intent
from scheduler.core.lifecycle import AttemptEvent, JobEvent
from scheduler.core.records import PreparedAttempt
from scheduler.core.spending import Spending
from scheduler.core.task import NotSent, Outcome, Unknown
from scheduler.core.waits import last_refusal
from scheduler.errors import TryAgain
from scheduler.ports import IntentLog, Kit, Provider, ReplyFiles, ReplySlot
from scheduler.ports_store import SubmissionTx
from scheduler.stages.outcome import Sent, record_outcome
from scheduler.stages.purse import purse_for

T = TypeVar("T")

#: How long to wait before an outcome that could not be written is tried again.
_WRITE_AGAIN_S = 1.0


async def _why_not_written(line: asyncio.Future[None]) -> str | None:
    """Wait for a journal line to be on disk; a sentence when it is not."""
    try:
        await line
    except TryAgain as trouble:
        return trouble.message
    return None


class _NotNow(Exception):
    """The money cannot be held: the intent is rolled back with it. Its text says what is short."""


@dataclass(frozen=True, slots=True)
class Intended:
    """An attempt whose intent is committed; a paid one has a number for the journal."""

    attempt: PreparedAttempt
    intent: Intent | None


@dataclass(slots=True)
class Submitting:
    kit: Kit
    replies: ReplyFiles
    journal: IntentLog
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
        # Behind the admission that woke us: the answer comes with its commit.
        prepared = await self.kit.store.read_behind(lambda tx: tx.prepared_attempts(room, in_hand))
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
        intended = await self._intend(attempt, rules.paid)
        if intended is None:
            slot.release()
            return
        sent, outcome = await self._journal_and_send(provider, intended, rules.paid)
        await self._record(sent, outcome, slot)

    async def _journal_and_send(
        self, provider: Provider, intended: Intended, paid: bool
    ) -> tuple[Sent, Outcome]:
        """Connect while the journal's line goes to disk: without it the gate lets no paid request leave."""
        if intended.intent is None:
            return await self._send(provider, intended.attempt, paid, None)
        # Not as a task: that would begin only when the connection waits for the first time.
        line = asyncio.get_running_loop().run_in_executor(None, self.journal.append, intended.intent)
        try:
            return await self._send(provider, intended.attempt, paid, line)
        finally:
            # Whether or not the gate was asked: nothing of an attempt goes on when its outcome is recorded.
            await asyncio.wait([line])
            if not line.cancelled():
                line.exception()

    async def _intend(self, attempt: PreparedAttempt, paid: bool) -> Intended | None:
        """Commit the intent and its hold; None when this attempt is not to be sent (now)."""
        try:
            return await self.kit.store.write(lambda tx: self._commit_intent(tx, attempt, paid))
        except _NotNow as why:
            await self._give_up(attempt, str(why))
        except TryAgain as trouble:
            # The commit may have been done and only its answer lost: the attempt is ended either way.
            await self.kit.clock.sleep(_WRITE_AGAIN_S)
            await self._give_up(attempt, f"its intent was not written for certain: {trouble.message}")
        return None

    def _commit_intent(self, tx: SubmissionTx, attempt: PreparedAttempt, paid: bool) -> Intended | None:
        """Intent and everything it may cost, all or nothing; returns the attempt as it goes on the wire."""
        now_us = self.kit.clock.now_us()
        too_late = last_refusal(attempt.terms, self.kit.rules.hours, now_us)
        if too_late is not None:
            raise _NotNow(too_late)
        spending = self._plan(tx, attempt, now_us) if paid else None
        accept_overage = spending.accept_overage if spending else False
        not_after_us = now_us + self.kit.rules.send_within_us
        if not tx.commit_intent(attempt.attempt_id, now_us, not_after_us, accept_overage, paid=paid):
            return None
        intent = None
        if spending is not None:
            blocked = tx.take_hold(attempt.attempt_id, spending, now_us)
            if blocked is not None:
                raise _NotNow(blocked)
            intent = tx.number_intent(attempt.attempt_id, now_us)
        on_the_wire = replace(attempt.request, accept_overage=accept_overage)
        return Intended(replace(attempt, request=on_the_wire), intent)

    def _plan(self, tx: SubmissionTx, attempt: PreparedAttempt, now_us: int) -> Spending:
        """Decide once more, in this very transaction, what may be held. Raises _NotNow."""
        job = replace(tx.candidate_of(attempt.job_id), estimate_microusd=attempt.estimate_microusd)
        purse = purse_for(tx, [job], self.kit.rules, now_us)
        load = tx.fill_doubts(BackendLoad(attempt.backend, True, slots=1))
        spending, closed = judge_money(job, load, purse, self.kit.rules.doubt_limits, now_us)
        if closed or spending is None:
            raise _NotNow("; ".join(gate.sentence for gate in closed) or "there is no price for it")
        return spending

    async def _give_up(self, attempt: PreparedAttempt, reason: str) -> None:
        def send_back(tx: SubmissionTx) -> None:
            now_us = self.kit.clock.now_us()
            if tx.end_attempt(attempt.attempt_id, AttemptEvent.NOT_SENT, now_us, reason):
                event = JobEvent.CANCEL if tx.cancel_asked(attempt.job_id) else JobEvent.SEND_BACK
                tx.move_job(attempt.job_id, event, now_us, reason)

        await self._write(attempt.attempt_id, send_back)

    async def _send(
        self, provider: Provider, attempt: PreparedAttempt, paid: bool, line: asyncio.Future[None] | None
    ) -> tuple[Sent, Outcome]:
        answers: list[str | None] = []

        async def send_gate() -> str | None:
            if line is not None and (trouble := await _why_not_written(line)) is not None:
                return trouble  # the disk's no, not ours: its backend rests before the next try
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
        refusal = refusal or last_refusal(attempt.terms, self.kit.rules.hours, now_us)
        if refusal is None and paid:
            # Many may have been admitted together; those still here must not add to the doubts of the first.
            load = tx.fill_doubts(BackendLoad(attempt.backend, paid, slots=1))
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
