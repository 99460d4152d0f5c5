"""A clock that stands still until somebody moves it, and whose wall time can be put forward or back."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from dataclasses import dataclass

from scheduler.core.clocks import ClockMark


def nothing_can_run() -> bool:
    """Whether no task but the one that asks can go on before somebody moves the clock."""
    return not asyncio.get_running_loop()._ready  # type: ignore[attr-defined]


class VirtualClock:
    """The `Clock` port in virtual time: sleepers wake when `advance_to` has come to them, in order.

    True time only goes on. The wall clock is so much beside it as `jump` has put it; sleepers do not care.
    """

    def __init__(self, start_us: int) -> None:
        self._true_us = self._start_us = start_us
        self.offset_us = 0
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()

    def now_us(self) -> int:
        return self._true_us + self.offset_us

    def true_us(self) -> int:
        return self._true_us

    def monotonic_s(self) -> float:
        return (self._true_us - self._start_us) / 1e6

    def both(self) -> ClockMark:
        return ClockMark(self.now_us(), self._true_us - self._start_us, "one boot")

    def jump(self, by_us: int) -> None:
        """Put the wall clock forward, or back."""
        self.offset_us += by_us

    async def sleep(self, seconds: float) -> None:
        wake: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        due_us = self._true_us + max(1, int(seconds * 1e6))
        heapq.heappush(self._sleepers, (due_us, next(self._numbers), wake))
        await wake

    def next_due_us(self) -> int | None:
        """When, in true time, the next sleeper wakes; None when nobody sleeps."""
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)
        return self._sleepers[0][0] if self._sleepers else None

    def advance_to(self, at_us: int) -> None:
        """Let true time go on until then."""
        assert at_us >= self._true_us, "time does not run backwards here"
        self._true_us = at_us
        while self._sleepers and self._sleepers[0][0] <= at_us:
            _, _, wake = heapq.heappop(self._sleepers)
            if not wake.done():
                wake.set_result(None)


@dataclass(frozen=True)
class TrueClock:
    """The same time on a machine whose clock is never put: the provider's."""

    clock: VirtualClock

    def now_us(self) -> int:
        return self.clock.true_us()

    def monotonic_s(self) -> float:
        return self.clock.monotonic_s()

    def both(self) -> ClockMark:
        mark = self.clock.both()
        return ClockMark(self.now_us(), mark.boot_us, mark.boot_id)

    async def sleep(self, seconds: float) -> None:
        await self.clock.sleep(seconds)
