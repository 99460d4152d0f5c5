"""What an answer to the billable call means for the attempt, its money and its job: one transaction.

Used when the answer comes in, and again after a crash for answers that only a reply file remembers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from scheduler.core.admission import Pause
from scheduler.core.breaker import Relief, Trouble
from scheduler.core.caps import Measure
from scheduler.core.corrections import Corrected, Correction
from scheduler.core.lifecycle import AttemptEvent, JobEvent
from scheduler.core.money import Money
from scheduler.core.rules import Rules
from scheduler.core.settlement import beyond_hold
from scheduler.core.task import (
    Accepted,
    CostFacts,
    NeverArrived,
    NotSent,
    Outcome,
    RefusalKind,
    Refused,
    Unknown,
)
from scheduler.core.timing import next_poll_at_us, retry_at_us
from scheduler.ports_store import SubmissionTx

#: A charge above the quote by no more than this is a rounded cent, not a price that moved.
ROUNDING_MICROUSD = 10_000


@dataclass(frozen=True, slots=True)
class Sent:
    """The attempt an outcome belongs to; `vetoed` when our own gate, not the network, kept it here."""

    attempt_id: str
    job_id: int
    backend: str
    vetoed: bool = False

    @property
    def provider(self) -> str:
        return self.backend.partition(":")[0]


def record_outcome(tx: SubmissionTx, sent: Sent, outcome: Outcome, rules: Rules, now_us: int) -> str:
    """Write down what became of an attempt; returns the word that says it."""
    match outcome:
        case Accepted():
            return _record_accepted(tx, sent, outcome, rules, now_us)
        case Refused():
            return _record_refused(tx, sent, outcome, rules, now_us)
        case NotSent():
            return _record_not_sent(tx, sent, outcome, rules, now_us)
        case Unknown():
            return _lose_sight(tx, sent, outcome.reason, outcome.raw, rules, now_us)
        case _:
            assert_never(outcome)


def _record_accepted(tx: SubmissionTx, sent: Sent, outcome: Accepted, rules: Rules, now_us: int) -> str:
    next_poll_us = next_poll_at_us(sent.attempt_id, now_us, now_us, 0, rules.poll_pace)
    _doubt_again(tx, sent, f"{sent.provider} names it {outcome.provider_job_id} itself", now_us)
    if tx.attempt_accepted(sent.attempt_id, outcome, next_poll_us):
        sentence = f"accepted by {sent.provider} as {outcome.provider_job_id}"
        tx.move_job(sent.job_id, JobEvent.ACCEPTED, now_us, sentence)
        tx.record_breaker(sent.backend, Relief.ACCEPTED, now_us, rules.breaker)
        tx.forget_short_pauses(sent.backend, now_us)
        _cover_cost(tx, sent, outcome, now_us)
        return "accepted"
    if record_contradiction(tx, sent.attempt_id, sent.backend, outcome, rules, now_us) is not None:
        return "corrected"
    reason = f"{sent.provider} answered with id {outcome.provider_job_id}, which belongs to another attempt"
    return _lose_sight(tx, sent, reason, outcome.raw, rules, now_us)


def _doubt_again(tx: SubmissionTx, sent: Sent, reason: str, now_us: int) -> None:
    """The provider's own word about an attempt outweighs the id that a person gave for it."""
    if tx.doubt_again(sent.attempt_id, reason):
        tx.move_job(sent.job_id, JobEvent.DOUBT_AGAIN, now_us, f"in doubt again: {reason}")


def _cover_cost(tx: SubmissionTx, sent: Sent, outcome: Accepted, now_us: int) -> None:
    """Let the caps know at once of a charge above what was held, and stop before the next one."""
    cost = outcome.cost.estimated_cost_microusd
    excess = 0 if cost is None else tx.cover_cost(sent.attempt_id, cost)
    told = _beyond_hold(tx, sent.attempt_id, outcome.cost)
    if cost is not None and excess > ROUNDING_MICROUSD:
        told.insert(0, f"charged {Money(cost)} where {Money(cost - excess)} was quoted")
    if told:
        sentence = f"{sent.backend} {', and '.join(told)}"
        tx.note((sent.job_id,), now_us, "overrun", sentence)
        tx.pause_backend(sent.backend, Pause("breaker", sentence), now_us)


def _beyond_hold(tx: SubmissionTx, attempt_id: str, cost: CostFacts) -> list[str]:
    """Credits or overage above what was reserved for them; most replies have neither to ask about."""
    if not (cost.credits_applied_microcredits or cost.overage_microusd):
        return []
    held = tx.held_of(attempt_id)
    if held is None:
        return []
    if cost.credits_applied_microcredits:
        tx.raise_caps(attempt_id, Measure.CREDITS, cost.credits_applied_microcredits)
    return beyond_hold(held, cost)


