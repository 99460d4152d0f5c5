"""Refunds and corrections: the books agree after each, and the evidence wins over what a person had said."""

from __future__ import annotations

import pytest

from scheduler.core.corrections import Correction, Refund
from scheduler.core.ledger import Account, AccountKind
from scheduler.core.lifecycle import AttemptState, JobState
from scheduler.core.task import NeverArrived
from scheduler.errors import NeedsPerson, UsageError
from scheduler.ports_store import Store
from scheduler.store.tx import StoreTx
from tests.support.books import (
    CREDIT,
    Paid,
    accept,
    broken,
    finish,
    give_credits,
    intend_paid,
    paid_in,
    prepare_again,
    prepare_paid,
    reply,
    settle_all,
    spending,
    write_off,
)
from tests.support.stores import COST, NOW_US, SECOND_US, query

LATER_US = NOW_US + 3600 * SECOND_US


def used(tx: StoreTx) -> dict[str, tuple[int, int, int]]:
    """Held, used and excused of every cap's window, by the cap's name."""
    rows = query("SELECT cap, held, posted, excused FROM cap_windows")(tx)
    return {cap: (held, posted, excused) for cap, held, posted, excused in rows}


def grant_balance(tx: StoreTx, number: int = 1) -> tuple[int, int]:
    return tx.balance(Account(AccountKind.GRANT, str(number)))


def state_of(tx: StoreTx, paid: Paid) -> tuple[str, str]:
    rows = query(
        "SELECT a.state, j.state FROM attempts a JOIN jobs j ON j.id = a.job_id WHERE a.id = :id",
        id=paid.attempt_id,
    )(tx)
    return rows[0][0], rows[0][1]


def settled_with_everything(tx: StoreTx) -> Paid:
    """A run that cost $1.30, took two credits and $0.30 beyond them."""
    give_credits(tx, 10 * CREDIT)
    paid = prepare_paid(tx)
    wanted = spending(job_id=paid.job_id, overage_microusd=COST, microcredits=2 * CREDIT, tx=tx)
    intend_paid(tx, paid, wanted)
    accept(tx, paid, reply(paid.attempt_id, COST, 2 * CREDIT, 300_000))
    finish(tx, paid)
    settle_all(tx)
    return paid


def cost_of(tx: StoreTx, paid: Paid) -> int | None:
    return tx.job_record(paid.job_id).cost_microusd


# ------------------------------------------------------------------------------------------ refunds


async def test_a_job_costs_what_is_left_after_refunds(store: Store) -> None:
    paid = await store.write(settled_with_everything)
    told = []
    for refund in (Refund(microusd=300_000), Refund()):
        await store.write(lambda tx, r=refund: tx.refund_attempt(paid.attempt_id, r, "ada", "off", NOW_US))
        told.append(await store.read(lambda tx: cost_of(tx, paid)))
    assert told == [COST - 300_000, 0]


async def test_a_whole_refund_takes_everything_back_but_shots_and_tasks(store: Store) -> None:
    paid = await store.write(settled_with_everything)
    assert await store.read(used) == {
        "night": (0, COST, 0),
        "people": (0, 2 * CREDIT, 0),
        "beyond": (0, 300_000, 0),
        "runs": (0, 1, 0),
    }
    sentence = await store.write(
        lambda tx: tx.refund_attempt(paid.attempt_id, Refund(), "ada", "the QPU was off", NOW_US)
    )
    assert sentence == "refunded $1.30 and 2 credits: the QPU was off"
    assert await store.read(used) == {
        "night": (0, 0, 0),
        "people": (0, 0, 0),
        "beyond": (0, 0, 0),
        "runs": (0, 1, 0),
    }
    assert await store.read(grant_balance) == (10 * CREDIT, 0)
    assert await store.read(broken) == []
    with pytest.raises(UsageError, match="refunded already"):
        await store.write(lambda tx: tx.refund_attempt(paid.attempt_id, Refund(), "ada", "again", NOW_US))


