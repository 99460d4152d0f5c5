"""Looking at open tasks: repeatable, patient, and never faster because something failed."""

from __future__ import annotations

import asyncio
from collections import deque

import pytest

from scheduler.core.task import Failed, NotKnown, StillOpen, TaskReport
from scheduler.errors import TryAgain
from scheduler.ports import PollFailed
from tests.support.bench import DONE, Bench, Moody


async def look(bench: Bench) -> None:
    due_s = await bench.poll.due_in_s()
    bench.pass_s((due_s or 0) + 0.001)
    await bench.poll.step()
    await bench.looked()


@pytest.mark.parametrize(
    ("report", "attempt"),
    [
        (DONE, "finished"),
        (Failed("calibration lost", "raw"), "finished"),
        (StillOpen("running"), "submitted"),
        (StillOpen("transmogrifying"), "submitted"),
        (NotKnown("404"), "submitted"),
        (PollFailed("503"), "submitted"),
        (RuntimeError("a bug of the provider's"), "submitted"),
    ],
)
async def test_a_report_ends_a_task_or_leaves_it_open(bench: Bench, report: TaskReport, attempt: str) -> None:
    await bench.running()
    bench.provider.reports.append(report)
    await look(bench)
    assert await bench.states() == [("running", attempt, "open")]


@pytest.mark.parametrize("trouble", [PollFailed("503"), RuntimeError("a bug"), NotKnown("404")])
async def test_what_fails_is_asked_ever_more_slowly_and_told_to_people(
    bench: Bench, trouble: Exception
) -> None:
    await bench.running()
    bench.provider.reports.extend([trouble] * 12)
    pauses = []
    for _ in range(12):
        await look(bench)
        pauses.append(await bench.poll.due_in_s())
    assert pauses[0] < 3
    assert pauses[-1] > 1000
    told = await bench.store.read(lambda tx: tx.oldest_troubled_polls(5, 10))
    assert len(told) == 1
    assert len(bench.provider.sent) == 1


async def test_a_pause_that_the_provider_asks_for_is_kept(bench: Bench) -> None:
    await bench.running()
    bench.provider.reports.append(PollFailed("429", retry_after_s=777))
    await look(bench)
    assert await bench.poll.due_in_s() == pytest.approx(777, abs=1)


async def test_while_a_look_is_under_way_nothing_is_due(bench: Bench) -> None:
    """Otherwise the stage would be told "now" again and again until the provider answers."""
    answer = asyncio.Event()

    async def wait_for_the_provider(provider_job_id: str, request: object) -> TaskReport:
        await answer.wait()
        return StillOpen("running")

    await bench.running()
    bench.pass_s(5)
    bench.provider.poll = wait_for_the_provider  # type: ignore[method-assign, assignment]
    assert await bench.poll.step() == 1
    assert await bench.poll.due_in_s() is None
    assert await bench.poll.step() == 0
    answer.set()
    await bench.looked()
    assert await bench.poll.due_in_s() is not None


async def test_a_report_is_written_when_the_store_is_back_without_asking_again(bench: Bench) -> None:
    await bench.running()
    bench.provider.reports.append(DONE)
    moody = Moody(bench.store)
    bench.kit.store = moody
    bench.pass_s(5)
    moody.refusals = deque([TryAgain("disk full")] * 20)
    await bench.poll.step()
    await bench.looked()
    assert bench.provider.polls == ["p-1"]
    assert await bench.states() == [("running", "finished", "open")]


async def test_a_hint_makes_it_look_at_once(bench: Bench) -> None:
    await bench.running()
    await bench.poll.step()
    assert bench.provider.polls == []
    bench.poll.nudge("attempt-1")
    await bench.poll.step()
    await bench.looked()
    assert bench.provider.polls == ["p-1"]


async def test_a_hint_that_comes_before_the_acceptance_is_written_is_not_lost(bench: Bench) -> None:
    await bench.admitted()
    bench.poll.nudge("attempt-1")
    await bench.poll.step()
    await bench.send()
    await bench.poll.step()
    await bench.looked()
    assert bench.provider.polls == ["p-1"]


async def test_hints_about_tasks_that_are_gone_do_not_pile_up(bench: Bench) -> None:
    await bench.running()
    for number in range(1000):
        bench.poll.nudge(f"0000 gone long ago {number}")
    bench.pass_s(61)
    bench.poll.nudge("attempt-1")
    bench.provider.reports.append(DONE)
    await bench.poll.step()
    await bench.looked()
    assert await bench.states() == [("running", "finished", "open")]


async def test_a_task_whose_provider_is_gone_stays_open(bench: Bench) -> None:
    await bench.running()
    bench.kit.providers = {}
    await look(bench)
    assert await bench.states() == [("running", "submitted", "open")]
    assert "not configured" in (await bench.rows("SELECT reason FROM attempts"))[0][0]