def _lose_sight(tx: SubmissionTx, sent: Sent, reason: str, raw: str, rules: Rules, now_us: int) -> str:
    if not tx.lose_sight(sent.attempt_id, now_us, reason, raw):
        return "moved on"
    tx.move_job(sent.job_id, JobEvent.LOSE_SIGHT, now_us, f"in doubt: {reason}")
    tx.record_breaker(sent.backend, Trouble.DOUBT, now_us, rules.breaker)
    return "in doubt"


def _record_refused(tx: SubmissionTx, sent: Sent, outcome: Refused, rules: Rules, now_us: int) -> str:
    if not tx.end_attempt(sent.attempt_id, AttemptEvent.REFUSE, now_us, outcome.reason, outcome.raw):
        return _never_taken(tx, sent, f"refused by {sent.provider}: {outcome.reason}", rules, now_us)
    sentence = f"refused by {sent.provider}: {outcome.reason}"
    match outcome.kind:
        case RefusalKind.INVALID:
            tx.record_breaker(sent.backend, Trouble.REFUSAL, now_us, rules.breaker)
            if tx.take_retry(sent.job_id):
                _send_back(tx, sent, f"tried again: {sentence}", now_us)
                return "refused, tried again"
            tx.move_job(sent.job_id, JobEvent.REJECT, now_us, sentence, cost_microusd=0)
            return "rejected"
        case RefusalKind.CREDENTIALS:
            tx.pause_backend(sent.provider, Pause("breaker", sentence), now_us)
        case RefusalKind.CREDITS:
            # Asking again with every job would only be refused again: everybody waits for a person.
            tx.pause_backend(sent.provider, Pause("credits", sentence), now_us)
        case RefusalKind.BUSY:
            until_us = retry_at_us(
                sent.backend, now_us, 1 + tx.pause_failures(sent.backend), outcome.retry_after_s
            )
            tx.pause_backend(sent.backend, Pause("rate", sentence, until_us), now_us)
        case _:
            assert_never(outcome.kind)
    _send_back(tx, sent, sentence, now_us)
    return "refused for now"


def _record_not_sent(tx: SubmissionTx, sent: Sent, outcome: NotSent, rules: Rules, now_us: int) -> str:
    if not tx.end_attempt(sent.attempt_id, AttemptEvent.NOT_SENT, now_us, outcome.reason):
        return _never_taken(tx, sent, outcome.reason, rules, now_us)
    sentence = f"not sent: {outcome.reason}"
    if not sent.vetoed:
        failures = 1 + tx.pause_failures(sent.backend)
        until_us = retry_at_us(sent.backend, now_us, failures, outcome.retry_after_s)
        tx.pause_backend(sent.backend, Pause("backend-offline", sentence, until_us), now_us)
        tx.record_breaker(sent.backend, Trouble.FAILURE, now_us, rules.breaker)
    _send_back(tx, sent, sentence, now_us)
    return "not sent"


def record_contradiction(
    tx: SubmissionTx,
    attempt_id: str,
    backend: str,
    evidence: Accepted | NeverArrived,
    rules: Rules,
    now_us: int,
    *,
    actor: str = "nightshot",
) -> Corrected | None:
    """Correct what a person had said about an attempt; a run that was paid twice stops its backend."""
    next_poll_us = next_poll_at_us(attempt_id, now_us, now_us, 0, rules.poll_pace)
    corrected = tx.correct_attempt(attempt_id, evidence, actor, now_us, next_poll_us)
    if corrected is not None and corrected.correction is Correction.CHARGE:
        sentence = f"a job may have been paid twice: attempt {attempt_id}: {corrected.sentence}"
        tx.pause_backend(backend, Pause("breaker", sentence), now_us)
    return corrected


def _never_taken(tx: SubmissionTx, sent: Sent, reason: str, rules: Rules, now_us: int) -> str:
    evidence = NeverArrived(reason)
    corrected = record_contradiction(tx, sent.attempt_id, sent.backend, evidence, rules, now_us)
    return "moved on" if corrected is None else "corrected"


def _send_back(tx: SubmissionTx, sent: Sent, sentence: str, now_us: int) -> None:
    if tx.cancel_asked(sent.job_id):
        tx.move_job(sent.job_id, JobEvent.CANCEL, now_us, "cancelled before anything was sent")
    else:
        tx.move_job(sent.job_id, JobEvent.SEND_BACK, now_us, sentence)
