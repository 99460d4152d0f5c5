"""Open tasks and their ends, and the settlement that closes each hold exactly once."""

from __future__ import annotations

import asyncio
import json

import pytest

from scheduler.core.lifecycle import AttemptState, JobEvent, JobState
from scheduler.core.records import FinishedTask
from scheduler.core.settlement import Settlement, settle
from scheduler.core.task import BIT_0_FIRST, Completed
from scheduler.ports_store import Store
from scheduler.store.tx import StoreTx
from tests.support.stores import (
    COST,
    NOW_US,
    SECOND_US,
    Case,
    accept,
    arm,
    attempt_in,
    attempt_state,
    broken_books,
    finish,
    intend,
    night_books,
    prepare,
    query,
    settle_all,
)

A = AttemptState


async def submitted(store: Store, count: int = 1, **other: int | None) -> list[Case]:
    return await store.write(lambda tx: [attempt_in(tx, A.SUBMITTED, **other) for _ in range(count)])


async def set_due(store: Store, case: Case, at_us: int) -> None:
    await store.write(lambda tx: tx.still_open(case.attempt_id, "queued", at_us))


async def attempt_row(store: Store, case: Case, *columns: str) -> tuple[object, ...]:
    (row,) = await store.read(
        query(f"SELECT {', '.join(columns)} FROM attempts WHERE id = :id", id=case.attempt_id)
    )
    return row


# --------------------------------------------------------------------------------------------- polling


async def test_tasks_come_when_they_are_due_the_longest_first(store: Store) -> None:
    cases = await submitted(store, 3)
    for case, seconds in zip(cases, (30, 10, 20), strict=True):
        await set_due(store, case, NOW_US + seconds * SECOND_US)
    assert await store.read(lambda tx: tx.next_due_us()) == NOW_US + 10 * SECOND_US

    async def due(seconds: int, limit: int = 10, without: frozenset[str] = frozenset()) -> list[str]:
        now_us = NOW_US + seconds * SECOND_US
        return [t.attempt_id for t in await store.read(lambda tx: tx.due_tasks(now_us, limit, without))]

    a, b, c = (case.attempt_id for case in cases)
    assert await due(9) == []
    assert await due(20) == [b, c]
    assert await due(60) == [b, c, a]
    assert await due(60, limit=1) == [b]
    assert await due(60, limit=1, without=frozenset({b})) == [c], "those in hand do not take up the limit"
    next_us = await store.read(lambda tx: tx.next_due_us(frozenset({b})))
    assert next_us == NOW_US + 20 * SECOND_US
    assert await store.read(lambda tx: tx.next_due_us(frozenset({a, b, c}))) is None


async def test_an_open_task_carries_what_the_poll_needs(store: Store) -> None:
    (case,) = await submitted(store)
    task = await store.read(lambda tx: tx.open_task(case.attempt_id))
    assert task is not None
    assert (task.job_id, task.provider_job_id) == (case.job_id, f"p-{case.attempt_id}")
    assert (task.sent_us, task.polls, task.poll_failures) == (NOW_US, 0, 0)
    assert (task.request.attempt_id, task.request.device) == (case.attempt_id, "iqm")


@pytest.mark.parametrize("state", [s for s in AttemptState if s is not A.SUBMITTED])
async def test_only_a_submitted_attempt_is_an_open_task(store: Store, state: AttemptState) -> None:
    case = await store.write(lambda tx: attempt_in(tx, state))
    await store.write(lambda tx: tx.still_open(case.attempt_id, "running", NOW_US))
    await store.write(lambda tx: tx.poll_failed(case.attempt_id, "503", NOW_US))
    assert await store.read(lambda tx: tx.open_task(case.attempt_id)) is None
    assert await store.read(lambda tx: tx.due_tasks(NOW_US + SECOND_US, 10, frozenset())) == []
    assert await store.read(lambda tx: tx.next_due_us()) is None
    assert (await attempt_row(store, case, "polls"))[0] == (
        1 if state in {A.FINISHED, A.SETTLED, A.FAILED} else 0
    )


async def test_failed_polls_are_counted_until_one_succeeds(store: Store) -> None:
    (case,) = await submitted(store)
    for failures in (1, 2, 3):
        await store.write(lambda tx: tx.poll_failed(case.attempt_id, "503", NOW_US))
        assert await attempt_row(store, case, "poll_failures", "reason") == (failures, "503")
    found = await store.read(lambda tx: tx.oldest_troubled_polls(3, 10))
    assert [(job.job_id, why) for job, why in found] == [(case.job_id, "503")]
    assert await store.read(lambda tx: tx.oldest_troubled_polls(4, 10)) == []

    await store.write(lambda tx: tx.still_open(case.attempt_id, "running", NOW_US))
    row = await attempt_row(store, case, "polls", "poll_failures", "reason", "provider_status")
    assert row == (4, 0, None, "running")


