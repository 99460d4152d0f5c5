"""The real clock: the only place that reads the time."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from scheduler.core.clocks import ClockMark

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class SystemClock:
    """Wall clock and monotonic clock of this machine."""

    def now_us(self) -> int:
        return time.time_ns() // 1000

    def monotonic_s(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def both(self) -> ClockMark:
        # CLOCK_BOOTTIME goes on while the machine sleeps: a laptop that wakes up has not jumped.
        boot_us = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000
        try:
            boot_id = _BOOT_ID.read_text().strip()
        except OSError:
            boot_id = "unknown"
        return ClockMark(self.now_us(), boot_us, boot_id)
