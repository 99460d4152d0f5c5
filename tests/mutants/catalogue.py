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
    #: What a night's plan must have for the mistake to show at all: other nights would only take time.
    where: str = "seed"


def _mutant(name: str, caught_by: set[str], *changes: Change, where: str = "seed") -> Mutant:
    return Mutant(name, frozenset(caught_by), changes, where)


_SUBMIT = "scheduler/stages/submit.py"
_OUTCOME = "scheduler/stages/outcome.py"
_RECONCILE = "scheduler/stages/reconcile.py"
_ADMIT = "scheduler/stages/admit.py"
_SUBMISSION = "scheduler/store/submission.py"
_CAPS = "scheduler/store/caps.py"
_GATES = "scheduler/core/admission.py"

CAPS_KEPT = {
    "the night's cap is kept",
    "the job's own cap is kept",
    # The program's own: where the clock was put, the nights only count against the largest limit ever set.
    "audit: caps-kept",
    *(f"the {measure} cap is kept" for measure in ("cost", "overage", "credits", "shots", "tasks")),
}
#: The last line of defence against overspending is the database's own; a mutant that is to show what comes
#: before it must take it away.
_NO_CHECK = Change(
    "migrations/versions/0001_first_schema.py",
    '"limit_amount IS NULL OR held + posted <= limit_amount + excused",\n',
    '"1 = 1",\n',
)
_NO_GUARD = Change(
    _CAPS,
    '        or_(_W.limit_amount.is_(None), _W.held + _W.posted + bindparam("_amount") <= _W.limit_amount),\n',
    "",
)
_NO_SECOND_LOOK = Change(
    _SUBMIT,
    "        purse = purse_for(tx, [job], self.kit.rules, now_us)\n",
    "        purse = purse_for(tx, [job], self.kit.rules, now_us)\n"
    "        unused = {key: replace(book, held=0, posted=0) for key, book in purse.funds.books.items()}\n"
    "        purse = replace(purse, funds=replace(purse.funds, books=unused))\n",
)

