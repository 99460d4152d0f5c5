"""Paid attempts with holds, caps and grants, made through the very methods that the stages call."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from scheduler.core.audit import AuditReport
from scheduler.core.caps import Cap, Measure, Period, Scope, Spender, Use, windows_of
from scheduler.core.ledger import Shortage, burn_down
from scheduler.core.lifecycle import AttemptEvent, AttemptState, JobEvent
from scheduler.core.records import NewGrant
from scheduler.core.settlement import settle
from scheduler.core.spending import Spending
from scheduler.core.task import BIT_0_FIRST, Accepted, Completed, CostFacts
from scheduler.store.tx import StoreTx
from tests.support.stores import BACKEND, COST, NOW_US, SECOND_US, priced_jobs

CREDIT = 1_000_000
PROVIDER = "coda"
CAPS = (
    Cap("night", Measure.COST, Scope.EVERYONE, Period.NIGHT, 1_000 * COST),
    Cap("people", Measure.CREDITS, Scope.USER, Period.MONTH, 1_000 * CREDIT),
    Cap("beyond", Measure.OVERAGE, Scope.EVERYONE, Period.DAY, 1_000 * COST),
    Cap("runs", Measure.TASKS, Scope.EVERYONE, Period.TOTAL, 1_000),
)
_numbers = itertools.count(1)


class NoRoom(Exception):
    """A hold was refused; raising it rolls the transaction back, as the stage does."""


@dataclass(frozen=True, slots=True)
class Paid:
    """A paid attempt and its job."""

    job_id: int
    attempt_id: str


def spending(
    *,
    job_id: int,
    cost_microusd: int = COST,
    overage_microusd: int = 0,
    microcredits: int = 0,
    tx: StoreTx | None = None,
    caps: Sequence[Cap] = CAPS,
    user: str = "ada",
    now_us: int = NOW_US,
) -> Spending:
    """What a job would hold; credits come from the grants that cover it. Raises NoRoom."""
    spender = Spender(user, None, BACKEND, 1, job_id)
    parts = burn_down(tx.grants_of(PROVIDER), spender, microcredits, now_us) if tx and microcredits else ()
    if isinstance(parts, Shortage):
        raise NoRoom("credits")
    use = Use(cost_microusd, overage_microusd, microcredits, shots=100)
    return Spending(use, tuple(windows_of(caps, spender, now_us)), parts, overage_microusd > 0)


def prepare_paid(tx: StoreTx, *, cost_microusd: int = COST, name: str = "paid") -> Paid:
    (job_id,) = priced_jobs(tx, 1, cost_microusd)
    return prepare_again(tx, job_id, name=name)


def prepare_again(tx: StoreTx, job_id: int, *, name: str = "paid") -> Paid:
    """Another attempt for a job that waits."""
    attempt_id = f"{name}-{next(_numbers)}"
    assert tx.prepare_attempts([(tx.candidate_of(job_id), attempt_id)], NOW_US) == [job_id]
    return Paid(job_id, attempt_id)


def intend_paid(tx: StoreTx, paid: Paid, wanted: Spending) -> None:
    """Intent and hold, all or nothing. Raises NoRoom."""
    assert tx.commit_intent(
        paid.attempt_id, NOW_US, NOW_US + 60 * SECOND_US, wanted.accept_overage, paid=True
    )
    refused = tx.take_hold(paid.attempt_id, wanted, NOW_US)
    if refused is not None:
        raise NoRoom(refused)


def reply(
    attempt_id: str, cost: int | None = COST, microcredits: int | None = 0, overage: int | None = 0
) -> Accepted:
    return Accepted(f"p-{attempt_id}", "queued", CostFacts(cost, microcredits, overage), "{}")


def accept(tx: StoreTx, paid: Paid, taken: Accepted | None = None) -> None:
    assert tx.attempt_accepted(paid.attempt_id, taken or reply(paid.attempt_id), NOW_US)
    assert tx.move_job(paid.job_id, JobEvent.ACCEPTED, NOW_US, "accepted")


def finish(tx: StoreTx, paid: Paid, *, failure: str | None = None) -> None:
    task = tx.open_task(paid.attempt_id)
    assert task is not None
    if failure is None:
        assert tx.finish_completed(task, Completed(({"00": 100},), BIT_0_FIRST), NOW_US)
    else:
        assert tx.finish_failed(paid.attempt_id, failure, "{}", False, NOW_US)


def settle_all(tx: StoreTx) -> None:
    tasks = tx.finished_tasks(1000)
    tx.settle_attempts([(task, settle(task.hold_microusd, task.cost)) for task in tasks], NOW_US)


def lose(tx: StoreTx, paid: Paid) -> None:
    assert tx.lose_sight(paid.attempt_id, NOW_US, "the connection broke")
    assert tx.move_job(paid.job_id, JobEvent.LOSE_SIGHT, NOW_US, "in doubt")


def say_not_sent(tx: StoreTx, paid: Paid) -> None:
    """What `resolve --as not-sent` does."""
    assert tx.end_attempt(paid.attempt_id, AttemptEvent.NEVER_ARRIVED, NOW_US, "ada looked")
    assert tx.move_job(paid.job_id, JobEvent.SEND_BACK, NOW_US, "it waits again")


def write_off(tx: StoreTx, paid: Paid) -> None:
    assert tx.write_off(paid.attempt_id, NOW_US, "ada", "nobody will ever know")
    assert tx.move_job(paid.job_id, JobEvent.FAIL, NOW_US, "given up", cost_microusd=COST)


def paid_in(
    tx: StoreTx,
    state: AttemptState,
    *,
    microcredits: int = 0,
    overage: int = 0,
    taken: Accepted | None = None,
    caps: Sequence[Cap] = CAPS,
) -> Paid:
    """A paid attempt brought into `state` the usual way."""
    paid = prepare_paid(tx)
    if state is AttemptState.PREPARED:
        return paid
    wanted = spending(
        job_id=paid.job_id, overage_microusd=overage, microcredits=microcredits, tx=tx, caps=caps
    )
    intend_paid(tx, paid, wanted)
    match state:
        case AttemptState.SUBMITTING:
            pass
        case AttemptState.REFUSED:
            assert tx.end_attempt(paid.attempt_id, AttemptEvent.REFUSE, NOW_US, "no")
            assert tx.move_job(paid.job_id, JobEvent.SEND_BACK, NOW_US, "back")
        case AttemptState.NOT_SENT:
            lose(tx, paid)
            say_not_sent(tx, paid)
        case AttemptState.IN_DOUBT:
            lose(tx, paid)
        case AttemptState.WRITTEN_OFF:
            lose(tx, paid)
            write_off(tx, paid)
        case _:
            accept(tx, paid, taken or reply(paid.attempt_id, COST, microcredits, 0))
    if state in (AttemptState.FINISHED, AttemptState.SETTLED, AttemptState.FAILED):
        finish(tx, paid, failure="the provider failed it" if state is AttemptState.FAILED else None)
    if state in (AttemptState.SETTLED, AttemptState.FAILED):
        settle_all(tx)
    return paid


def give_credits(
    tx: StoreTx,
    microcredits: int = 100 * CREDIT,
    *,
    expires_us: int | None = None,
    users: tuple[str, ...] = (),
) -> int:
    grant = NewGrant(
        provider=PROVIDER,
        label="autumn",
        amount_microcredits=microcredits,
        priority=0,
        effective_us=0,
        expires_us=expires_us,
        users=users,
        projects=(),
        backends=(),
    )
    return tx.add_grant(grant, "ada", "the contract", NOW_US)


def every_state(tx: StoreTx) -> None:
    """A ledger in which an attempt is in every state there is, with credits, overage and more."""
    give_credits(tx)
    for state in AttemptState:
        paid_in(tx, state, microcredits=2 * CREDIT)
    over = prepare_paid(tx)
    intend_paid(tx, over, spending(job_id=over.job_id, overage_microusd=COST))
    accept(tx, over, reply(over.attempt_id, COST, 0, COST))
    finish(tx, over)
    settle_all(tx)


def audit(tx: StoreTx, *, full: bool = True, now_us: int = NOW_US) -> AuditReport:
    return tx.audit(full, now_us)


def broken(tx: StoreTx, *, full: bool = True, now_us: int = NOW_US) -> list[str]:
    """The codes of the invariants that do not hold."""
    return [finding.code for finding in tx.audit(full, now_us).findings]
