"""Admission: slots and the night's money are counted from rows, and nothing is promised twice."""

from __future__ import annotations

import asyncio

from scheduler.core.lifecycle import JobEvent
from tests.support.bench import PRICE, Bench, MakeBench
from tests.support.stores import execute


async def test_as_many_start_as_there_are_slots(bench: Bench) -> None:
    await bench.receive(7)
    await bench.estimate.step()
    assert await bench.admit.step() == 4
    assert await bench.admit.step() == 0
    await bench.send()
    assert await bench.admit.step() == 0
    assert [job for job, _, _ in await bench.states()].count("running") == 4


async def test_two_passes_at_once_do_not_hand_out_a_slot_twice(bench: Bench) -> None:
    await bench.receive(20)
    await bench.estimate.step()
    assert sum(await asyncio.gather(*(bench.admit.step() for _ in range(8)))) == 4


async def test_nothing_paid_starts_unarmed(make_bench: MakeBench) -> None:
    bench = make_bench()
    await bench.receive(2)
    await bench.estimate.step()
    assert await bench.admit.step() == 0


async def test_exactly_what_the_cap_can_hold_starts(make_bench: MakeBench) -> None:
    bench = make_bench(slots=100)
    await bench.arm(10 * PRICE + PRICE // 2)
    await bench.receive(50)
    await bench.estimate.step()
    assert await bench.admit.step() == 10
    assert await bench.admit.step() == 0, "what is prepared and not sent is promised already"
    await bench.send()
    assert await bench.admit.step() == 0
    assert await bench.night() == (10 * PRICE, 0)


async def test_an_unaffordable_job_does_not_stand_in_the_way_of_an_affordable_one(bench: Bench) -> None:
    await bench.arm(2 * PRICE)
    (dear,) = await bench.receive()
    (cheap,) = await bench.receive()
    await bench.estimate.step()
    await bench.store.write(
        execute("UPDATE jobs SET estimate_microusd = :much WHERE id = :id", much=9 * PRICE, id=dear)
    )
    assert await bench.admit.step() == 1
    assert await bench.rows("SELECT job_id FROM attempts") == [(cheap,)]


async def test_more_unaffordable_jobs_than_slots_do_not_hide_an_affordable_one(bench: Bench) -> None:
    await bench.arm(2 * PRICE)
    dear = await bench.receive(bench.slots + 1)
    (cheap,) = await bench.receive()
    await bench.estimate.step()
    for job_id in dear:
        await bench.store.write(
            execute("UPDATE jobs SET estimate_microusd = :much WHERE id = :id", much=9 * PRICE, id=job_id)
        )
    assert await bench.admit.step() == 1
    assert await bench.rows("SELECT job_id FROM attempts") == [(cheap,)]


async def test_a_job_whose_quote_ran_out_is_priced_again_first(bench: Bench) -> None:
    await bench.receive()
    await bench.estimate.step()
    bench.pass_s(3601)
    assert await bench.admit.step() == 0
    assert "estimate" in bench.woken
    await bench.estimate.step()
    assert await bench.admit.step() == 1
    assert await bench.rows("SELECT COUNT(*) FROM quotes") == [(2,)]


async def test_a_free_backend_needs_no_fresh_quote(make_bench: MakeBench) -> None:
    bench = make_bench()
    bench.provider.paid = False
    bench.__post_init__()
    await bench.receive()
    await bench.estimate.step()
    bench.pass_s(86_400)
    assert await bench.admit.step() == 1


async def test_a_job_cancelled_in_the_same_moment_is_not_admitted(bench: Bench) -> None:
    (job,) = await bench.receive()
    await bench.estimate.step()
    cancel = bench.store.write(
        lambda tx: tx.move_job(job, JobEvent.CANCEL, bench.clock.now_us(), "cancelled by ada")
    )
    await asyncio.gather(cancel, bench.admit.step(), bench.admit.step())
    state = await bench.states()
    assert state in ([("cancelled", None, None)], [("admitted", "prepared", None)])
