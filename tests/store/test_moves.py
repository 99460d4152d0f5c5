"""A job moves along its arrows and no others, and every move is written into its story."""

from __future__ import annotations

import pytest

from scheduler.core.lifecycle import JOB_ARROWS, JOB_ENDED, JobEvent, JobState
from scheduler.ports_store import Store
from tests.support.stores import NOW_US, job_in

LATER_US = NOW_US + 5


@pytest.mark.parametrize("state", list(JobState))
async def test_a_job_moves_along_its_arrows_only(store: Store, state: JobState) -> None:
    for event in JobEvent:
        await move_along(store, state, event)


async def move_along(store: Store, state: JobState, event: JobEvent) -> None:
    job_id = await store.write(lambda tx: job_in(tx, state))
    before = await store.read(lambda tx: (tx.job_record(job_id), tx.events_of(job_id)))
    won = await store.write(lambda tx: tx.move_job(job_id, event, LATER_US, "a reason"))
    after = await store.read(lambda tx: (tx.job_record(job_id), tx.events_of(job_id)))
    target = JOB_ARROWS.get((state, event))
    if target is None:
        assert not won, f"'{event}' left {state}"
        assert after == before
        return
    assert won, f"'{event}' did not leave {state}"
    assert (after[0].state, after[0].reason) == (target, "a reason")
    assert after[0].ended_us == (LATER_US if target in JOB_ENDED else None)
    told = [(e.at_us, e.event, e.sentence) for e in after[1][len(before[1]) :]]
    assert told == [(LATER_US, event.value, "a reason")]


@pytest.mark.parametrize("state", list(JobState))
async def test_many_jobs_move_at_once_and_those_that_cannot_stay(store: Store, state: JobState) -> None:
    job_ids = await store.write(lambda tx: [job_in(tx, state), job_in(tx, JobState.ADMITTED)])
    moved = await store.write(lambda tx: tx.move_jobs(job_ids, JobEvent.SEND_BACK, "again"))
    can = (state, JobEvent.SEND_BACK) in JOB_ARROWS
    assert moved == (job_ids if can else job_ids[1:])
    assert await store.write(lambda tx: tx.move_jobs([], JobEvent.SEND_BACK, "again")) == []


async def test_a_job_that_ends_without_a_figure_keeps_what_is_unknown(store: Store) -> None:
    job_id = await store.write(lambda tx: job_in(tx, JobState.RUNNING))
    await store.write(lambda tx: tx.move_job(job_id, JobEvent.FAIL, LATER_US, "failed"))
    assert (await store.read(lambda tx: tx.job_record(job_id))).cost_microusd is None


async def test_a_job_that_ends_with_a_figure_keeps_it(store: Store) -> None:
    job_id = await store.write(lambda tx: job_in(tx, JobState.RUNNING))
    await store.write(lambda tx: tx.move_job(job_id, JobEvent.COMPLETE, LATER_US, "ok", cost_microusd=0))
    assert (await store.read(lambda tx: tx.job_record(job_id))).cost_microusd == 0


async def test_a_job_that_is_cancelled_cost_nothing_and_that_is_known(store: Store) -> None:
    job_id = await store.write(lambda tx: job_in(tx, JobState.WAITING))
    await store.write(lambda tx: tx.move_job(job_id, JobEvent.CANCEL, LATER_US, "cancelled by ada"))
    assert (await store.read(lambda tx: tx.job_record(job_id))).cost_microusd == 0


async def test_nobody_moves_a_job_that_is_not_there(store: Store) -> None:
    assert not await store.write(lambda tx: tx.move_job(4711, JobEvent.CANCEL, NOW_US, "why"))
