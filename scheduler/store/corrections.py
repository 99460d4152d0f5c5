"""Corrections: what evidence does to an attempt that a person had called not sent, or had written off.

A correction never asks whether there is room: the money is gone, or back, already. What it puts above a cap's
limit is excused and recorded, and what a grant no longer has is booked as unplanned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import bindparam, delete, select, update

from scheduler.core.caps import Measure
from scheduler.core.corrections import Corrected, Correction, correction_for
from scheduler.core.ledger import Entry, HoldPart, Kind, Posting, reversed_entries, settle_entries
from scheduler.core.lifecycle import ATTEMPT_LIVE, AttemptEvent, AttemptState, HoldState, JobEvent, JobState
from scheduler.core.money import Money
from scheduler.core.task import Accepted, CostFacts, NeverArrived
from scheduler.store.refunds import ATTEMPT, CAP_PARTS, MOVE_WINDOW, SET_PART, Refunds
from scheduler.store.schema import attempts, hold_parts, holds

_A = AttemptState
_OTHERS_ALIVE = select(attempts.c.id, attempts.c.state).where(
    attempts.c.job_id == bindparam("_job"),
    attempts.c.part_ordinal == bindparam("_part"),
    attempts.c.id != bindparam("_id"),
    attempts.c.state.in_(sorted(ATTEMPT_LIVE)),
)
_ID_TAKEN = select(attempts.c.id).where(
    attempts.c.provider == bindparam("_provider"),
    attempts.c.provider_job_id == bindparam("_provider_job_id"),
    attempts.c.id != bindparam("_id"),
)
_SPENDING = (Measure.COST, Measure.OVERAGE, Measure.CREDITS)


class Corrections(Refunds):
    def backend_of(self, attempt_id: str) -> str | None:
        """Where an attempt was sent; None: there is no such attempt."""
        return self._c.execute(select(attempts.c.backend).where(attempts.c.id == attempt_id)).scalar()

    def correct_attempt(
        self, attempt_id: str, evidence: Accepted | NeverArrived, actor: str, at_us: int, next_poll_us: int
    ) -> Corrected | None:
        """Put right what evidence contradicts: an attempt that a person called not sent or wrote off.

        None: the evidence says nothing new about it, or names an id that is another attempt's.
        """
        row: Any = self._c.execute(ATTEMPT, {"_id": attempt_id}).first()
        if row is None or row.posts != 1:
            return None
        taken = isinstance(evidence, Accepted)
        if isinstance(evidence, Accepted):
            known = {"_provider": row.provider, "_provider_job_id": evidence.provider_job_id}
            if self._run(_ID_TAKEN, {**known, "_id": attempt_id}).first() is not None:
                return None
        others = self._c.execute(
            _OTHERS_ALIVE, {"_job": row.job_id, "_part": row.part_ordinal, "_id": attempt_id}
        ).all()
        correction = correction_for(
            _A(row.state),
            JobState(row.job_state),
            was_taken=taken,
            id_known=row.provider_job_id is not None,
            part_taken=any(other.state != _A.PREPARED.value for other in others),
        )
        if correction is None:
            return None
        sentence = self._correct(
            row, correction, evidence, [o.id for o in others], actor, at_us, next_poll_us
        )
        self.note((row.job_id,), at_us, "correct", sentence)
        return Corrected(correction, sentence)

    def _correct(
        self,
        row: Any,
        correction: Correction,
        evidence: Accepted | NeverArrived,
        others: Sequence[str],
        actor: str,
        at_us: int,
        next_poll_us: int,
    ) -> str:
        match correction, evidence:
            case Correction.FOLLOW, Accepted():
                return self._follow(row, evidence, others, at_us, next_poll_us)
            case ((Correction.CHARGE | Correction.RECHARGE), Accepted()):
                return self._charge(row, correction, evidence, actor, at_us)
            case Correction.GIVE_BACK, NeverArrived():
                return self._give_back(row, evidence, actor, at_us)
            case _:
                raise ValueError(f"{correction} does not follow from {evidence}")

    def _follow(self, row: Any, taken: Accepted, others: Sequence[str], at_us: int, next_poll_us: int) -> str:
        sentence = f"it runs at {row.provider} as {taken.provider_job_id} after all, and is followed"
        for other in others:
            self.end_attempt(other, AttemptEvent.NOT_SENT, at_us, sentence)
        values = _facts(taken) | {"next_poll_us": next_poll_us, "ended_us": None, "reason": None}
        self._move_attempt(row.id, AttemptEvent.TAKEN_AFTER_ALL, values)
        self._reopen_hold(row.id)
        self.move_job(row.job_id, JobEvent.TAKE_UP, at_us, sentence)
        return sentence

    def _reopen_hold(self, attempt_id: str) -> None:
        """Hold again what was given back too early; what a grant has no more of is left to be unplanned."""
        reopened = update(holds).where(
            holds.c.attempt_id == attempt_id, holds.c.state == HoldState.VOIDED.value
        )
        if self._c.execute(reopened.values(state=HoldState.OPEN.value, evidence=None)).rowcount != 1:
            return
        parts = self._still_free(attempt_id)
        self._c.execute(delete(hold_parts).where(hold_parts.c.attempt_id == attempt_id))
        self.hold_credits(attempt_id, parts)
        for part in self._c.execute(CAP_PARTS, {"_id": attempt_id}).all():
            moved = {"_key": part.window_key, "_held": part.amount, "_posted": -(part.settled or 0)}
            self._c.execute(MOVE_WINDOW, moved)
            self._c.execute(SET_PART, {"_id": attempt_id, "_key": part.window_key, "_settled": None})

    def _still_free(self, attempt_id: str) -> list[HoldPart]:
        found = []
        for part in self.credit_parts(attempt_id):
            posted, held = self.balance(part.account)
            if free := min(part.amount, posted - held):
                found.append(HoldPart(part.account, free))
        return found

    def _charge(self, row: Any, correction: Correction, taken: Accepted, actor: str, at_us: int) -> str:
        """Book a run that was thought never to have been taken, or at another cost."""
        cost = taken.cost
        if correction is Correction.CHARGE:
            self._move_attempt(row.id, AttemptEvent.TAKEN_TOO_LATE, _facts(taken))
        else:
            self._c.execute(update(attempts).where(attempts.c.id == row.id).values(**_facts(taken)))
        if row.hold_state is None:
            return f"{row.provider} had taken it as {taken.provider_job_id} after all; it is free"
        before = (row.posted_microusd or 0) - row.refunded_microusd
        evidence = f"{row.provider} had taken it as {taken.provider_job_id} after all"
        self._mirror(row, actor, evidence, at_us)
        named = cost.estimated_cost_microusd
        posted = row.amount_microusd if named is None else named
        number = self._book_again(row, cost, actor, evidence, at_us)
        values = {
            "state": HoldState.POSTED.value,
            "posted_microusd": posted,
            "overrun_microusd": max(0, posted - row.amount_microusd),
            "refunded_microusd": 0,
            "txn_id": number,
            "evidence": evidence,
        }
        self._c.execute(update(holds).where(holds.c.attempt_id == row.id).values(**values))
        held_credits = sum(part.amount for part in self.credit_parts(row.id))
        spent = {
            Measure.COST: posted,
            Measure.OVERAGE: _known(cost.overage_microusd, row.overage_microusd),
            Measure.CREDITS: _known(cost.credits_applied_microcredits, held_credits),
        }
        self._use_caps(row.id, spent | self._amounts(row.id, but=_SPENDING))
        self._add_to_cost(row.job_id, posted - before)
        return f"{evidence}: {Money(posted)} are spent"

    def _mirror(self, row: Any, actor: str, reason: str, at_us: int) -> None:
        """Take back all that is left of what was booked for an attempt."""
        left = self._standing(row.txn_id)
        if row.txn_id is not None and left:
            lines = reversed_entries(Entry(account, amount) for account, amount in left.items())
            self._reverse(row.txn_id, Kind.CORRECTION, lines, row.id, actor, reason, at_us)

    def _book_again(self, row: Any, cost: CostFacts, actor: str, reason: str, at_us: int) -> int | None:
        held = sum(part.amount for part in self.credit_parts(row.id))
        known = CostFacts(
            cost.estimated_cost_microusd,
            _known(cost.credits_applied_microcredits, held),
            _known(cost.overage_microusd, row.overage_microusd),
        )
        parts = self._still_free(row.id)
        _, lines = settle_entries(parts, known, row.provider, overage_held_microusd=row.overage_microusd)
        if not lines:
            return None
        posting = Posting(f"correct:{row.id}", Kind.CORRECTION, lines, reason, actor, attempt_id=row.id)
        return self.book(posting, at_us)

    def _give_back(self, row: Any, evidence: NeverArrived, actor: str, at_us: int) -> str:
        self._move_attempt(row.id, AttemptEvent.NEVER_TAKEN_AFTER_ALL, {"reason": evidence.reason})
        sentence = f"it never arrived ({evidence.reason}): what was written off is given back"
        if row.hold_state is None:
            return sentence
        before = (row.posted_microusd or 0) - row.refunded_microusd
        self._mirror(row, actor, evidence.reason, at_us)
        values = {
            "state": HoldState.VOIDED.value,
            "posted_microusd": None,
            "overrun_microusd": 0,
            "refunded_microusd": 0,
            "txn_id": None,
            "evidence": evidence.reason,
        }
        self._c.execute(update(holds).where(holds.c.attempt_id == row.id).values(**values))
        self._use_caps(row.id, dict.fromkeys(Measure, 0))
        self.expire_grants(at_us)
        self._add_to_cost(row.job_id, -before)
        return sentence

    def _amounts(self, attempt_id: str, *, but: tuple[Measure, ...]) -> dict[Measure, int]:
        rows = self._c.execute(CAP_PARTS, {"_id": attempt_id})
        return {m: row.amount for row in rows if (m := Measure(row.measure)) not in but}

    def _move_attempt(self, attempt_id: str, event: AttemptEvent, values: Mapping[str, Any]) -> None:
        before, after = _ARROWS[event]
        moved = update(attempts).where(attempts.c.id == attempt_id, attempts.c.state == before.value)
        if self._c.execute(moved.values(state=after.value, **values)).rowcount != 1:
            raise ValueError(f"attempt {attempt_id} is no longer {before}")


_ARROWS = {
    AttemptEvent.TAKEN_AFTER_ALL: (_A.NOT_SENT, _A.SUBMITTED),
    AttemptEvent.TAKEN_TOO_LATE: (_A.NOT_SENT, _A.WRITTEN_OFF),
    AttemptEvent.NEVER_TAKEN_AFTER_ALL: (_A.WRITTEN_OFF, _A.NOT_SENT),
}


def _facts(taken: Accepted) -> dict[str, Any]:
    return {
        "provider_job_id": taken.provider_job_id,
        "provider_status": taken.status_word,
        "estimated_cost_microusd": taken.cost.estimated_cost_microusd,
        "credits_applied_microcredits": taken.cost.credits_applied_microcredits,
        "overage_microusd": taken.cost.overage_microusd,
        "raw_reply": taken.raw,
    }


def _known(figure: int | None, otherwise: int) -> int:
    return otherwise if figure is None else figure