async def test_counts_are_kept_once_with_what_the_provider_said(store: Store) -> None:
    (case,) = await submitted(store)
    task = await store.read(lambda tx: tx.open_task(case.attempt_id))
    report = Completed(({"00": 40, "11": 60}, {"1": 7}), BIT_0_FIRST, '{"raw": 1}', (("seed", "7"),))
    told = await asyncio.gather(
        *(store.write(lambda tx: tx.finish_completed(task, report, NOW_US + 9)) for _ in range(5))
    )
    assert sum(told) == 1
    (result,) = await store.read(lambda tx: tx.results_of(case.job_id))
    assert json.loads(result.counts_json) == [{"00": 40, "11": 60}, {"1": 7}]
    assert result.shots_returned == (100, 7)
    assert (result.bit_order, result.raw, result.facts) == (BIT_0_FIRST, '{"raw": 1}', (("seed", "7"),))
    assert await attempt_row(store, case, "state", "ended_us") == ("finished", NOW_US + 9)


# ------------------------------------------------------------------------------------------- settlement


async def settled_job(store: Store, case: Case) -> tuple[JobState, int | None, int, int]:
    await store.write(lambda tx: finish(tx, case))
    assert await store.write(settle_all) == 1
    assert await store.read(broken_books) == []
    job = await store.read(lambda tx: tx.job_record(case.job_id))
    books = await store.read(night_books)
    return job.state, job.cost_microusd, books.held, books.posted


@pytest.mark.parametrize(
    ("cost", "posted", "overrun"),
    [
        (COST, COST, 0),
        (COST - 1, COST - 1, 0),  # cheaper: the rest is given back
        (0, 0, 0),  # a zero-amount posting still closes the hold
        (COST + 500_000, COST + 500_000, 500_000),  # dearer: recorded, never refused
        (None, COST, 0),  # nobody said: the whole hold counts as spent
    ],
)
async def test_a_hold_is_posted_with_what_is_known(
    store: Store, cost: int | None, posted: int, overrun: int
) -> None:
    (case,) = await submitted(store, cost=cost)
    assert await settled_job(store, case) == (JobState.COMPLETED, posted, 0, posted)
    holds = await store.read(query("SELECT state, posted_microusd, overrun_microusd FROM holds"))
    assert holds == [("posted", posted, overrun)]


async def test_an_overrun_may_go_beyond_the_cap_and_then_nothing_more_fits(store: Store) -> None:
    await store.write(lambda tx: arm(tx, COST))
    (case,) = await submitted(store, cost=3 * COST)
    await settled_job(store, case)
    assert (await store.read(night_books)).free == -2 * COST


async def test_a_hold_of_zero_is_closed_too(store: Store) -> None:
    (case,) = await submitted(store, hold=0, cost=0)
    assert await settled_job(store, case) == (JobState.COMPLETED, 0, 0, 0)
    assert await store.read(query("SELECT state FROM holds")) == [("posted",)]


@pytest.mark.parametrize(("cost", "said"), [(None, None), (0, 0), (77, 77)])
async def test_a_free_task_has_no_hold_and_says_what_is_known(
    store: Store, cost: int | None, said: int | None
) -> None:
    (case,) = await submitted(store, hold=None, cost=cost)
    assert await settled_job(store, case) == (JobState.COMPLETED, said, 0, 0)


@pytest.mark.parametrize(("never_runs", "state"), [(False, JobState.FAILED), (True, JobState.REJECTED)])
async def test_a_failed_task_stays_charged(store: Store, never_runs: bool, state: JobState) -> None:
    (case,) = await submitted(store)
    assert await store.write(
        lambda tx: tx.finish_failed(case.attempt_id, "calibration", "{}", never_runs, NOW_US)
    )
    assert await store.write(settle_all) == 1
    job = await store.read(lambda tx: tx.job_record(case.job_id))
    assert (job.state, job.reason, job.cost_microusd) == (state, "calibration", COST)
    assert (await store.read(night_books)).posted == COST
    assert await store.read(lambda tx: tx.results_of(case.job_id)) == []


