"""What commands ask: pages of jobs, counts by state, stories, doubts."""

from __future__ import annotations

import pytest

from scheduler.core.admission import Pause
from scheduler.core.job import JobRef
from scheduler.core.lifecycle import AttemptState, JobState
from scheduler.ports_store import Store
from tests.support.stores import (
    COST,
    DAY_US,
    NIGHT_KEY,
    NOW_US,
    attempt_in,
    job_in,
    make_batch,
    make_spec,
    priced_jobs,
    receive_jobs,
    tonight,
)


async def list_ids(store: Store, **wanted: object) -> list[int]:
    asked = {"state": None, "backend": None, "batch": None, "after": None, "limit": 100} | wanted
    return [job.job_id for job in await store.read(lambda tx: tx.list_jobs(**asked))]


async def test_pages_follow_each_other_without_gap_or_overlap(store: Store) -> None:
    ids = await store.write(lambda tx: receive_jobs(tx, 7))
    pages, after = [], None
    while page := await list_ids(store, after=after, limit=3):
        pages.append(page)
        after = page[-1]
    assert pages == [ids[:3], ids[3:6], ids[6:]]


async def test_a_list_is_narrowed_by_state_backend_and_batch(store: Store) -> None:
    first = await store.write(lambda tx: receive_jobs(tx, 2))
    local = await store.write(lambda tx: receive_jobs(tx, 1, backend="local:simulator"))
    doubt = await store.write(lambda tx: job_in(tx, JobState.IN_DOUBT))
    assert await list_ids(store, state="waiting") == first + local
    assert await list_ids(store, state="in_doubt") == [doubt]
    assert await list_ids(store, backend="local:simulator") == local
    assert await list_ids(store, batch=1, state="waiting", backend="coda:iqm") == first
    assert await list_ids(store, batch=99) == []


async def test_a_batch_of_one_is_named_by_its_number_alone(store: Store) -> None:
    (one,) = await store.write(lambda tx: tx.receive([make_batch(make_spec("only"))]))
    (many,) = await store.write(lambda tx: tx.receive([make_batch(make_spec("a"), make_spec("b"))]))

    async def name_of(ref: JobRef) -> str | None:
        found = await store.read(lambda tx: tx.find_job(ref))
        return found.name if found else None

    assert await name_of(JobRef(one.batch_id)) == "only"
    assert await name_of(JobRef(one.batch_id, 1)) == "only"
    assert await name_of(JobRef(many.batch_id, 2)) == "b"
    assert await name_of(JobRef(many.batch_id)) is None, "which of the two?"
    assert await name_of(JobRef(many.batch_id, 3)) is None
    assert await name_of(JobRef(99)) is None
    assert len(await store.read(lambda tx: tx.job_ids_of(JobRef(many.batch_id)))) == 2
    assert await store.read(lambda tx: tx.job_ids_of(JobRef(99))) == []
    assert await store.read(lambda tx: tx.latest_batch()) == many.batch_id


async def test_there_is_no_latest_batch_at_first(store: Store) -> None:
    assert await store.read(lambda tx: tx.latest_batch()) is None
    assert await store.read(lambda tx: tx.latest_batches(5)) == []
    assert await store.read(lambda tx: tx.state_counts(0)) == {}


async def test_open_jobs_are_all_counted_and_ended_ones_since_a_time(store: Store) -> None:
    await store.write(lambda tx: [job_in(tx, state) for state in JobState])
    everything = await store.read(lambda tx: tx.state_counts(NOW_US))
    assert everything == {state.value: 1 for state in JobState}
    since = await store.read(lambda tx: tx.state_counts(NOW_US + 1))
    assert set(since) == {"waiting", "admitted", "running", "in_doubt"}


async def test_batches_come_newest_first_with_their_counts(store: Store) -> None:
    await store.write(lambda tx: receive_jobs(tx, 3))
    await store.write(lambda tx: job_in(tx, JobState.COMPLETED))
    newest, older = await store.read(lambda tx: tx.latest_batches(2))
    assert (newest.batch_id, newest.counts, newest.size) == (2, {"completed": 1}, 1)
    assert (older.batch_id, older.counts, older.size) == (1, {"waiting": 3}, 3)
    assert (older.user, older.source, older.created_us) == ("ada", "spool", NOW_US)


async def test_waiting_jobs_are_counted_by_backend_priced_or_not(store: Store) -> None:
    await store.write(lambda tx: receive_jobs(tx, 2))
    await store.write(lambda tx: priced_jobs(tx, 3))
    await store.write(lambda tx: priced_jobs(tx, 1, backend="local:simulator"))
    await store.write(lambda tx: job_in(tx, JobState.RUNNING))
    assert await store.read(lambda tx: tx.waiting_by_backend()) == {"coda:iqm": 5, "local:simulator": 1}


@pytest.mark.parametrize("state", [s for s in JobState if s.value in ("in_doubt", "running", "waiting")])
async def test_jobs_in_a_state_come_oldest_first(store: Store, state: JobState) -> None:
    ids = await store.write(lambda tx: [job_in(tx, state) for _ in range(3)])
    found = await store.read(lambda tx: tx.jobs_in_state(state, 2))
    assert [job.job_id for job in found] == ids[:2]


@pytest.mark.parametrize("state", list(AttemptState))
async def test_a_live_attempt_is_one_that_keeps_others_away(store: Store, state: AttemptState) -> None:
    case = await store.write(lambda tx: attempt_in(tx, state))
    live = await store.read(lambda tx: tx.live_attempt_of(case.job_id))
    gone = {AttemptState.REFUSED, AttemptState.NOT_SENT, AttemptState.FAILED, AttemptState.WRITTEN_OFF}
    assert (live.attempt_id if live else None) == (None if state in gone else case.attempt_id)


async def test_money_in_doubt_is_tonights_open_holds_in_doubt(store: Store) -> None:
    await store.write(lambda tx: [attempt_in(tx, state) for state in AttemptState])
    await store.write(lambda tx: attempt_in(tx, AttemptState.IN_DOUBT))
    assert await store.read(lambda tx: tx.in_doubt_use(NIGHT_KEY)) == 2 * COST
    assert await store.read(lambda tx: tx.in_doubt_use(tonight(now_us=NOW_US + DAY_US).key)) == 0


async def test_a_backend_that_stands_still_is_busy_though_nothing_waits_for_it(store: Store) -> None:
    assert await store.read(lambda tx: tx.busy_backends()) == set()
    for name in ("coda:iqm", "ionq"):
        await store.write(lambda tx, n=name: tx.pause_backend(n, Pause("breaker", "it cost more"), NOW_US))
    assert await store.read(lambda tx: tx.busy_backends()) == {"coda:iqm", "ionq"}