async def test_partial_refunds_add_up_and_never_exceed_what_was_booked(store: Store) -> None:
    paid = await store.write(settled_with_everything)
    for refund in (Refund(microusd=100_000), Refund(microcredits=CREDIT), Refund(microusd=200_000)):
        await store.write(
            lambda tx, r=refund: tx.refund_attempt(paid.attempt_id, r, "ada", "goodwill", NOW_US)
        )
        assert await store.read(broken) == []
    books = await store.read(used)
    assert (books["night"], books["people"], books["beyond"]) == (
        (0, COST - 300_000, 0),
        (0, CREDIT, 0),
        (0, 0, 0),
    )
    for refund, message in ((Refund(microusd=COST), "1.00"), (Refund(microcredits=2 * CREDIT), "1 credits")):
        with pytest.raises(UsageError, match=message):
            await store.write(
                lambda tx, r=refund: tx.refund_attempt(paid.attempt_id, r, "ada", "more", NOW_US)
            )
    reversed_by = await store.read(query("SELECT count(*) FROM txns WHERE kind = 'refund' AND reverses > 0"))
    assert reversed_by == [(3,)]


async def test_a_refund_into_an_expired_grant_expires_with_it(store: Store) -> None:
    def work(tx: StoreTx) -> Paid:
        give_credits(tx, 10 * CREDIT, expires_us=LATER_US)
        return paid_in(tx, AttemptState.SETTLED, microcredits=2 * CREDIT)

    paid = await store.write(work)
    await store.write(lambda tx: tx.expire_grants(LATER_US))
    assert await store.read(grant_balance) == (0, 0)
    await store.write(lambda tx: tx.refund_attempt(paid.attempt_id, Refund(), "ada", "late", LATER_US))
    assert await store.read(grant_balance) == (0, 0)
    assert await store.read(lambda tx: broken(tx, now_us=LATER_US)) == []


async def test_what_was_not_charged_cannot_be_refunded(store: Store) -> None:
    paid = await store.write(lambda tx: paid_in(tx, AttemptState.IN_DOUBT))
    with pytest.raises(NeedsPerson, match="not charged"):
        await store.write(lambda tx: tx.refund_attempt(paid.attempt_id, Refund(), "ada", "why", NOW_US))
    assert await store.read(lambda tx: tx.last_charged_attempt(paid.job_id)) is None


@pytest.mark.parametrize("amount", [0, -1])
def test_a_refund_of_nothing_is_none(amount: int) -> None:
    with pytest.raises(ValueError, match="gives nothing back"):
        Refund(microusd=amount)


# -------------------------------------------------------------------------------------- corrections


async def correct(store: Store, paid: Paid, **facts: int | None) -> Correction | None:
    taken = reply(paid.attempt_id, **facts)
    corrected = await store.write(
        lambda tx: tx.correct_attempt(paid.attempt_id, taken, "nightshot", NOW_US, NOW_US)
    )
    return None if corrected is None else corrected.correction


async def test_a_job_that_still_waits_is_followed_instead_of_paid_again(store: Store) -> None:
    def work(tx: StoreTx) -> Paid:
        give_credits(tx, 10 * CREDIT)
        return paid_in(tx, AttemptState.NOT_SENT, microcredits=2 * CREDIT)

    paid = await store.write(work)
    assert await store.read(grant_balance) == (10 * CREDIT, 0)
    assert await correct(store, paid, microcredits=2 * CREDIT) is Correction.FOLLOW
    assert await store.read(lambda tx: state_of(tx, paid)) == (AttemptState.SUBMITTED, JobState.RUNNING)
    assert await store.read(grant_balance) == (10 * CREDIT, 2 * CREDIT)
    assert (await store.read(used))["night"] == (COST, 0, 0)
    assert await store.read(broken) == []

    await store.write(lambda tx: finish(tx, paid))
    await store.write(settle_all)
    assert await store.read(grant_balance) == (8 * CREDIT, 0)
    assert (await store.read(used))["night"] == (0, COST, 0)
    assert await store.read(broken) == []