MUTANTS = (
    _mutant(
        "the call is repeated when its outcome is unknown (a 5xx, a time-out)",
        # The second when the repeated call finds the door closed, and its answer hides what the first had done.
        {"one request an attempt", "what was billed is posted or held"},
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
        Change(_RECONCILE, "outcome or Unknown(_CRASHED)", "outcome or NotSent(_CRASHED)"),
    ),
    _mutant(
        "the intent is written after the call",
        {"the intent is on disk before the first byte"},
        Change(
            _SUBMIT,
            "        intended = await self._intend(attempt, rules.paid)\n"
            "        if intended is None:\n"
            "            slot.release()\n"
            "            return\n"
            "        sent, outcome = await self._journal_and_send(provider, intended, rules.paid)\n",
            "        sent, outcome = await self._send(provider, attempt, rules.paid, None)\n"
            "        intended = await self._intend(attempt, rules.paid)\n"
            "        if intended is None:\n"
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
        "the intent journal is not written",
        {"a journal line is on disk before the first byte"},
        Change(
            _SUBMIT,
            "run_in_executor(None, self.journal.append, intended.intent)\n",
            "run_in_executor(None, lambda: None)\n",
        ),
    ),
    _mutant(
        "the request does not wait for its journal line",
        {"a journal line is on disk before the first byte"},
        Change(_SUBMIT, "        await line\n", "        await asyncio.sleep(0)\n"),
        where="weather_rate",
    ),
    _mutant(
        "a journal that cannot be written keeps nothing back",
        {"a journal line is on disk before the first byte"},
        Change(
            _SUBMIT,
            "                return trouble  # the disk's no",
            "                str(trouble)  # the disk's no",
        ),
        where="weather_rate",
    ),
    _mutant(
        "a database that lacks what the journal has goes on paying",
        {"nothing paid is sent after the database was restored", "one bill a job"},
        Change(
            _RECONCILE,
            "            return False, self._stop_paid_submission(tx, found, now_us)\n",
            "            return True, [found.sentence]\n",
        ),
        where="restores",
    ),
    _mutant(
        "a wall clock that was put stops nothing",
        {"nothing paid is sent after the clock was put"},
        Change(
            "scheduler/stages/clockwatch.py",
            "            tx.pause_backend(name, Pause(CLOCK_PAUSE, doubt), now.wall_us)\n",
            "            str(Pause(CLOCK_PAUSE, doubt))\n",
        ),
        where="jump_rate",
    ),
    _mutant(
        "a cap is read at admission and spent later, unguarded",
        CAPS_KEPT,
        _NO_CHECK,
        _NO_GUARD,
        _NO_SECOND_LOOK,
    ),
    _mutant(
        "what is prepared and not sent is promised twice, and the hold is unguarded",
        CAPS_KEPT,
        _NO_CHECK,
        _NO_GUARD,
        _NO_SECOND_LOOK,
        Change(
            _ADMIT, "            purse = purse.after(job, now_us)\n", "            purse.after(job, now_us)\n"
        ),
    ),
    _mutant(
        "an unknown outcome (a 5xx) counts as refused",
        {"what was billed is posted or held", "one bill a job"},
        Change(
            _OUTCOME,
            "            return _lose_sight(tx, sent, outcome.reason, outcome.raw, rules, now_us)\n",
            "            return _record_refused(tx, sent, Refused(RefusalKind.BUSY, outcome.reason), rules, now_us)\n",
        ),
    ),
    _mutant(
        "an unknown outcome of a crash counts as refused",
        {"what was billed is posted or held", "one bill a job"},
        Change(_RECONCILE, "outcome or Unknown(_CRASHED)", "outcome or Refused(RefusalKind.BUSY, _CRASHED)"),
        Change(
            _RECONCILE, "NotSent, Outcome, Unknown\n", "NotSent, Outcome, RefusalKind, Refused, Unknown\n"
        ),
        where="kill_rate",
    ),
    _mutant(
        "the send gate is not asked",
        {
            "nothing is sent after its time",
            "nothing is sent that was cancelled",
            "nothing is sent to a paused backend",
            "nothing is sent through an open breaker",
            "nothing paid is sent while disarmed",
            "nothing paid is sent while too much is in doubt",
            "nothing paid is sent before the books were audited",
            "nothing paid is sent after the clock was put",
            "nothing paid is sent after the database was restored",
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
        Change(
            _SUBMISSION,
            "        if paid and (arming is None or not arming.night_limit_microusd):\n",
            "        if False:\n",
        ),
    ),
    _mutant(
        "the send gate does not look at the doubts",
        {"nothing paid is sent while too much is in doubt"},
        Change(_SUBMIT, "        if refusal is None and paid:\n", "        if False:\n"),
        where="fog",
    ),
    _mutant(
        "a hold is not released after a refusal",
        {"what costs nothing gave its hold back"},
        Change(
            _SUBMISSION,
            "        self.void_hold(attempt_id, reason)\n        return True\n",
            "        return True\n",
        ),
    ),
    _mutant(
        "a hold is voided although the outcome is unknown",
        {"whatever may cost money has an open hold", "what was billed is posted or held"},
        Change(
            _SUBMISSION,
            "        return self._end(attempt_id, AttemptEvent.LOSE_SIGHT, at_us, reason, raw)\n",
            "        self.void_hold(attempt_id, reason)\n"
            "        return self._end(attempt_id, AttemptEvent.LOSE_SIGHT, at_us, reason, raw)\n",
        ),
    ),
    _mutant(
        "a task is settled twice under its caps",
        {"posted is the sum of what the holds posted"},
        Change(
            _CAPS,
            "            self._run(_SETTLE, values)\n",
            '            self._run(_SETTLE, values)\n            self._run(_SETTLE, values | {"_amount": 0})\n',
        ),
    ),
    _mutant(
        "a task is settled twice in the ledger",
        {"one settlement an attempt", "credits and overage are booked as billed"},
        Change(
            _SUBMISSION,
            "            number = self.book(posting, at_us)\n            self._run(_BOOKED_HOLD",
            "            number = self.book(posting, at_us)\n"
            '            again = Posting("x" + posting.idem_key, posting.kind, lines, evidence, actor, attempt_id=attempt_id)\n'
            "            self.book(again, at_us)\n"
            "            self._run(_BOOKED_HOLD",
        ),
    ),
    _mutant(
        "a settled task is charged and its hold stays",
        {"held is the sum of the open holds"},
        Change(
            _CAPS,
            'values = {"_key": row.window_key, "_amount": row.amount, "_used": amount}',
            'values = {"_key": row.window_key, "_amount": 0, "_used": amount}',
        ),
    ),
    _mutant(
        "credits of a settled task stay reserved",
        {"held is the sum of the open holds"},
        Change(
            _SUBMISSION,
            "        self.unhold_credits(attempt_id)\n        found, lines",
            "        found, lines",
        ),
    ),
    _mutant(
        "written off, and the money counts as free",
        {"what ended has its hold posted", "what was billed is posted or held"},
        Change(
            _SUBMISSION,
            "        self.post_hold(attempt_id, CostFacts(), Kind.WRITE_OFF, actor, reason, at_us)\n",
            "        self.void_hold(attempt_id, reason)\n",
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
        where="kill_rate",
    ),
    _mutant(
        "an id that another attempt has is taken as ours",
        {"an id belongs to one attempt", "a daemon can always start", "with the faults off everything ends"},
        Change(
            _SUBMISSION,
            "        if self._run(_TAKEN_ID, known).first() is not None:\n            return False\n",
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
            _GATES,
            '            return [Gate("estimate", judged.sentence)]\n',
            "            return []\n",
        ),
    ),
    _mutant(
        "a paid job is sent at a price that rose",
        {"nothing paid is sent at a price that drifted"},
        Change(
            _GATES,
            '            return [Gate("drift", judged.sentence, f"nightshot approve {job.label}")]\n',
            "            return []\n",
        ),
        where="drift_rate",
    ),
    _mutant(
        "no cost figure counts as free",
        {"a bill is settled once, as billed", "what was billed is posted or held"},
        Change(
            _SUBMISSION,
            "        posted = held.amount_microusd if named is None else named\n",
            "        posted = 0 if named is None else named\n",
        ),
    ),
    _mutant(
        "a doubt does not count against the limit",
        {"nothing paid is sent while too much is in doubt"},
        Change(_GATES, "    if within or not load.in_doubt:\n", "    if within or load.in_doubt:\n"),
        where="fog",
    ),
    _mutant(
        "armed for one night is armed for every night",
        {"nothing is held while disarmed"},
        Change(
            "scheduler/stages/purse.py",
            "    return arming.once_night in (None, rules.night(now_us).key)\n",
            "    return True\n",
        ),
    ),
    _mutant(
        "overage is accepted on the wire without a hold",
        {"overage is accepted only where it is held"},
        Change(
            _SUBMIT,
            "        accept_overage = spending.accept_overage if spending else False\n",
            "        accept_overage = attempt.request.accept_overage\n",
        ),
    ),
    _mutant(
        "a user's grant pays for everybody",
        {"a grant is used only by those it is for"},
        Change(
            "scheduler/core/ledger.py",
            "            and (not self.users or spender.user in self.users)\n",
            "",
        ),
    ),
)
