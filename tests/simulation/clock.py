"""A clock that stands still until somebody moves it."""

from __future__ import annotations

import asyncio
import heapq
import itertools


class VirtualClock:
    """The `Clock` port in virtual time: sleepers wake when `advance_to` has come to them, in order."""

    def __init__(self, start_us: int) -> None:
        self._now_us = self._start_us = start_us
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()

    def now_us(self) -> int:
        return self._now_us

    def monotonic_s(self) -> float:
        return (self._now_us - self._start_us) / 1e6

    async def sleep(self, seconds: float) -> None:
        wake: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        due_us = self._now_us + max(1, int(seconds * 1e6))
        heapq.heappush(self._sleepers, (due_us, next(self._numbers), wake))
        await wake

    def next_due_us(self) -> int | None:
        """When the next sleeper wakes; None when nobody sleeps."""
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)
        return self._sleepers[0][0] if self._sleepers else None

    def advance_to(self, at_us: int) -> None:
        assert at_us >= self._now_us, "time does not run backwards here"
        self._now_us = at_us
        while self._sleepers and self._sleepers[0][0] <= at_us:
            _, _, wake = heapq.heappop(self._sleepers)
            if not wake.done():
                wake.set_result(None)
