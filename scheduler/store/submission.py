"""Attempts and their money: intent, hold, outcome. The rules that may never break live in these statements.

A hold is reserved by one conditional update (reading the sum first and writing later granted 1,959 of 1,000);
every update names the state it expects, and a row count of 0 means somebody else moved it.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import bindparam, func, insert, select, update

from scheduler.core.breaker import Phase
from scheduler.core.breaker import gate as breaker_gate
from scheduler.core.caps import Measure
from scheduler.core.ledger import Kind, Posting, settle_entries
from scheduler.core.lifecycle import (
    AttemptEvent,
    AttemptState,
    HoldState,
    JobState,
    advance_attempt,
    attempt_states_before,
)
from scheduler.core.records import LostAttempt, PreparedAttempt
from scheduler.core.settlement import Held
from scheduler.core.spending import Spending
from scheduler.core.task import BY_A_PERSON, Accepted, CostFacts
from scheduler.core.timing import iso
from scheduler.errors import ImpossibleArrow
from scheduler.store.admission import (
    REQUEST_COLUMNS,
    TERMS_COLUMNS,
    Admission,
    request_of,
    terms_of,
    with_circuit,
)
from scheduler.store.audit import AuditRows
from scheduler.store.caps import CapRows
from scheduler.store.intents import IntentRows
from scheduler.store.ledger import LedgerRows
from scheduler.store.moves import in_states, is_state
from scheduler.store.schema import attempts, holds, jobs, pauses

_A = AttemptState
_ID = attempts.c.id == bindparam("_id")
_PREPARED = (
    with_circuit(
        select(
            attempts.c.id, attempts.c.job_id, attempts.c.estimate_microusd, *REQUEST_COLUMNS, *TERMS_COLUMNS
        ).select_from(attempts.join(jobs, jobs.c.id == attempts.c.job_id))
    )
    .where(is_state(attempts.c.state, _A.PREPARED))
    .order_by(attempts.c.prepared_us, attempts.c.id)
    .limit(bindparam("_limit"))
)
_INTENT = (
    update(attempts)
    .where(_ID, attempts.c.state == _A.PREPARED.value, attempts.c.posts == 0)
    .values(
        state=_A.SUBMITTING.value,
        posts=1,
        paid=bindparam("_paid"),
        sent_us=bindparam("_at"),
        send_not_after_us=bindparam("_not_after"),
        accept_overage=bindparam("_accept_overage"),
    )
)
_HOLD = insert(holds)
_GATE = (
    select(
        attempts.c.state,
        attempts.c.backend,
        attempts.c.send_not_after_us,
        jobs.c.cancel_asked_us,
        jobs.c.on_hold_by,
        pauses.c.sentence,
        pauses.c.until_us,
    )
    .select_from(
        attempts.join(jobs, jobs.c.id == attempts.c.job_id).join(
            pauses, pauses.c.backend.in_([attempts.c.backend, attempts.c.provider]), isouter=True
        )
    )
    .where(_ID)
    # A provider and its backend may both be paused: the one that lasts is told, whatever the other says.
    .order_by(pauses.c.until_us.is_not(None), pauses.c.until_us.desc())
)
_ACCEPT = (
    update(attempts)
    .where(_ID, attempts.c.state.in_([_A.SUBMITTING.value, _A.IN_DOUBT.value]))
    .values(
        state=_A.SUBMITTED.value,
        provider_job_id=bindparam("_provider_job_id"),
        provider_status=bindparam("_status"),
        estimated_cost_microusd=bindparam("_cost"),
        credits_applied_microcredits=bindparam("_credits"),
        overage_microusd=bindparam("_overage"),
        next_poll_us=bindparam("_next_poll"),
        # What came before (a gateway's 502) stays as evidence when only a person has the id.
        raw_reply=func.coalesce(
            func.nullif(bindparam("_raw", type_=attempts.c.raw_reply.type), ""), attempts.c.raw_reply
        ),
        reason=None,
    )
)
_DOUBT_AGAIN = (
    update(attempts)
    .where(_ID, attempts.c.state == _A.SUBMITTED.value, attempts.c.provider_status == BY_A_PERSON)
    .values(
        state=_A.IN_DOUBT.value,
        provider_job_id=None,
        provider_status=None,
        poll_failures=0,
        reason=bindparam("_reason"),
    )
)
_TAKEN_ID = select(attempts.c.id).where(
    attempts.c.provider == select(attempts.c.provider).where(_ID).scalar_subquery(),
    attempts.c.provider_job_id == bindparam("_provider_job_id"),
    attempts.c.id != bindparam("_id"),
)
#: One statement for each way an attempt can end or be lost, guarded by the states the arrow may leave.
_END = {
    event: update(attempts)
    .where(_ID, attempts.c.state.in_(sorted(attempt_states_before(event))))
    .values(
        state=advance_attempt(next(iter(attempt_states_before(event))), event).value,
        reason=bindparam("_reason"),
        raw_reply=func.coalesce(
            func.nullif(bindparam("_raw", type_=attempts.c.raw_reply.type), ""), attempts.c.raw_reply
        ),
        **({} if event is AttemptEvent.LOSE_SIGHT else {"ended_us": bindparam("_at")}),
    )
    for event in (
        AttemptEvent.REFUSE,
        AttemptEvent.NOT_SENT,
        AttemptEvent.NEVER_ARRIVED,
        AttemptEvent.LOSE_SIGHT,
        AttemptEvent.WRITE_OFF,
    )
}
_COSTS_NOTHING = frozenset({AttemptEvent.REFUSE, AttemptEvent.NOT_SENT, AttemptEvent.NEVER_ARRIVED})
_OPEN_HOLD = (
    select(holds, attempts.c.provider)
    .join(attempts, attempts.c.id == holds.c.attempt_id)
    .where(holds.c.attempt_id == bindparam("_id"), holds.c.state == HoldState.OPEN.value)
)
_CLOSE_HOLD = (
    update(holds)
    .where(holds.c.attempt_id == bindparam("_id"), holds.c.state == HoldState.OPEN.value)
    .values(
        state=bindparam("_state"),
        posted_microusd=bindparam("_posted", type_=holds.c.posted_microusd.type),
        overrun_microusd=holds.c.overrun_microusd + bindparam("_overrun"),
        evidence=bindparam("_evidence"),
    )
)
_RAISE_HOLD = (
    update(holds)
    .where(
        holds.c.attempt_id == bindparam("_id"),
        holds.c.state == HoldState.OPEN.value,
        holds.c.amount_microusd == bindparam("_held"),
    )
    .values(
        amount_microusd=bindparam("_cost"),
        overrun_microusd=holds.c.overrun_microusd + bindparam("_cost") - bindparam("_held"),
    )
)
_BOOKED_HOLD = update(holds).where(holds.c.attempt_id == bindparam("_id")).values(txn_id=bindparam("_txn"))
_CANCEL_ASKED = select(jobs.c.cancel_asked_us).where(jobs.c.id == bindparam("_id"))
_LOST = (
    select(attempts.c.id, attempts.c.job_id, attempts.c.backend, attempts.c.state)
    .where(in_states(attempts.c.state, {_A.SUBMITTING, _A.IN_DOUBT}))
    .order_by(attempts.c.sent_us, attempts.c.id)
    .limit(bindparam("_limit"))
)


def _closing(attempt_id: str, state: HoldState, evidence: str) -> dict[str, Any]:
    return {"_id": attempt_id, "_state": state.value, "_evidence": evidence, "_posted": None, "_overrun": 0}


class Submission(Admission, CapRows, LedgerRows, IntentRows, AuditRows):
    def prepared_attempts(self, limit: int, without: frozenset[str]) -> list[PreparedAttempt]:
        rows = self._run(_PREPARED, {"_limit": limit + len(without)})
        found = [
            PreparedAttempt(r.id, r.job_id, r.backend, r.estimate_microusd, request_of(r, r.id), terms_of(r))
            for r in rows
            if r.id not in without
        ]
        return found[:limit]

    def commit_intent(
        self, attempt_id: str, at_us: int, not_after_us: int, accept_overage: bool, *, paid: bool
    ) -> bool:
        values = {
            "_id": attempt_id,
            "_at": at_us,
            "_not_after": not_after_us,
            "_accept_overage": accept_overage,
            "_paid": paid,
        }
        return self._run(_INTENT, values).rowcount == 1

    def take_hold(self, attempt_id: str, spending: Spending, at_us: int) -> str | None:
        """Reserve what an attempt may use; a sentence says what has no room, and then all is rolled back."""
        row = {
            "attempt_id": attempt_id,
            "amount_microusd": spending.use.cost_microusd,
            "overage_microusd": spending.use.overage_microusd,
            "state": HoldState.OPEN.value,
        }
        self._run(_HOLD, row)
        blocked = self.reserve_caps(attempt_id, spending.windows, spending.use, at_us)
        if blocked is not None:
            return f"cap {blocked.cap.name} has no room left for it"
        if not self.hold_credits(attempt_id, spending.credit_parts):
            return "the credits it was promised went to another job"
        return None

    def send_refusal(self, attempt_id: str, now_us: int, paid: bool) -> str | None:
        row = self._run(_GATE, {"_id": attempt_id}).first()
        if row is None or row.state != _A.SUBMITTING.value:
            return f"attempt {attempt_id} is no longer ours to send"
        if row.cancel_asked_us is not None:
            return "cancelled before it was sent"
        if row.on_hold_by is not None:
            return f"put on hold by {row.on_hold_by} before it was sent"
        if now_us > row.send_not_after_us:
            return f"it was to be sent before {iso(row.send_not_after_us)} and it is later than that"
        if row.sentence is not None and (row.until_us is None or row.until_us > now_us):
            return f"{row.backend} was paused: {row.sentence}"
        state = self.breaker_states().get(row.backend)
        # A probe under way (half-open) is the one attempt that may go.
        if state is not None and state.phase is Phase.OPEN and (broken := breaker_gate(state, now_us)):
            return f"the breaker of {row.backend} opened: {broken}"
        arming = self.arming() if paid else None
        if paid and (arming is None or not arming.night_limit_microusd):
            return "paid submission was disarmed"
        if paid and (stop := self.audit_stop()) is not None:
            return stop.sentence
        return None

    def attempt_accepted(self, attempt_id: str, outcome: Accepted, next_poll_us: int) -> bool:
        known = {"_id": attempt_id, "_provider_job_id": outcome.provider_job_id}
        if self._run(_TAKEN_ID, known).first() is not None:
            return False
        values = known | {
            "_status": outcome.status_word,
            "_cost": outcome.cost.estimated_cost_microusd,
            "_credits": outcome.cost.credits_applied_microcredits,
            "_overage": outcome.cost.overage_microusd,
            "_next_poll": next_poll_us,
            "_raw": outcome.raw,
        }
        return self._run(_ACCEPT, values).rowcount == 1

    def doubt_again(self, attempt_id: str, reason: str) -> bool:
        return self._run(_DOUBT_AGAIN, {"_id": attempt_id, "_reason": reason}).rowcount == 1

    def cover_cost(self, attempt_id: str, cost_microusd: int) -> int:
        held = self._run(_OPEN_HOLD, {"_id": attempt_id}).first()
        if held is None or held.amount_microusd >= cost_microusd:
            return 0
        excess = cost_microusd - held.amount_microusd
        values = {"_id": attempt_id, "_held": held.amount_microusd, "_cost": cost_microusd}
        if self._run(_RAISE_HOLD, values).rowcount != 1:
            return 0
        # Not guarded by the caps: the money is spent, and a cap that does not know of it would let more go.
        self.raise_caps(attempt_id, Measure.COST, cost_microusd)
        return int(excess)

    def held_of(self, attempt_id: str) -> Held | None:
        hold = self._run(_OPEN_HOLD, {"_id": attempt_id}).first()
        if hold is None:
            return None
        on_grants = [part.amount for part in self.credit_parts(attempt_id)]
        found = [
            *([sum(on_grants)] if on_grants else []),
            *self.reserved_in_caps(attempt_id, Measure.CREDITS),
        ]
        return Held(max(found, default=None), hold.overage_microusd)

    def end_attempt(
        self, attempt_id: str, event: AttemptEvent, at_us: int, reason: str, raw: str = ""
    ) -> bool:
        if event not in _COSTS_NOTHING:
            raise ImpossibleArrow(f"'{event}' does not end an attempt for nothing: its hold would be lost")
        if not self._end(attempt_id, event, at_us, reason, raw):
            return False
        self.void_hold(attempt_id, reason)
        return True

    def lose_sight(self, attempt_id: str, at_us: int, reason: str, raw: str = "") -> bool:
        return self._end(attempt_id, AttemptEvent.LOSE_SIGHT, at_us, reason, raw)

    def write_off(self, attempt_id: str, at_us: int, actor: str, reason: str) -> bool:
        if not self._end(attempt_id, AttemptEvent.WRITE_OFF, at_us, reason, ""):
            return False
        self.post_hold(attempt_id, CostFacts(), Kind.WRITE_OFF, actor, reason, at_us)
        return True

    def _end(self, attempt_id: str, event: AttemptEvent, at_us: int, reason: str, raw: str) -> bool:
        values: dict[str, Any] = {"_id": attempt_id, "_reason": reason, "_raw": raw}
        if event is not AttemptEvent.LOSE_SIGHT:
            values["_at"] = at_us
        return self._run(_END[event], values).rowcount == 1

    def void_hold(self, attempt_id: str, evidence: str) -> None:
        """Give an open hold back, once; a free attempt has none."""
        values = _closing(attempt_id, HoldState.VOIDED, evidence)
        if self._run(_CLOSE_HOLD, values).rowcount == 1:
            self.release_caps(attempt_id)
            self.unhold_credits(attempt_id)

    def post_hold(
        self, attempt_id: str, cost: CostFacts, kind: Kind | None, actor: str, evidence: str, at_us: int
    ) -> None:
        """Close an open hold with what was used, once; a figure nobody named counts as all that was held."""
        held = self._run(_OPEN_HOLD, {"_id": attempt_id}).first()
        if held is None:
            return
        named = cost.estimated_cost_microusd
        posted = held.amount_microusd if named is None else named
        values = _closing(attempt_id, HoldState.POSTED, evidence)
        values |= {"_posted": posted, "_overrun": max(0, posted - held.amount_microusd)}
        if self._run(_CLOSE_HOLD, values).rowcount != 1:
            return
        parts = self.credit_parts(attempt_id)
        self.unhold_credits(attempt_id)
        found, lines = settle_entries(parts, cost, held.provider, overage_held_microusd=held.overage_microusd)
        if lines:
            posting = Posting(
                f"settle:{attempt_id}", kind or found, lines, evidence, actor, attempt_id=attempt_id
            )
            number = self.book(posting, at_us)
            self._run(_BOOKED_HOLD, {"_id": attempt_id, "_txn": number})
        self.settle_caps(
            attempt_id,
            {
                Measure.COST: posted,
                Measure.OVERAGE: cost.overage_microusd,
                Measure.CREDITS: cost.credits_applied_microcredits,
            },
        )

    def lost_attempts(self, limit: int = 1000) -> list[LostAttempt]:
        rows = self._run(_LOST, {"_limit": limit})
        return [LostAttempt(r.id, r.job_id, r.backend, AttemptState(r.state)) for r in rows]

    def cancel_asked(self, job_id: int) -> bool:
        return self._run(_CANCEL_ASKED, {"_id": job_id}).scalar() is not None

    def wait_behind(self, job_id: int, code: str, until_us: int | None, sentence: str) -> None:
        waiting = jobs.c.state == JobState.WAITING.value
        values = {"wait_code": code, "wait_until_us": until_us, "reason": sentence}
        self._c.execute(update(jobs).where(jobs.c.id == job_id, waiting).values(**values))