async def test_an_attempt_prepared_meanwhile_makes_way(store: Store) -> None:
    paid = await store.write(lambda tx: paid_in(tx, AttemptState.NOT_SENT))
    second = await store.write(lambda tx: prepare_again(tx, paid.job_id))
    assert await correct(store, paid) is Correction.FOLLOW
    assert await store.read(lambda tx: state_of(tx, second)) == (AttemptState.NOT_SENT, JobState.RUNNING)
    assert await store.read(broken) == []


@pytest.mark.parametrize("state", ["submitting", "submitted", "settled"])
async def test_a_run_that_was_paid_twice_is_charged_twice(store: Store, state: str) -> None:
    first = await store.write(lambda tx: paid_in(tx, AttemptState.NOT_SENT))

    def send_again(tx: StoreTx) -> Paid:
        second = prepare_again(tx, first.job_id)
        intend_paid(tx, second, spending(job_id=second.job_id))
        if state != "submitting":
            accept(tx, second)
        if state == "settled":
            finish(tx, second)
            settle_all(tx)
        return second

    second = await store.write(send_again)
    assert await correct(store, first, cost=2 * COST) is Correction.CHARGE
    assert await store.read(lambda tx: state_of(tx, first)[0]) == AttemptState.WRITTEN_OFF
    assert await store.read(lambda tx: state_of(tx, second)[0]) == state
    held, posted, _ = (await store.read(used))["night"]
    assert held + posted == 3 * COST, "both runs count against the night"
    assert await store.read(broken) == []
    assert await correct(store, first, cost=2 * COST) is None, "once is enough"


async def test_what_comes_too_late_may_stand_above_a_cap_and_is_excused(store: Store) -> None:
    first = await store.write(lambda tx: paid_in(tx, AttemptState.NOT_SENT))

    def fill(tx: StoreTx) -> None:
        second = prepare_again(tx, first.job_id)
        intend_paid(tx, second, spending(job_id=second.job_id))
        tx._c.exec_driver_sql(f"UPDATE cap_windows SET limit_amount = {COST} WHERE cap = 'night'")

    await store.write(fill)
    assert await correct(store, first) is Correction.CHARGE
    assert (await store.read(used))["night"] == (COST, COST, COST)
    assert await store.read(broken) == []


async def test_credits_that_others_used_meanwhile_are_booked_as_unplanned(store: Store) -> None:
    def work(tx: StoreTx) -> Paid:
        give_credits(tx, 3 * CREDIT)
        lost = paid_in(tx, AttemptState.NOT_SENT, microcredits=2 * CREDIT)
        paid_in(tx, AttemptState.SETTLED, microcredits=2 * CREDIT)
        again = prepare_again(tx, lost.job_id)
        intend_paid(tx, again, spending(job_id=again.job_id))
        return lost

    lost = await store.write(work)
    assert await correct(store, lost, microcredits=2 * CREDIT) is Correction.CHARGE
    assert await store.read(grant_balance) == (0, 0)
    unplanned = await store.read(lambda tx: tx.balance(Account(AccountKind.UNPLANNED, "coda")))
    assert unplanned == (-CREDIT, 0)
    assert await store.read(broken) == []


async def test_a_written_off_attempt_is_charged_what_it_really_cost(store: Store) -> None:
    def work(tx: StoreTx) -> Paid:
        give_credits(tx, 10 * CREDIT)
        return paid_in(tx, AttemptState.WRITTEN_OFF, microcredits=2 * CREDIT)

    paid = await store.write(work)
    assert await store.read(grant_balance) == (8 * CREDIT, 0)
    assert await correct(store, paid, cost=1_000_000, microcredits=CREDIT) is Correction.RECHARGE
    assert await store.read(grant_balance) == (9 * CREDIT, 0)
    books = await store.read(used)
    assert (books["night"], books["people"]) == ((0, 1_000_000, 0), (0, CREDIT, 0))
    assert await store.read(query("SELECT cost_microusd FROM jobs")) == [(1_000_000,)]
    assert await store.read(broken) == []
    assert await correct(store, paid, cost=1_000_000, microcredits=CREDIT) is None