async def test_a_failed_task_is_tried_again_as_often_as_was_asked_and_paid_each_time(
    store: Store,
) -> None:
    case = await store.write(lambda tx: attempt_in(tx, A.FAILED, retries=2))
    for tries in (1, 2):
        job = await store.read(lambda tx: tx.job_record(case.job_id))
        assert (job.state, job.ended_us) == (JobState.WAITING, None)
        assert (await store.read(night_books)).posted == tries * COST
        await store.write(lambda tx: again(tx, case.job_id, failure="calibration"))
    job = await store.read(lambda tx: tx.job_record(case.job_id))
    assert (job.state, job.reason, job.cost_microusd) == (JobState.FAILED, "calibration", 3 * COST)
    assert (await store.read(night_books)).posted == 3 * COST
    assert await store.read(broken_books) == []


async def test_a_job_that_is_cancelled_between_its_tries_costs_what_they_cost(store: Store) -> None:
    case = await store.write(lambda tx: attempt_in(tx, A.FAILED, retries=2))
    await store.write(lambda tx: tx.move_job(case.job_id, JobEvent.CANCEL, NOW_US, "cancelled by ada"))
    job = await store.read(lambda tx: tx.job_record(case.job_id))
    assert (job.state, job.cost_microusd) == (JobState.CANCELLED, COST)


async def test_a_failed_task_is_not_tried_again_when_its_job_was_to_be_cancelled(store: Store) -> None:
    case = await store.write(lambda tx: attempt_in(tx, A.SUBMITTED, retries=2))
    await store.write(lambda tx: tx.ask_cancel(case.job_id, NOW_US))
    await store.write(lambda tx: finish(tx, case, failure="calibration"))
    await store.write(settle_all)
    assert (await store.read(lambda tx: tx.job_record(case.job_id))).state is JobState.FAILED


async def test_a_failed_task_that_can_never_run_is_not_tried_again(store: Store) -> None:
    case = await store.write(lambda tx: attempt_in(tx, A.SUBMITTED, retries=2))
    await store.write(lambda tx: tx.finish_failed(case.attempt_id, "too deep", "{}", True, NOW_US))
    await store.write(settle_all)
    assert (await store.read(lambda tx: tx.job_record(case.job_id))).state is JobState.REJECTED


def again(tx: StoreTx, job_id: int, *, failure: str) -> None:
    (case,) = prepare(tx, [job_id])
    intend(tx, case)
    accept(tx, case)
    finish(tx, case, failure=failure)
    settle_all(tx)


async def test_settling_twice_is_settling_once(store: Store) -> None:
    (case,) = await submitted(store)
    await store.write(lambda tx: finish(tx, case))
    tasks = await store.read(lambda tx: tx.finished_tasks(10))
    pairs = [(task, settle(task.hold_microusd, task.cost)) for task in tasks]
    for _ in range(3):
        await store.write(lambda tx: tx.settle_attempts(pairs, NOW_US))
    assert (await store.read(night_books)).posted == COST
    assert await store.read(broken_books) == []
    events = await store.read(lambda tx: tx.events_of(case.job_id))
    assert [event.event for event in events].count("complete") == 1


@pytest.mark.parametrize("state", [s for s in AttemptState if s is not A.FINISHED])
async def test_only_a_finished_task_is_settled(store: Store, state: AttemptState) -> None:
    case = await store.write(lambda tx: attempt_in(tx, state))
    (task_row,) = await store.read(lambda tx: tx.attempts_of(case.job_id))
    before = await store.read(lambda tx: (night_books(tx), tx.job_record(case.job_id)))
    task = FinishedTask(case.attempt_id, case.job_id, "coda:iqm", "p", COST, task_row.cost, None, False)
    assert await store.read(lambda tx: tx.finished_tasks(10)) == []
    await store.write(lambda tx: tx.settle_attempts([(task, Settlement(1, 0, 1, "a mistake"))], NOW_US))
    assert await store.read(attempt_state(case.attempt_id)) == state
    assert await store.read(lambda tx: (night_books(tx), tx.job_record(case.job_id))) == before


async def test_a_settlement_that_fails_settles_nobody(store: Store) -> None:
    first, second = await submitted(store, 2)
    await store.write(lambda tx: [finish(tx, case) for case in (first, second)])
    tasks = await store.read(lambda tx: tx.finished_tasks(10))

    def settle_the_first(tx: object) -> None:
        tx.settle_attempts([(tasks[0], settle(COST, tasks[0].cost))], NOW_US)  # type: ignore[attr-defined]
        raise RuntimeError("the power went")

    with pytest.raises(RuntimeError, match="the power went"):
        await store.write(settle_the_first)
    assert len(await store.read(lambda tx: tx.finished_tasks(10))) == 2
    assert await store.read(broken_books) == []
