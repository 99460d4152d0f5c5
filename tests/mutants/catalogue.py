"""The mistakes that would cost money, each as a change of the real code that must be noticed.

Every `Change` names text that must stand exactly once in its file: when the code moves on, the mutant fails
loudly instead of changing nothing.
"""

# ruff: noqa: E501 - what is quoted is as wide as the code it stands in
from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Change:
    file: str
    old: str
    new: str


@dataclass(frozen=True)
class Mutant:
    """A mistake, and the invariants of which one must name it."""

    name: str
    caught_by: frozenset[str]
    changes: tuple[Change, ...]


def _mutant(name: str, caught_by: set[str], *changes: Change) -> Mutant:
    return Mutant(name, frozenset(caught_by), changes)


_SUBMIT = "scheduler/stages/submit.py"
_OUTCOME = "scheduler/stages/outcome.py"
_RECONCILE = "scheduler/stages/reconcile.py"
_ADMIT = "scheduler/stages/admit.py"
_SUBMISSION = "scheduler/store/submission.py"
_POLLING = "scheduler/store/polling.py"

PAID_TWICE = {"one bill a job", "one bill an attempt", "one request an attempt"}

MUTANTS = (
    _mutant(
        "the call is repeated when its outcome is unknown",
        {"one request an attempt"},
        Change(
            _SUBMIT,
            "            outcome = await provider.submit(attempt.request, send_gate)\n",
            "            outcome = await provider.submit(attempt.request, send_gate)\n"
            "            if isinstance(outcome, Unknown):\n"
            "                outcome = await provider.submit(attempt.request, send_gate)\n",
        ),
    ),
    _mutant(
        "an attempt left submitting by a crash is tried again",
        {"one bill a job", "what was billed is posted or held", "a reply on disk is not forgotten"},
        Change(
            _RECONCILE,
            "tx, _sent(lost), outcome or Unknown(_CRASHED), self.kit.rules",
            "tx, _sent(lost), outcome or NotSent(_CRASHED), self.kit.rules",
        ),
        Change(_RECONCILE, "Found, NeverArrived, Outcome, Unknown", "Found, NeverArrived, NotSent, Outcome"),
    ),
    _mutant(
        "the intent is written after the call",
        {"the intent is on disk before the first byte"},
        Change(
            _SUBMIT,
            "        if not await self._intend(attempt, rules.paid):\n"
            "            slot.release()\n"
            "            return\n"
            "        sent, outcome = await self._send(provider, attempt, rules.paid)\n",
            "        sent, outcome = await self._send(provider, attempt, rules.paid)\n"
            "        if not await self._intend(attempt, rules.paid):\n"
            "            slot.release()\n"
            "            return\n",
        ),
        Change(
            _SUBMISSION,
            "        if row is None or row.state != _A.SUBMITTING.value:\n",
            "        if row is None:\n",
        ),
        Change(_SUBMISSION, "        if now_us > row.send_not_after_us:\n", "        if False:\n"),
    ),
    _mutant(
        "the night's cap is read first and spent later",
        {"the night's cap is kept"},
        Change(
            _SUBMISSION,
            '        nights.c.held_microusd + nights.c.posted_microusd + bindparam("_amount")'
            " <= nights.c.limit_microusd,\n",
            "",
        ),
    ),
    _mutant(
        "what is prepared but not sent is not counted under the cap, and the cap only checked at admission",
        {"the night's cap is kept"},
        Change(
            _ADMIT,
            "night = replace(night, held_microusd=night.held_microusd + promised)",
            "night = replace(night, held_microusd=night.held_microusd + 0 * promised)",
        ),
        Change(
            _SUBMISSION,
            '        nights.c.held_microusd + nights.c.posted_microusd + bindparam("_amount")'
            " <= nights.c.limit_microusd,\n",
            "",
        ),
    ),
    _mutant(
        "an unknown outcome counts as refused",
        {"what was billed is posted or held", "one bill a job"},
        Change(
            _OUTCOME,
            "            return _lose_sight(tx, sent, outcome.reason, outcome.raw, now_us)\n",
            "            return _record_refused(tx, sent, Refused(RefusalKind.BUSY, outcome.reason), now_us)\n",
        ),
    ),
    _mutant(
        "an unknown outcome of a crash counts as refused",
        {"what was billed is posted or held", "one bill a job"},
        Change(
            _RECONCILE,
            "outcome or Unknown(_CRASHED)",
            "outcome or Refused(RefusalKind.BUSY, _CRASHED)",
        ),
        Change(
            _RECONCILE,
            "Found, NeverArrived, Outcome, Unknown",
            "Found, NeverArrived, Outcome, RefusalKind, Refused",
        ),
    ),
    _mutant(
        "the send gate is not asked",
        {
            "nothing is sent after its time",
            "nothing is sent that was cancelled",
            "nothing is sent to a paused backend",
            "nothing paid is sent while disarmed",
            "nothing paid is sent while too much is in doubt",
        },
        Change(
            _SUBMIT, "            answers.append(refusal)\n", "            answers.append(refusal := None)\n"
        ),
    ),
    _mutant(
        "the send gate does not look at the time",
        {"nothing is sent after its time"},
        Change(_SUBMISSION, "        if now_us > row.send_not_after_us:\n", "        if False:\n"),
    ),
    _mutant(
        "the send gate does not look whether it was cancelled",
        {"nothing is sent that was cancelled"},
        Change(_SUBMISSION, "        if row.cancel_asked_us is not None:\n", "        if False:\n"),
    ),
    _mutant(
        "the send gate does not look whether it is armed",
        {"nothing paid is sent while disarmed"},
        Change(_SUBMISSION, "        if paid and self.arming() is None:\n", "        if False:\n"),
    ),
    _mutant(
        "the send gate does not look at the doubts",
        {"nothing paid is sent while too much is in doubt"},
        Change(_SUBMIT, "        if refusal is None and paid:\n", "        if False:\n"),
    ),
    _mutant(
        "a hold is not given back after a refusal",
        {"what costs nothing gave its hold back"},
        Change(
            _SUBMISSION,
            "        self.close_hold(attempt_id, HoldState.VOIDED, posted=None, overrun=0, evidence=reason)\n",
            "",
        ),
    ),
    _mutant(
        "a hold is given back although the outcome is unknown",
        {"whatever may cost money has an open hold", "what was billed is posted or held"},
        Change(
            _SUBMISSION,
            "        return self._end(attempt_id, AttemptEvent.LOSE_SIGHT, at_us, reason, raw)\n",
            "        self.close_hold(attempt_id, HoldState.VOIDED, posted=None, overrun=0, evidence=reason)\n"
            "        return self._end(attempt_id, AttemptEvent.LOSE_SIGHT, at_us, reason, raw)\n",
        ),
    ),
    _mutant(
        "a task is settled twice",
        {"posted is the sum of what the holds posted"},
        Change(
            _SUBMISSION,
            '            money = {"_night": held.night, "_release": held.amount_microusd, "_post": posted or 0}\n',
            '            money = {"_night": held.night, "_release": 0, "_post": posted or 0}\n'
            "            self._c.execute(_MOVE_MONEY, money)\n"
            '            money = {"_night": held.night, "_release": held.amount_microusd, "_post": posted or 0}\n',
        ),
    ),
    _mutant(
        "a settled task is charged and its hold stays",
        {"held is the sum of the open holds", "with the faults off everything ends"},
        Change(
            _SUBMISSION,
            '"_release": held.amount_microusd, "_post": posted or 0}',
            '"_release": 0, "_post": posted or 0}',
        ),
    ),
    _mutant(
        "written off, and the money counts as free",
        {"what ended has its hold posted", "what was billed is posted or held"},
        Change(
            _SUBMISSION,
            "                attempt_id, HoldState.POSTED, posted=held.amount_microusd, overrun=0, evidence=reason\n",
            "                attempt_id, HoldState.VOIDED, posted=None, overrun=0, evidence=reason\n",
        ),
    ),
    _mutant(
        "a reply on disk is not read after a crash",
        {"a reply on disk is not forgotten"},
        Change(
            _RECONCILE,
            "            outcome = kept.get(lost.attempt_id)\n",
            "            outcome = None if kept else None\n",
        ),
    ),
    _mutant(
        "an id that another attempt has is taken as ours",
        {"an id belongs to one attempt", "a daemon can always start", "with the faults off everything ends"},
        Change(
            _SUBMISSION,
            "        if self._c.execute(_TAKEN_ID, known).first() is not None:\n            return False\n",
            "",
        ),
    ),
    _mutant(
        "a charge above the quote is only known at the end",
        {"what was billed is posted or held"},
        Change(
            _OUTCOME,
            "    excess = 0 if cost is None else tx.cover_cost(sent.attempt_id, cost)\n",
            "    excess = 0\n",
        ),
    ),
    _mutant(
        "a paid job is sent at an old price",
        {"nothing paid is sent at an old price"},
        Change(
            _ADMIT,
            "        stale = set(tx.drop_stale_quotes(paid, now_us))\n",
            "        stale = set(paid[:0])\n",
        ),
        Change(
            _SUBMIT,
            "            if not tx.quote_is_valid(attempt.job_id, now_us):\n",
            "            if False:\n",
        ),
    ),
    _mutant(
        "no cost figure counts as free",
        {"a bill is settled once, as billed", "what was billed is posted or held"},
        Change("scheduler/core/settlement.py", "Settlement(hold_microusd or 0, 0,", "Settlement(0, 0,"),
    ),
    _mutant(
        "a doubt does not count against the limit",
        {"nothing paid is sent while too much is in doubt"},
        Change(
            "scheduler/core/admission.py",
            "    if within or not load.in_doubt:\n",
            "    if within or load.in_doubt:\n",
        ),
    ),
    _mutant(
        "a disarmed night keeps its cap",
        {"nothing is held while disarmed", "nothing paid is sent while disarmed"},
        Change(
            "scheduler/store/admission.py",
            "            key, row.limit_microusd if in_force else None, row.held_microusd, row.posted_microusd\n",
            "            key, row.limit_microusd, row.held_microusd, row.posted_microusd\n",
        ),
    ),
)
