"""Refunds: new transactions that name what they take back, and the caps with them. Nothing is edited.

What came back is never asked whether there is room for it. The same moves serve corrections.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import BigInteger, bindparam, case, func, select, update

from scheduler.core.caps import Measure
from scheduler.core.corrections import Refund, TooMuch, refund_entries, standing
from scheduler.core.ledger import Account, Asset, Entry, Kind, Posting
from scheduler.core.lifecycle import HoldState
from scheduler.core.money import Credits, Money
from scheduler.errors import NeedsPerson, UsageError
from scheduler.store.budget import BudgetRows
from scheduler.store.schema import attempts, cap_parts, cap_windows, entries, holds, jobs, txns
from scheduler.store.submission import Submission

_W = cap_windows.c
#: An attempt with its job's state and its hold, if it has one.
ATTEMPT = (
    select(
        attempts.c.id,
        attempts.c.job_id,
        attempts.c.part_ordinal,
        attempts.c.state,
        attempts.c.posts,
        attempts.c.provider,
        attempts.c.provider_job_id,
        jobs.c.state.label("job_state"),
        holds.c.state.label("hold_state"),
        holds.c.amount_microusd,
        holds.c.overage_microusd,
        holds.c.posted_microusd,
        holds.c.refunded_microusd,
        holds.c.txn_id,
    )
    .select_from(
        attempts.join(jobs, jobs.c.id == attempts.c.job_id).join(
            holds, holds.c.attempt_id == attempts.c.id, isouter=True
        )
    )
    .where(attempts.c.id == bindparam("_id"))
)
_HELD, _POSTED = (_W[name] + bindparam(f"_{name}", type_=BigInteger) for name in ("held", "posted"))
_ABOVE = _HELD + _POSTED - _W.limit_amount
MOVE_WINDOW = (
    update(cap_windows)
    .where(_W.key == bindparam("_key"))
    .values(held=_HELD, posted=_POSTED, excused=case((_ABOVE > 0, _ABOVE), else_=0))
)
CAP_PARTS = (
    select(cap_parts.c.window_key, cap_parts.c.amount, cap_parts.c.settled, _W.measure)
    .join(cap_windows, _W.key == cap_parts.c.window_key)
    .where(cap_parts.c.attempt_id == bindparam("_id"))
    .order_by(cap_parts.c.window_key)
)
SET_PART = (
    update(cap_parts)
    .where(cap_parts.c.attempt_id == bindparam("_id"), cap_parts.c.window_key == bindparam("_key"))
    .values(settled=bindparam("_settled", type_=cap_parts.c.settled.type))
)
_LEFT_OF = select(entries.c.account_id, entries.c.amount).where(
    entries.c.txn_id.in_(
        select(txns.c.id).where((txns.c.id == bindparam("_txn")) | (txns.c.reverses == bindparam("_txn")))
    )
)
_REVERSALS_OF = select(func.count()).where(txns.c.reverses == bindparam("_txn"))
_LAST_CHARGED = (
    select(attempts.c.id)
    .join(holds, holds.c.attempt_id == attempts.c.id)
    .where(attempts.c.job_id == bindparam("_job"), holds.c.state == HoldState.POSTED.value)
    .order_by(attempts.c.part_ordinal.desc(), attempts.c.ordinal.desc())
    .limit(1)
)


class Refunds(Submission, BudgetRows):
    def last_charged_attempt(self, job_id: int) -> str | None:
        """The attempt of a job that was charged last; None when nothing was."""
        return self._c.execute(_LAST_CHARGED, {"_job": job_id}).scalar()

    def refund_attempt(self, attempt_id: str, refund: Refund, actor: str, reason: str, at_us: int) -> str:
        """Book what the provider gave back for a charged attempt; returns a sentence.

        Raises NeedsPerson when nothing was charged, UsageError when less is left than is to be given back.
        """
        row = self._c.execute(ATTEMPT, {"_id": attempt_id}).first()
        if row is None or row.hold_state != HoldState.POSTED.value:
            raise NeedsPerson(f"attempt {attempt_id} was not charged: there is nothing to refund")
        left = self._standing(row.txn_id)
        cost_left = row.posted_microusd - row.refunded_microusd
        overage_left = sum(n for a, n in left.items() if a.asset is Asset.USD and n > 0)
        credits_left = sum(n for a, n in left.items() if a.asset is Asset.CREDIT and n > 0)
        cost = cost_left if refund.everything else refund.microusd or 0
        back = credits_left if refund.everything else refund.microcredits or 0
        if cost > cost_left:
            raise UsageError(f"only {Money(cost_left)} of its cost are left to refund")
        if not cost and not back:
            raise UsageError("everything of it was refunded already")
        overage = overage_left if refund.everything else min(cost, overage_left)
        try:
            lines = refund_entries(left, overage, back)
        except TooMuch as error:
            raise UsageError(str(error)) from None
        if lines:
            self._reverse(row.txn_id, Kind.REFUND, lines, attempt_id, actor, reason, at_us)
        refunded = holds.c.refunded_microusd + cost
        self._c.execute(
            update(holds).where(holds.c.attempt_id == attempt_id).values(refunded_microusd=refunded)
        )
        self._add_to_cost(row.job_id, -cost)
        used = {Measure.COST: cost, Measure.OVERAGE: overage, Measure.CREDITS: back}
        self._use_caps(attempt_id, {m: -amount for m, amount in used.items()}, relative=True)
        # What came back to a grant whose time is over goes with the rest of it.
        self.expire_grants(at_us)
        sentence = f"refunded {Money(cost)} and {Credits(back)} credits: {reason}"
        self.note((row.job_id,), at_us, "refund", f"{sentence} ({actor})")
        return sentence

    def _add_to_cost(self, job_id: int, change_microusd: int) -> None:
        """What a job cost is what is booked for all its attempts, whenever it was booked."""
        cost = func.coalesce(jobs.c.cost_microusd, 0) + bindparam("_change", type_=BigInteger)
        self._c.execute(
            update(jobs).where(jobs.c.id == job_id).values(cost_microusd=cost), {"_change": change_microusd}
        )

    def _standing(self, txn_id: int | None) -> dict[Account, int]:
        if txn_id is None:
            return {}
        rows = self._c.execute(_LEFT_OF, {"_txn": txn_id})
        return standing(Entry(Account.parse(row.account_id), row.amount) for row in rows)

    def _reverse(
        self,
        txn_id: int,
        kind: Kind,
        lines: tuple[Entry, ...],
        attempt_id: str,
        actor: str,
        reason: str,
        at_us: int,
    ) -> None:
        number = 1 + self._c.execute(_REVERSALS_OF, {"_txn": txn_id}).scalar_one()
        posting = Posting(f"{kind}:{txn_id}:{number}", kind, lines, reason, actor, attempt_id=attempt_id)
        self.book(posting, at_us, reverses=txn_id)

    def _use_caps(self, attempt_id: str, used: Mapping[Measure, int], *, relative: bool = False) -> None:
        """Set (or move) what a closed hold used of its caps; a measure that is not named stays as it is."""
        for part in self._c.execute(CAP_PARTS, {"_id": attempt_id}).all():
            change = used.get(Measure(part.measure))
            if change is None or part.settled is None:
                continue
            settled = max(0, part.settled + change) if relative else change
            moved = {"_key": part.window_key, "_held": 0, "_posted": settled - part.settled}
            self._c.execute(MOVE_WINDOW, moved)
            self._c.execute(SET_PART, {"_id": attempt_id, "_key": part.window_key, "_settled": settled})
