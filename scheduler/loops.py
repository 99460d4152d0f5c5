"""Keeps stages going: each is woken by others, by a tick, or by what it said is due next.

A stage that fails, at its work or at saying when it is due, is tried again, ever more slowly, and what it
failed with shows up for people: it never takes the daemon down, never spins and never stops for good.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from scheduler.errors import NightshotError, TryAgain

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
#: How long a stop waits for the steps that are under way: what a thread does cannot be interrupted.
STOP_PATIENCE_S = 5.0


@dataclass(slots=True)
class Loop:
    """One stage: `step` does what there is to do, `due_in_s` says when it must look again by itself."""

    name: str
    step: Callable[[], Awaitable[int]]
    due_in_s: Callable[[], Awaitable[float | None]] | None = None
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    busy: bool = False
    #: What the last step failed with; empty when it did not.
    trouble: str = ""
    _failures: int = 0


class Loops:
    """All stages of a daemon by name."""

    def __init__(self, log: Callable[..., None]) -> None:
        self._log = log
        self._loops: dict[str, Loop] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = asyncio.Event()

    def add(self, loop: Loop) -> None:
        self._loops[loop.name] = loop

    def wake(self, name: str) -> None:
        if name in self._loops:
            self._loops[name].woken.set()

    def start(self) -> None:
        for loop in self._loops.values():
            loop.woken.set()
            self._tasks.append(asyncio.create_task(self._run(loop), name=f"stage {loop.name}"))

    @property
    def quiet(self) -> bool:
        """True when no stage is working and none has been woken."""
        return not any(loop.busy or loop.woken.is_set() for loop in self._loops.values())

    def troubles(self) -> dict[str, str]:
        return {loop.name: loop.trouble for loop in self._loops.values() if loop.trouble}

    async def stop(self) -> None:
        """Let the steps that are under way come to their end, then stop; what takes too long is cancelled."""
        self._stopping.set()
        for loop in self._loops.values():
            loop.woken.set()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=STOP_PATIENCE_S)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self, loop: Loop) -> None:
        while True:
            try:
                await self._wait(loop)
                if self._stopping.is_set():
                    return
                loop.woken.clear()
                loop.busy = True
                await loop.step()
                if loop.trouble:
                    self._log("stage goes on", stage=loop.name)
                loop.trouble, loop._failures = "", 0
            except Exception as error:  # noqa: BLE001 - one stage's bug must not stop the others
                await self._rest(loop, error)
            finally:
                loop.busy = False

    async def _rest(self, loop: Loop, error: Exception) -> None:
        loop._failures += 1
        told = error.message if isinstance(error, NightshotError) else f"{type(error).__name__}: {error}"
        if told != loop.trouble:
            self._log("stage failed", stage=loop.name, error=told, trace=not isinstance(error, TryAgain))
        loop.trouble = told
        loop.woken.set()
        loop.busy = False
        # Of many failures 2**n is too large for a float: a disk may stay full for a whole night.
        pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(loop._failures - 1, 10))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), pause_s)

    async def _wait(self, loop: Loop) -> None:
        due_s = None
        if loop.due_in_s is not None and not loop.woken.is_set():
            due_s = await loop.due_in_s()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(loop.woken.wait(), due_s)
