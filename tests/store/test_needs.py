"""Jobs that come after others: counted in the transaction that ends one, so that no pass looks at them."""

from __future__ import annotations

import random
from typing import Any

import pytest

from scheduler.core.job import Earlier, JobRef
from scheduler.core.lifecycle import JobEvent, JobState
from scheduler.core.records import ReceivedBatch
from scheduler.core.waits import Before, Rule
from scheduler.ports_store import Store
from tests.support.stores import (
    BACKEND,
    NOW_US,
    job_in,
    make_batch,
    make_spec,
    price_jobs,
    query,
    receive_jobs,
)

OK, ANY = Rule.OK, Rule.ANY


def here(ordinal: int, rule: Rule = OK) -> Earlier:
    return Earlier(rule, f"job {ordinal}", ordinal)


def queued(text: str, rule: Rule = OK, line: int = 7) -> Earlier:
    return Earlier(rule, text, ref=JobRef.parse(text), line=line)


def batch_of(*afters: tuple[Earlier, ...], **other: Any) -> ReceivedBatch:
    return make_batch(*(make_spec(f"job {n}", after=after) for n, after in enumerate(afters, 1)), **other)


async def receive(store: Store, *afters: tuple[Earlier, ...]) -> list[int]:
    def work(tx: Any) -> list[int]:
        (received,) = tx.receive([batch_of(*afters)])
        ids: list[int] = tx.job_ids_of(JobRef(received.batch_id))
        price_jobs(tx, ids)
        return ids

    return await store.write(work)


async def heads(store: Store) -> list[int]:
    return [job.job_id for job in await store.read(lambda tx: tx.queue_heads(BACKEND, NOW_US, 100))]


async def end(store: Store, job_id: int, event: JobEvent = JobEvent.CANCEL) -> None:
    assert await store.write(lambda tx: tx.move_job(job_id, event, NOW_US, f"it was {event}"))


async def complete(store: Store, job_id: int) -> None:
    """Along the arrows that lead there; its attempt is not what this is about."""
    await store.write(lambda tx: tx.move_job(job_id, JobEvent.TAKE_UP, NOW_US, "taken") and None)
    await end(store, job_id, JobEvent.COMPLETE)


async def columns(store: Store, job_id: int) -> tuple[int, int]:
    (row,) = await store.read(query("SELECT parked, waiting_on FROM jobs WHERE id = :id", id=job_id))
    return row  # type: ignore[return-value]


async def test_a_job_is_no_head_until_all_that_it_comes_after_have_completed(store: Store) -> None:
    a, b, c = await receive(store, (), (), (here(1), here(2)))
    assert await heads(store) == [a, b]
    assert await columns(store, c) == (2, 2)
    await complete(store, a)
    assert await columns(store, c) == (2, 1)
    assert await heads(store) == [b]
    await complete(store, b)
    assert await columns(store, c) == (0, 0)
    assert await heads(store) == [c]


async def test_many_come_after_one(store: Store) -> None:
    first, *others = await receive(store, (), *[(here(1),)] * 1_100)
    assert await heads(store) == [first]
    await complete(store, first)
    assert len(await heads(store)) == 100
    assert await store.read(query("SELECT COUNT(*) FROM jobs WHERE parked = 0 AND waiting_on = 0")) == [
        (len(others) + 1,)
    ]


@pytest.mark.parametrize("event", [JobEvent.CANCEL, JobEvent.REJECT])
async def test_any_end_is_enough_where_that_was_asked(store: Store, event: JobEvent) -> None:
    a, b = await receive(store, (), (here(1, ANY),))
    await end(store, a, event)
    assert await heads(store) == [b]
    assert await store.read(lambda tx: tx.broken_needs(10)) == []


async def test_an_end_that_was_not_asked_for_breaks_it_and_it_is_told_once(store: Store) -> None:
    a, b, c = await receive(store, (), (here(1),), (here(2),))
    await end(store, a)
    assert await heads(store) == []
    broken = await store.read(lambda tx: tx.broken_needs(10))
    assert broken == [(b, Before("1.1", JobState.CANCELLED, OK))]
    await end(store, b)
    await store.write(lambda tx: tx.close_needs(b))
    assert [job_id for job_id, _ in await store.read(lambda tx: tx.broken_needs(10))] == [c]


