"""The real clock: the only place that reads the time."""

from __future__ import annotations

import asyncio
import time


class SystemClock:
    """Wall clock and monotonic clock of this machine."""

    def now_us(self) -> int:
        return time.time_ns() // 1000

    def monotonic_s(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