async def test_a_written_off_attempt_that_never_arrived_is_given_back(store: Store) -> None:
    def work(tx: StoreTx) -> Paid:
        give_credits(tx, 10 * CREDIT)
        return paid_in(tx, AttemptState.WRITTEN_OFF, microcredits=2 * CREDIT)

    paid = await store.write(work)
    corrected = await store.write(
        lambda tx: tx.correct_attempt(
            paid.attempt_id, NeverArrived("the provider has no such job"), "ada", NOW_US, NOW_US
        )
    )
    assert corrected is not None
    assert corrected.correction is Correction.GIVE_BACK
    assert await store.read(lambda tx: state_of(tx, paid)) == (AttemptState.NOT_SENT, JobState.FAILED)
    assert await store.read(grant_balance) == (10 * CREDIT, 0)
    assert set((await store.read(used)).values()) == {(0, 0, 0)}
    assert await store.read(broken) == []


@pytest.mark.parametrize(
    "state", sorted(set(AttemptState) - {AttemptState.NOT_SENT, AttemptState.WRITTEN_OFF})
)
async def test_no_other_attempt_is_ever_corrected(store: Store, state: AttemptState) -> None:
    paid = await store.write(lambda tx: paid_in(tx, state))
    before = await store.read(used)
    assert await correct(store, paid) is None
    assert await store.read(used) == before


async def test_an_id_that_is_another_attempts_corrects_nothing(store: Store) -> None:
    paid = await store.write(lambda tx: paid_in(tx, AttemptState.NOT_SENT))
    other = await store.write(lambda tx: paid_in(tx, AttemptState.SUBMITTED))
    taken = reply(other.attempt_id)
    assert (
        await store.write(lambda tx: tx.correct_attempt(paid.attempt_id, taken, "x", NOW_US, NOW_US)) is None
    )


async def test_a_correction_survives_an_earlier_refund(store: Store) -> None:
    def work(tx: StoreTx) -> Paid:
        give_credits(tx, 10 * CREDIT)
        paid = paid_in(tx, AttemptState.IN_DOUBT, microcredits=2 * CREDIT)
        write_off(tx, paid)
        tx.refund_attempt(paid.attempt_id, Refund(microcredits=CREDIT), "ada", "goodwill", NOW_US)
        return paid

    paid = await store.write(work)
    assert await correct(store, paid, microcredits=2 * CREDIT) is Correction.RECHARGE
    assert await store.read(grant_balance) == (8 * CREDIT, 0)
    assert await store.read(broken) == []


async def test_a_job_costs_what_its_corrected_attempts_cost(store: Store) -> None:
    paid = await store.write(lambda tx: paid_in(tx, AttemptState.WRITTEN_OFF))
    told = [await store.read(lambda tx: cost_of(tx, paid))]
    await correct(store, paid, cost=900_000)
    told.append(await store.read(lambda tx: cost_of(tx, paid)))
    await store.write(
        lambda tx: tx.refund_attempt(paid.attempt_id, Refund(microusd=100_000), "ada", "off", NOW_US)
    )
    told.append(await store.read(lambda tx: cost_of(tx, paid)))
    assert told == [COST, 900_000, 800_000]


async def test_a_job_that_was_paid_twice_costs_both(store: Store) -> None:
    first = await store.write(lambda tx: paid_in(tx, AttemptState.NOT_SENT))

    def again(tx: StoreTx) -> None:
        second = prepare_again(tx, first.job_id)
        intend_paid(tx, second, spending(job_id=second.job_id))
        accept(tx, second)
        finish(tx, second)
        settle_all(tx)

    await store.write(again)
    assert await store.read(lambda tx: cost_of(tx, first)) == COST
    await correct(store, first)
    assert await store.read(lambda tx: cost_of(tx, first)) == 2 * COST
