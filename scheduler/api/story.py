"""What a job that does not wait is doing, what that waits for, and what a person can say about a doubt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from scheduler.api.desk import Desk
from scheduler.api.views import label_of
from scheduler.api.waiting import look_at
from scheduler.core.admission import Gate, judge_money
from scheduler.core.lifecycle import ATTEMPT_LIVE, AttemptState, JobState
from scheduler.core.money import Money
from scheduler.core.records import AttemptRecord, JobRecord
from scheduler.core.timing import iso
from scheduler.core.views import ChoiceView
from scheduler.core.waits import last_refusal
from scheduler.ports_store import Tx


def now_of(desk: Desk, tx: Tx, job: JobRecord, attempts: Sequence[AttemptRecord]) -> tuple[str, str]:
    """What kind of thing it waits for, and the sentence that says so."""
    live = next((attempt for attempt in attempts if attempt.state in ATTEMPT_LIVE), None)
    match job.state:
        case JobState.WAITING:
            return "waiting", "it waits"
        case JobState.ADMITTED:
            return "sending", _before_the_send_gate(desk, tx, job, live)
        case JobState.RUNNING:
            return "running", _followed(tx, job, live)
        case JobState.IN_DOUBT:
            return "in doubt", _doubted(job, live)
        case JobState.COMPLETED | JobState.FAILED | JobState.CANCELLED | JobState.REJECTED:
            return "ended", _ended(job, attempts)
        case _:
            assert_never(job.state)


def _before_the_send_gate(desk: Desk, tx: Tx, job: JobRecord, live: AttemptRecord | None) -> str:
    if live is None:
        return "it is admitted"
    if live.state is AttemptState.SUBMITTING:
        return f"it is being sent since {iso(live.sent_us or live.prepared_us)}; the answer is waited for"
    refusals = _refused_now(desk, tx, job)
    if refusals:
        return f"admitted, and it goes back into the queue before it is sent: {'; '.join(refusals)}"
    return (
        f"admitted at {iso(live.prepared_us)} and about to be sent; immediately before the first byte it is "
        "asked once more whether it may be"
    )


def _refused_now(desk: Desk, tx: Tx, job: JobRecord) -> list[str]:
    """What the last questions before its intent would answer now."""
    asked = look_at(desk, tx, job).asked
    refused = last_refusal(asked.job.terms, asked.hours, asked.now_us)
    gates: list[Gate] = []
    if asked.load.paid:
        _, gates = judge_money(asked.job, asked.load, asked.purse, asked.limits, asked.now_us)
    return [*([refused] if refused else []), *(gate.sentence for gate in gates)]


def _followed(tx: Tx, job: JobRecord, live: AttemptRecord | None) -> str:
    if live is None or live.state is not AttemptState.SUBMITTED:
        return f"it has ended at {job.backend}; what it cost is being settled"
    name = live.provider_job_id or "a task without a name"
    said = f", which says {live.provider_status!r}" if live.provider_status else ""
    polled = tx.polled(live.attempt_id)
    looks = "nobody has looked yet"
    if polled is not None:
        times = "once" if polled.polls == 1 else f"{polled.polls} times"
        trouble = f", the last {polled.failures} in vain ({live.reason})" if polled.failures else ""
        so_far = f"looked at {times}{trouble}" if polled.polls else "not looked at yet"
        looks = f"{so_far}, next at {iso(polled.next_us)}"
    cancel = "; a cancel was asked for, and no other try is made" if tx.cancel_asked(job.job_id) else ""
    return f"it runs as {name} at {job.backend}{said}; {looks}{cancel}"


def _doubted(job: JobRecord, live: AttemptRecord | None) -> str:
    told = (live.reason if live is not None else None) or job.reason or "the answer was lost"
    reason = told.removeprefix("in doubt: ")
    held = ""
    if live is not None and live.hold_microusd is not None:
        held = f"; {Money(live.hold_microusd)} stay reserved until a person says what happened"
    return f"nobody knows whether {job.backend} took it: {reason}{held}"


def _ended(job: JobRecord, attempts: Sequence[AttemptRecord]) -> str:
    charges = [attempt.charge for attempt in attempts if attempt.charge]
    how = f" ({charges[-1].word}: {charges[-1].evidence})" if charges else ""
    because = f"; {job.reason}" if job.reason else ""
    if not attempts and not job.cost_microusd:
        return f"nothing was sent, nothing is owed{because}"
    if job.cost_microusd is not None:
        return f"it cost {Money(job.cost_microusd)}{how}{because}"
    free = charges and all(charge.word == "not charged" for charge in charges)
    return f"{'it cost nothing' if free else 'what it cost is unknown'}{how}{because}"


def choices_of(job: JobRecord, attempts: Sequence[AttemptRecord]) -> list[ChoiceView]:
    """The verdicts on a doubt, each with when it is true and what follows.

    None is suggested: a person has to look first. Two of them end where the person has to write what they
    found, so that pasted unread they do nothing; the third never pays twice and works as it stands.
    """
    if job.state is not JobState.IN_DOUBT:
        return []
    command = f"nightshot resolve {label_of(job)} --as"
    held = next((a.hold_microusd for a in attempts if a.state is AttemptState.IN_DOUBT), None)
    hold = "its whole hold" if held is None else f"its whole hold, {Money(held)},"
    return [
        {
            "when": "the provider's pages show it",
            "command": f"{command} accepted --reason '…' --provider-job-id",
            "then": "add the id that they show; it is followed, and its result kept",
        },
        {
            "when": "they do not show it, and you are sure",
            "command": f"{command} not-sent --reason",
            "then": "add how you know; it waits again, and is paid when it runs: twice, if you are wrong",
        },
        {
            "when": "nobody can tell",
            "command": f"{command} written-off --reason '…'",
            "then": f"it is given up, and {hold} counts as spent",
        },
    ]
