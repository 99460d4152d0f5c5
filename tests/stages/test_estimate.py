"""Prices: a failed estimate is a reason to wait, never a price of zero."""

from __future__ import annotations

import pytest

from scheduler.core.pricing import Estimate
from scheduler.errors import Unreachable
from scheduler.ports import EstimateFailed
from tests.support.bench import PRICE, Bench


async def waiting(bench: Bench) -> tuple[object, ...]:
    (row,) = await bench.rows("SELECT state, estimate_microusd, wait_code, wait_until_us FROM jobs")
    return row


@pytest.mark.parametrize(
    ("trouble", "code"),
    [
        (EstimateFailed("503"), "estimate"),
        (Unreachable("no route"), "estimate"),
        (EstimateFailed("there is no token", needs_person=True), "breaker"),
    ],
)
async def test_an_estimate_that_fails_is_asked_for_later_and_nothing_is_sent(
    bench: Bench, trouble: Exception, code: str
) -> None:
    bench.provider.estimates.append(trouble)
    await bench.receive()
    await bench.estimate.step()
    state, price, wait_code, until_us = await waiting(bench)
    assert (state, price, wait_code) == ("waiting", None, code)
    assert isinstance(until_us, int)
    assert until_us > bench.clock.now_us()
    assert await bench.admit.step() == 0
    assert await bench.estimate.step() == 0
    bench.clock.advance_to(until_us)
    assert await bench.estimate.step() == 1
    assert await waiting(bench) == ("waiting", PRICE, None, None)


async def test_a_provider_that_asks_for_time_gets_it(bench: Bench) -> None:
    bench.provider.estimates.append(EstimateFailed("429", retry_after_s=1234))
    await bench.receive()
    await bench.estimate.step()
    assert (await waiting(bench))[3] == bench.clock.now_us() + 1234 * 1_000_000


async def test_a_job_that_can_never_run_is_rejected_with_the_sentence(bench: Bench) -> None:
    bench.provider.estimates.append(EstimateFailed("422: too many qubits", never_runs=True))
    await bench.receive()
    await bench.estimate.step()
    assert await bench.rows("SELECT state, reason FROM jobs") == [("rejected", "422: too many qubits")]


async def test_shots_outside_the_limits_are_refused_without_asking(bench: Bench) -> None:
    await bench.receive(1, shots=9)
    await bench.estimate.step()
    assert bench.provider.asked == []
    assert (await bench.rows("SELECT state FROM jobs")) == [("rejected",)]


async def test_a_provider_in_trouble_is_not_asked_for_every_job(bench: Bench) -> None:
    bench.provider.estimates.extend([EstimateFailed("503")] * 100)
    await bench.receive(100)
    await bench.estimate.step()
    assert len(bench.provider.asked) <= 8


async def test_a_price_of_zero_is_a_price(bench: Bench) -> None:
    bench.provider.estimates.append(Estimate(0, "coda"))
    await bench.receive()
    await bench.estimate.step()
    assert (await waiting(bench))[1] == 0
