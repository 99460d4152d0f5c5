"""The money rules whose SQL is their own, on both databases."""

from __future__ import annotations

import pytest

from tests.support.bench import DONE, PRICE, Bench, accepted
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


async def test_only_quotes_that_ran_out_are_dropped(bench: Bench) -> None:
    old, fresh = await bench.receive(), await bench.receive()
    bench.provider.estimates.clear()
    await bench.estimate.step()
    bench.pass_s(1800)
    await bench.store.write(lambda tx: tx.drop_stale_quotes(fresh, bench.clock.now_us() + 3600 * 1_000_000))
    await bench.estimate.step()
    bench.pass_s(1801)
    now_us = bench.clock.now_us()
    assert await bench.store.write(lambda tx: tx.drop_stale_quotes(old + fresh, now_us)) == old
    assert await bench.store.write(lambda tx: tx.drop_stale_quotes([], now_us)) == []
    assert not await bench.store.read(lambda tx: tx.quote_is_valid(old[0], now_us))
    assert await bench.store.read(lambda tx: tx.quote_is_valid(fresh[0], now_us))


async def test_a_charge_above_the_quote_is_in_the_nights_books_before_and_after(bench: Bench) -> None:
    bench.provider.outcomes.append(accepted(cost=3 * PRICE))
    await bench.running()
    assert await bench.rows("SELECT held_microusd, posted_microusd FROM nights") == [(3 * PRICE, 0)]
    bench.provider.reports.append(DONE)
    bench.pass_s(5)
    await bench.poll.step()
    await bench.looked()
    await bench.settle.step()
    assert await bench.rows("SELECT held_microusd, posted_microusd FROM nights") == [(0, 3 * PRICE)]
    assert await bench.rows("SELECT overrun_microusd FROM holds") == [(2 * PRICE,)]
