"""Batches become durable all or nothing, and never twice."""

from __future__ import annotations

import pytest

from scheduler.core.job import JobRef
from scheduler.core.lifecycle import JobEvent, JobState
from scheduler.ports_store import Store
from tests.support.stores import NOW_US, make_batch, make_spec, query


class Broken(Exception):
    pass


async def test_a_new_batch_gets_a_number_and_its_jobs_wait(store: Store) -> None:
    batch = make_batch(make_spec("a"), make_spec("b", shots=7, tags=("x", "y"), project="p", priority=3))
    (received,) = await store.write(lambda tx: tx.receive([batch]))
    assert (received.is_new, received.duplicate) == (True, False)

    ids = await store.read(lambda tx: tx.job_ids_of(JobRef(received.batch_id)))
    second = await store.read(lambda tx: tx.job_record(ids[1]))
    assert [second.name, second.ordinal, second.batch_size] == ["b", 2, 2]
    assert (second.state, second.shots, second.tags) == (JobState.WAITING, 7, ("x", "y"))
    assert (second.project, second.priority, second.user) == ("p", 3, "ada")
    assert second.estimate_microusd is None, "no price is known yet, and unknown is not zero"
    story = await store.read(lambda tx: tx.events_of(ids[0]))
    assert [event.event for event in story] == ["receive"]


async def test_the_same_key_finds_the_first_batch(store: Store) -> None:
    batch = make_batch(make_spec(), key="file 17")
    (first,) = await store.write(lambda tx: tx.receive([batch]))
    (again,) = await store.write(lambda tx: tx.receive([batch]))
    assert (again.batch_id, again.is_new, again.duplicate) == (first.batch_id, False, False)
    assert await store.read(query("SELECT count(*) FROM jobs")) == [(1,)]


async def test_the_same_key_twice_in_one_call_is_one_batch(store: Store) -> None:
    once_more = make_batch(make_spec("x", again=True), key="file 18")
    both = await store.write(lambda tx: tx.receive([once_more, once_more]))
    assert [answer.is_new for answer in both] == [True, False]
    assert len({answer.batch_id for answer in both}) == 1
    assert await store.read(query("SELECT count(*) FROM batches")) == [(1,)]


async def test_the_same_bytes_are_a_duplicate_while_the_first_batch_is_open(store: Store) -> None:
    (first,) = await store.write(lambda tx: tx.receive([make_batch(make_spec(), key="one")]))
    (twin,) = await store.write(lambda tx: tx.receive([make_batch(make_spec(), key="two")]))
    assert (twin.batch_id, twin.is_new, twin.duplicate) == (first.batch_id, False, True)


async def test_two_equal_batches_in_one_call_become_one(store: Store) -> None:
    equal = [make_batch(make_spec(), key=key) for key in ("one", "two")]
    first, twin = await store.write(lambda tx: tx.receive(equal))
    assert (first.is_new, first.duplicate) == (True, False)
    assert (twin.batch_id, twin.is_new, twin.duplicate) == (first.batch_id, False, True)


async def test_another_users_equal_batch_is_another_batch(store: Store) -> None:
    both = [make_batch(make_spec(), user=user) for user in ("ada", "bob")]
    answers = await store.write(lambda tx: tx.receive(both))
    assert [answer.is_new for answer in answers] == [True, True]


async def test_again_queues_equal_bytes_once_more(store: Store) -> None:
    await store.write(lambda tx: tx.receive([make_batch(make_spec(), digest="d")]))
    (more,) = await store.write(lambda tx: tx.receive([make_batch(make_spec(again=True), digest="d")]))
    assert (more.is_new, more.duplicate) == (True, False)


async def test_equal_bytes_are_new_once_the_first_batch_has_ended(store: Store) -> None:
    (first,) = await store.write(lambda tx: tx.receive([make_batch(make_spec(), digest="d")]))
    (job_id,) = await store.read(lambda tx: tx.job_ids_of(JobRef(first.batch_id)))
    await store.write(lambda tx: tx.move_job(job_id, JobEvent.CANCEL, NOW_US, "cancelled"))
    await store.write(lambda tx: tx.mark_published([job_id], NOW_US))
    (second,) = await store.write(lambda tx: tx.receive([make_batch(make_spec(), digest="d")]))
    assert second.is_new
    assert second.batch_id != first.batch_id


async def test_answers_come_in_the_order_of_the_question(store: Store) -> None:
    old = make_batch(make_spec("old"), key="old")
    (known,) = await store.write(lambda tx: tx.receive([old]))
    asked = [make_batch(make_spec("n1"), key="n1"), old, make_batch(make_spec("n2"), key="n2")]
    answers = await store.write(lambda tx: tx.receive(asked))
    assert [answer.ingest_key for answer in answers] == ["n1", "old", "n2"]
    assert answers[1].batch_id == known.batch_id
    assert answers[0].batch_id < answers[2].batch_id


async def test_numbers_are_consecutive_and_a_rolled_back_transaction_gives_them_back(store: Store) -> None:
    def fails(tx) -> None:
        tx.receive([make_batch(make_spec(f"lost {n}")) for n in range(5)])
        raise Broken

    batches = [make_batch(make_spec(f"kept {n}"), make_spec(f"kept {n}b")) for n in range(3)]
    first = await store.write(lambda tx: tx.receive(batches[:1]))
    with pytest.raises(Broken):
        await store.write(fails)
    rest = await store.write(lambda tx: tx.receive(batches[1:]))
    numbers = [answer.batch_id for answer in (*first, *rest)]
    assert numbers == [1, 2, 3]
    ids = await store.read(query("SELECT id FROM jobs ORDER BY id"))
    assert [job_id for (job_id,) in ids] == [1, 2, 3, 4, 5, 6]


async def test_a_circuit_that_many_jobs_share_is_kept_once(store: Store) -> None:
    same = [make_spec(f"shot {n}", code="OPENQASM 3.0;") for n in range(4)]
    await store.write(lambda tx: tx.receive([make_batch(*same)]))
    await store.write(lambda tx: tx.receive([make_batch(make_spec("more", code="OPENQASM 3.0;"))]))
    assert await store.read(query("SELECT count(*) FROM circuits")) == [(1,)]


async def test_no_batch_is_no_work(store: Store) -> None:
    assert await store.write(lambda tx: tx.receive([])) == []