async def test_what_it_waits_for_is_named_with_its_state(store: Store) -> None:
    earlier = await store.write(lambda tx: job_in(tx, JobState.IN_DOUBT))
    assert earlier
    _, c = await receive(store, (), (here(1), queued("1", ANY)))
    found = await store.read(lambda tx: tx.needs_of(c))
    assert found == (Before("1", JobState.IN_DOUBT, ANY), Before("2.1", JobState.WAITING, OK))
    assert found[0].sentence == "1 is in doubt and has to end"


async def test_a_whole_batch_is_each_of_its_jobs(store: Store) -> None:
    ids = await store.write(lambda tx: receive_jobs(tx, 3))
    (job,) = await receive(store, (queued("1"),))
    assert await columns(store, job) == (2, 3)
    for earlier in ids:
        await complete(store, earlier)
    assert await heads(store) == [job]


async def test_what_has_completed_already_is_not_waited_for(store: Store) -> None:
    await store.write(lambda tx: job_in(tx, JobState.COMPLETED) and None)
    await store.write(lambda tx: job_in(tx, JobState.FAILED) and None)
    (job,) = await receive(store, (queued("1"), queued("2", ANY)))
    assert await columns(store, job) == (0, 0)
    assert job in await heads(store)


async def test_a_job_that_failed_behind_the_question_breaks_the_entry_at_once(store: Store) -> None:
    await store.write(lambda tx: job_in(tx, JobState.FAILED) and None)
    (job,) = await receive(store, (queued("1"),))
    assert [broken for broken, _ in await store.read(lambda tx: tx.broken_needs(10))] == [job]


async def test_a_batch_and_one_of_its_jobs_are_the_stricter_of_both(store: Store) -> None:
    first, _second = await store.write(lambda tx: receive_jobs(tx, 2))
    (job,) = await receive(store, (queued("1.1"), queued("1", ANY)))
    assert await columns(store, job) == (2, 2)
    await end(store, first)
    assert [broken for broken, _ in await store.read(lambda tx: tx.broken_needs(10))] == [job]


async def test_what_names_no_job_or_a_failed_one_is_refused_with_its_line(store: Store) -> None:
    await store.write(lambda tx: job_in(tx, JobState.FAILED) and None)
    await store.write(lambda tx: receive_jobs(tx, 2) and None)
    batches = {
        key: batch_of((), (queued(text, rule),), key=key)
        for key, text, rule in [
            ("no batch", "99", OK),
            ("no job", "2.3", ANY),
            ("failed", "1", OK),
            ("failed, any", "1", ANY),
            ("good", "2", OK),
        ]
    }
    found = await store.read(lambda tx: tx.refused_needs(list(batches.values())))
    assert found == {
        "no batch": (7, "after: there is no job 99"),
        "no job": (7, "after: there is no job 2.3"),
        "failed": (
            7,
            "after: 1 is failed and will never complete, so this job could never start; "
            "'any:1' only waits for its end",
        ),
    }


async def test_what_was_received_before_is_not_refused_when_it_comes_again(store: Store) -> None:
    (earlier,) = await store.write(receive_jobs)
    batch = batch_of((queued("1"),), key="once")
    await store.write(lambda tx: tx.receive([batch]) and None)
    await end(store, earlier)
    assert await store.read(lambda tx: tx.refused_needs([batch])) == {}
    (again,) = await store.write(lambda tx: tx.receive([batch]))
    assert (again.batch_id, again.is_new) == (2, False)


async def test_the_counts_agree_with_the_entries_whatever_ends(store: Store) -> None:
    choose = random.Random(7)
    afters = [
        tuple(here(m, choose.choice([OK, ANY])) for m in range(1, n) if choose.random() < 0.3)
        for n in range(1, 25)
    ]
    ids = await receive(store, *afters)
    for job_id in choose.sample(ids, len(ids)):
        if choose.random() < 0.5:
            await complete(store, job_id)
        else:
            await end(store, job_id)
        wrong = await store.read(
            query(
                "SELECT jobs.id FROM jobs WHERE waiting_on <> (SELECT COUNT(*) FROM job_needs"
                " WHERE job_id = jobs.id AND state IN ('open', 'broken'))"
                " OR (waiting_on > 0) <> (parked = 2)"
            )
        )
        assert wrong == []
