"""The money rules whose SQL is their own, on both databases."""

from __future__ import annotations

import pytest

from tests.support.bench import BACKEND, DONE, PRICE, Bench, accepted
from tests.support.databases import Kind


@pytest.fixture(params=["sqlite", "postgresql"])
def database_kind(request: pytest.FixtureRequest) -> Kind:
    kind: Kind = request.param
    return kind


async def test_one_job_lives_from_price_to_charge(bench: Bench) -> None:
    await bench.running()
    bench.provider.reports.append(DONE)
    bench.pass_s(5)
    assert await bench.poll.due_in_s() == 0
    await bench.poll.step()
    await bench.looked()
    assert await bench.settle.step() == 1
    assert await bench.states() == [("completed", "settled", "posted")]
    assert await bench.poll.due_in_s() is None


async def test_only_a_quote_that_ran_out_is_asked_for_again(bench: Bench) -> None:
    (old,) = await bench.receive()
    await bench.estimate.step()
    bench.pass_s(1800)
    (fresh,) = await bench.receive()
    await bench.estimate.step()
    bench.pass_s(1801)
    now_us = bench.clock.now_us()
    stale = await bench.store.read(lambda tx: tx.stale_heads(BACKEND, now_us, 10))
    assert [job.job_id for job in stale] == [old]
    await bench.estimate.step()
    asked = await bench.rows("SELECT job_id, COUNT(*) FROM quotes GROUP BY job_id ORDER BY job_id")
    assert asked == [(old, 2), (fresh, 1)]


async def test_a_charge_above_the_quote_is_in_the_nights_books_before_and_after(bench: Bench) -> None:
    bench.provider.outcomes.append(accepted(cost=3 * PRICE))
    await bench.running()
    assert await bench.night() == (3 * PRICE, 0)
    bench.provider.reports.append(DONE)
    bench.pass_s(5)
    await bench.poll.step()
    await bench.looked()
    await bench.settle.step()
    assert await bench.night() == (0, 3 * PRICE)
    assert await bench.rows("SELECT overrun_microusd FROM holds") == [(2 * PRICE,)]
