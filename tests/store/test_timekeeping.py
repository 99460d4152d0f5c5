"""When jobs may be sent, in rows: what is parked is in nobody's way, and an opening is seen once."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, time
from typing import Any

import pytest

from scheduler.core.lifecycle import AttemptEvent, AttemptState, JobEvent, JobState
from scheduler.core.waits import Parked
from scheduler.core.windows import Hours
from scheduler.ports_store import Store
from tests.support.stores import (
    BACKEND,
    NOW_US,
    SECOND_US,
    attempt_in,
    job_in,
    priced_jobs,
    query,
    receive_jobs,
)

HOUR_US = 3600 * SECOND_US
NIGHT = Hours("night", time(22), time(6), UTC)


async def heads(store: Store, now_us: int = NOW_US, *windows: str, limit: int = 10) -> list[int]:
    found = await store.read(lambda tx: tx.queue_heads(BACKEND, now_us, limit, windows))
    return [job.job_id for job in found]


async def priced(store: Store, count: int = 1, **fields: Any) -> list[int]:
    return await store.write(lambda tx: priced_jobs(tx, count, **fields))  # type: ignore[arg-type]


async def test_a_job_of_a_window_is_a_head_only_while_the_window_is_open(store: Store) -> None:
    any_time, at_night, at_noon = [(await priced(store, window=name))[0] for name in ("", "night", "noon")]
    assert await heads(store) == [any_time]
    assert await heads(store, NOW_US, "night") == [any_time, at_night]
    assert await heads(store, NOW_US, "noon", "night") == [any_time, at_night, at_noon]


async def test_the_queues_of_open_windows_are_one_queue_by_priority_and_age(store: Store) -> None:
    wanted = [
        ("night", 5),
        ("", 5),
        ("night", 9),
        ("noon", 5),
        ("", 0),
        ("night", 0),
    ]
    ids = [(await priced(store, window=name, priority=priority))[0] for name, priority in wanted]
    order = [ids[2], ids[0], ids[1], ids[3], ids[4], ids[5]]
    assert await heads(store, NOW_US, "night", "noon") == order
    assert await heads(store, NOW_US, "night", "noon", limit=3) == order[:3]


async def test_stale_quotes_are_asked_for_again_only_in_open_windows(store: Store) -> None:
    later_us = NOW_US + HOUR_US
    any_time, at_night = (await priced(store))[0], (await priced(store, window="night"))[0]
    stale = await store.read(lambda tx: tx.stale_heads(BACKEND, later_us, 10))
    assert [job.job_id for job in stale] == [any_time]
    stale = await store.read(lambda tx: tx.stale_heads(BACKEND, later_us, 10, ("night",)))
    assert [job.job_id for job in stale] == [any_time, at_night]


async def test_a_job_that_is_too_early_sleeps_and_wakes_when_its_time_has_come(store: Store) -> None:
    (early,) = await priced(store, not_before_us=NOW_US + HOUR_US)
    (ready,) = await priced(store, not_before_us=NOW_US)
    assert await heads(store) == [ready]
    assert await store.read(lambda tx: tx.next_time_us()) == NOW_US + HOUR_US
    assert await store.write(lambda tx: tx.wake_sleepers(NOW_US + HOUR_US - 1, 10)) == 0
    assert await store.write(lambda tx: tx.wake_sleepers(NOW_US + HOUR_US, 10)) == 1
    assert await store.write(lambda tx: tx.wake_sleepers(NOW_US + HOUR_US, 10)) == 0
    assert await heads(store) == [early, ready]
    assert await store.read(lambda tx: tx.next_time_us()) is None


async def test_the_earliest_wake_first_and_no_more_than_a_group(store: Store) -> None:
    ids = [(await priced(store, not_before_us=NOW_US + n))[0] for n in (3, 1, 2)]
    assert await store.write(lambda tx: tx.wake_sleepers(NOW_US + 10, 2)) == 2
    assert await heads(store) == [ids[1], ids[2]]


async def test_a_deadline_is_over_behind_its_instant(store: Store) -> None:
    (job,) = await priced(store, deadline_us=NOW_US + HOUR_US)
    assert await store.read(lambda tx: tx.overdue_jobs(NOW_US + HOUR_US, 10)) == []
    assert await store.read(lambda tx: tx.next_time_us()) == NOW_US + HOUR_US + 1
    found = await store.read(lambda tx: tx.overdue_jobs(NOW_US + HOUR_US + 1, 10))
    assert found == [(job, NOW_US + HOUR_US)]


async def test_only_a_waiting_job_can_be_overdue(store: Store) -> None:
    for state in JobState:
        await store.write(lambda tx, state=state: job_in(tx, state, deadline_us=NOW_US))  # type: ignore[misc]
    found = await store.read(lambda tx: tx.overdue_jobs(NOW_US + HOUR_US, 100))
    states = [await store.read(lambda tx, i=i: tx.job_record(i).state) for i, _ in found]  # type: ignore[misc]
    assert states == [JobState.WAITING]


async def test_an_opening_is_recorded_once_whoever_sees_it(store: Store) -> None:
    opening = NIGHT.on(date(2026, 11, 22))
    assert opening is not None
    seen = await asyncio.gather(
        *(store.write(lambda tx: tx.record_occurrence(opening, NOW_US)) for _ in range(4))
    )
    assert sorted(seen) == [False, False, False, True]
    rows = await store.read(query('SELECT window_name, "key", opens_us, closes_us FROM occurrences'))
    assert [tuple(row) for row in rows] == [("night", "2026-11-22", opening.opens_us, opening.closes_us)]


# ------------------------------------------------------------------------------------------------ on hold


async def test_a_job_on_hold_is_no_head_until_it_is_released(store: Store) -> None:
    held, other = await priced(store, 2)
    assert await store.write(lambda tx: tx.put_on_hold(held, "grace", "look first", NOW_US))
    assert not await store.write(lambda tx: tx.put_on_hold(held, "ada", "me too", NOW_US)), "once"
    assert await heads(store) == [other]
    terms = (await store.read(lambda tx: tx.candidate_of(held))).terms
    assert (terms.on_hold_by, terms.on_hold_reason) == ("grace", "look first")
    assert await store.write(lambda tx: tx.release(held))
    assert not await store.write(lambda tx: tx.release(held))
    assert await heads(store) == [held, other]


async def test_a_hold_and_an_early_hour_are_lifted_one_by_one(store: Store) -> None:
    (job,) = await priced(store, not_before_us=NOW_US + HOUR_US)
    await store.write(lambda tx: tx.put_on_hold(job, "grace", "", NOW_US) and None)
    assert await store.write(lambda tx: tx.wake_sleepers(NOW_US + HOUR_US, 10)) == 1
    assert await heads(store) == []
    assert await store.write(lambda tx: tx.release(job))
    assert await heads(store) == [job]
    (parked,) = await store.read(query("SELECT parked FROM jobs"))
    assert tuple(parked) == (0,)


async def test_released_while_it_is_too_early_it_sleeps_on(store: Store) -> None:
    (job,) = await priced(store, not_before_us=NOW_US + HOUR_US)
    await store.write(lambda tx: tx.put_on_hold(job, "grace", "", NOW_US) and None)
    await store.write(lambda tx: tx.release(job) and None)
    (parked,) = await store.read(query("SELECT parked FROM jobs"))
    assert tuple(parked) == (Parked.TOO_EARLY.value,)


@pytest.mark.parametrize("state", list(JobState))
async def test_only_what_is_not_sent_can_be_put_on_hold(store: Store, state: JobState) -> None:
    case = await store.write(lambda tx: job_in(tx, state))
    done = await store.write(lambda tx: tx.put_on_hold(case, "grace", "", NOW_US))
    assert done == (state in (JobState.WAITING, JobState.ADMITTED))


async def test_a_hold_outlives_the_way_back_into_the_queue(store: Store) -> None:
    case = await store.write(lambda tx: attempt_in(tx, AttemptState.SUBMITTING))
    await store.write(lambda tx: tx.put_on_hold(case.job_id, "grace", "", NOW_US) and None)
    await store.write(
        lambda tx: tx.end_attempt(case.attempt_id, AttemptEvent.NOT_SENT, NOW_US, "held") and None
    )
    await store.write(lambda tx: tx.move_job(case.job_id, JobEvent.SEND_BACK, NOW_US, "held") and None)
    assert await heads(store) == []


async def test_an_unpriced_job_gets_its_price_whatever_it_waits_for(store: Store) -> None:
    (job,) = await store.write(lambda tx: receive_jobs(tx, 1, not_before_us=NOW_US + HOUR_US, window="night"))
    await store.write(lambda tx: tx.put_on_hold(job, "grace", "", NOW_US) and None)
    assert [each.job_id for each in await store.read(lambda tx: tx.unpriced_jobs(BACKEND, NOW_US, 9))] == [
        job
    ]


async def test_nobody_waits_for_the_next_answer_about_what_cannot_start_then(store: Store) -> None:
    """A price that could not be had is asked for again and again: idle is idle all the same."""

    async def will_come(*windows: str) -> bool:
        return await store.read(lambda tx: tx.prices_will_come(BACKEND, windows))

    for fields, waited_for in (
        ({}, True),
        ({"window": "night"}, False),
        ({"not_before_us": NOW_US + HOUR_US}, False),
    ):
        (job,) = await store.write(lambda tx, f=fields: receive_jobs(tx, 1, **f))  # type: ignore[misc]
        assert await will_come(), "nobody asked yet"
        await store.write(
            lambda tx, i=job: tx.postpone_job(i, "estimate", NOW_US + HOUR_US, "no route", NOW_US) and None  # type: ignore[misc]
        )
        assert await will_come() == waited_for
        assert await will_come("night") == (waited_for or "window" in fields)
        await store.write(lambda tx, i=job: tx.move_job(i, JobEvent.CANCEL, NOW_US, "enough") and None)  # type: ignore[misc]
