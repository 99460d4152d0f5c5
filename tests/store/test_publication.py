"""Ended jobs whose files are not written yet, and batches that end with their last job."""

from __future__ import annotations

import pytest

from scheduler.core.job import JobRef
from scheduler.core.lifecycle import JOB_ENDED, AttemptState, JobEvent, JobState
from scheduler.ports_store import Store
from tests.support.stores import (
    COST,
    NOW_US,
    attempt_in,
    job_in,
    make_batch,
    make_spec,
    price_jobs,
    query,
    receive_jobs,
)


@pytest.mark.parametrize("state", list(JobState))
async def test_only_ended_jobs_are_to_be_published(store: Store, state: JobState) -> None:
    job_id = await store.write(lambda tx: job_in(tx, state))
    ended = await store.read(lambda tx: tx.ended_unpublished(10))
    assert [e.job.job_id for e in ended] == ([job_id] if state in JOB_ENDED else [])
    closed = await store.write(lambda tx: tx.mark_published([job_id], NOW_US))
    assert len(closed) == (1 if state in JOB_ENDED else 0)
    assert await store.read(lambda tx: tx.ended_unpublished(10)) == []
    published = await store.read(query("SELECT count(*) FROM jobs WHERE published_us IS NOT NULL"))
    assert published == [(1 if state in JOB_ENDED else 0,)]


async def test_an_ended_job_brings_all_that_goes_into_its_files(store: Store) -> None:
    case = await store.write(lambda tx: attempt_in(tx, AttemptState.SETTLED))
    (ended,) = await store.read(lambda tx: tx.ended_unpublished(10))
    assert (ended.job.job_id, ended.batch_name) == (case.job_id, "sweep")
    assert ended.code.startswith("OPENQASM 3.0;")
    assert [(a.attempt_id, a.hold_microusd, a.hold_state) for a in ended.attempts] == [
        (case.attempt_id, COST, "posted")
    ]
    assert [r.shots_returned for r in ended.results] == [(100,)]
    assert ended.quote_text is not None
    assert ended.quote_text.startswith("$1.30 from price list")


async def test_the_latest_quote_is_the_one_that_is_told(store: Store) -> None:
    (job_id,) = await store.write(receive_jobs)
    for cost in (1_000_000, 2_500_000):
        await store.write(lambda tx, c=cost: price_jobs(tx, [job_id], c))
    assert (await store.read(lambda tx: tx.quote_of(job_id)) or "").startswith("$2.50")


async def test_a_batch_ends_with_its_last_job(store: Store) -> None:
    (received,) = await store.write(
        lambda tx: tx.receive([make_batch(make_spec("a"), make_spec("b"), make_spec("c"))])
    )
    ids = await store.read(lambda tx: tx.job_ids_of(JobRef(received.batch_id)))
    for job_id in ids[:2]:
        await store.write(lambda tx, i=job_id: tx.move_job(i, JobEvent.CANCEL, NOW_US, "no"))
        assert await store.write(lambda tx, i=job_id: tx.mark_published([i], NOW_US)) == []
    assert await store.read(lambda tx: tx.open_batch_counts([received.batch_id])) == {
        received.batch_id: {"cancelled": 2, "waiting": 1}
    }
    await store.write(lambda tx: tx.move_job(ids[2], JobEvent.REJECT, NOW_US, "no"))
    assert await store.write(lambda tx: tx.mark_published(ids, NOW_US)) == [received.batch_id]
    assert await store.write(lambda tx: tx.mark_published(ids, NOW_US)) == [], "it ends once"
    assert await store.read(lambda tx: tx.open_batch_counts([received.batch_id])) == {}


async def test_at_most_as_many_as_asked_for_oldest_first(store: Store) -> None:
    ids = await store.write(lambda tx: [job_in(tx, JobState.CANCELLED) for _ in range(3)])
    ended = await store.read(lambda tx: tx.ended_unpublished(2))
    assert [e.job.job_id for e in ended] == ids[:2]
