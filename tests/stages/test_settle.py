"""Settling: a hold is closed once, with what is known, however often the stage runs."""

from __future__ import annotations

import asyncio

import pytest

from scheduler.core.task import Failed
from tests.support.bench import DONE, PRICE, Bench, accepted


async def finished(bench: Bench, report: object = DONE, *, cost: int | None = PRICE) -> None:
    bench.provider.outcomes.append(accepted(cost=cost))
    await bench.running()
    bench.provider.reports.append(report)  # type: ignore[arg-type]
    bench.pass_s(5)
    await bench.poll.step()
    await bench.looked()


@pytest.mark.parametrize(
    ("report", "cost", "job", "posted", "overrun"),
    [
        (DONE, PRICE, "completed", PRICE, 0),
        (DONE, PRICE // 2, "completed", PRICE // 2, 0),
        (DONE, None, "completed", PRICE, 0),
        (DONE, 2 * PRICE, "completed", 2 * PRICE, PRICE),
        (Failed("lost"), PRICE, "failed", PRICE, 0),
        (Failed("too deep", never_runs=True), PRICE, "rejected", PRICE, 0),
    ],
)
async def test_a_task_is_charged_once_with_what_is_known(
    bench: Bench, report: object, cost: int | None, job: str, posted: int, overrun: int
) -> None:
    await finished(bench, report, cost=cost)
    assert sum(await asyncio.gather(*(bench.settle.step() for _ in range(5)))) >= 1
    bench.again()
    assert await bench.settle.step() == 0
    attempt = "settled" if report is DONE else "failed"
    assert await bench.states() == [(job, attempt, "posted")]
    assert await bench.night() == (0, posted)
    holds = await bench.rows("SELECT posted_microusd, overrun_microusd FROM holds")
    assert holds == [(posted, overrun)]
    assert await bench.rows("SELECT cost_microusd FROM jobs") == [(posted,)]
