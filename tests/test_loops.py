"""Stages go on after every failure, rest in between, and end when they are asked to."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from scheduler.errors import TryAgain
from scheduler.loops import LONGEST_PAUSE_S, Loop, Loops


def no_log(_event: str, **_facts: object) -> None:
    pass


async def started(loop: Loop) -> Loops:
    loops = Loops(no_log)
    loops.add(loop)
    loops.start()
    return loops


async def until(fact: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not fact():  # noqa: ASYNC110 - what is waited for knows nothing of events
            await asyncio.sleep(0.01)


class Stage:
    """Counts its steps and fails as often as it was told to."""

    def __init__(self, failures: int = 0, error: Exception | None = None) -> None:
        self.steps, self.failures, self.error = 0, failures, error or TryAgain("the disk is full")

    async def step(self) -> int:
        self.steps += 1
        if self.steps <= self.failures:
            raise self.error
        return 0


async def test_a_stage_that_fails_goes_on_by_itself() -> None:
    stage = Stage(failures=1)
    loop = Loop("x", stage.step)
    loops = await started(loop)
    await until(lambda: stage.steps == 1)
    await until(lambda: loops.troubles() == {"x": "the disk is full"})
    assert not loops.quiet, "it has not done what it was woken for"
    await until(lambda: stage.steps == 2)
    await until(lambda: loops.troubles() == {})
    await loops.stop()


async def test_a_mistake_of_ours_stops_no_stage() -> None:
    stage = Stage(failures=1, error=KeyError("ours"))
    loops = await started(Loop("x", stage.step))
    await until(lambda: loops.troubles() == {"x": "KeyError: 'ours'"})
    await until(lambda: stage.steps == 2)
    await loops.stop()


async def test_a_stage_that_cannot_say_when_it_is_due_goes_on() -> None:
    stage, answers = Stage(), [TryAgain("locked"), ValueError("ours")]

    async def due_in_s() -> float | None:
        if answers:
            raise answers.pop(0)
        return None

    loops = await started(Loop("x", stage.step, due_in_s))
    await until(lambda: not answers)
    before = stage.steps
    loops.wake("x")
    await until(lambda: stage.steps > before)
    await loops.stop()


async def test_after_a_night_of_failures_it_still_goes_on() -> None:
    """2.0**1100 is no number any more: the pause must not be what fails."""
    stage = Stage(failures=1)
    loop = Loop("x", stage.step)
    loop._failures = 5000
    loops = await started(loop)
    await until(lambda: bool(loops.troubles()))
    await asyncio.sleep(0.05)
    (task,) = loops._tasks
    assert not task.done()
    before_s = time.monotonic()
    await loops.stop()
    assert time.monotonic() - before_s < LONGEST_PAUSE_S / 2, "a stop does not wait for the pause"


async def test_a_failing_stage_does_not_spin() -> None:
    stage = Stage(failures=1_000_000)
    loops = await started(Loop("x", stage.step))
    for _ in range(100):
        loops.wake("x")
        await asyncio.sleep(0.005)
    assert stage.steps <= 3
    await loops.stop()


async def test_a_stop_lets_the_step_under_way_come_to_its_end() -> None:
    """What a thread does cannot be interrupted; a second one must not begin beside it."""
    ended = []

    async def step() -> int:
        await asyncio.to_thread(time.sleep, 0.3)
        ended.append(True)
        return 0

    loop = Loop("x", step)
    loops = await started(loop)
    await until(lambda: loop.busy)
    await loops.stop()
    assert ended == [True]


async def test_a_step_that_never_ends_is_cancelled() -> None:
    never = asyncio.Event()

    async def step() -> int:
        await never.wait()
        return 0

    loop = Loop("x", step)
    loops = await started(loop)
    await until(lambda: loop.busy)
    stopping: Awaitable[None] = loops.stop()
    async with asyncio.timeout(15):
        await stopping
