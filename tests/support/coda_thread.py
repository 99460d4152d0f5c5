"""A Coda on loopback in a thread of this process: for tests that steer it while a daemon runs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.support.coda_server import CodaServer


@contextmanager
def coda_in_thread(**options: Any) -> Iterator[CodaServer]:
    """The server, listening; its queues and books may be looked at and changed from here."""
    loop = asyncio.new_event_loop()
    server = CodaServer(**options)
    ready, over = threading.Event(), asyncio.Event()

    async def serve() -> None:
        async with server:
            ready.set()
            await over.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
    thread.start()
    try:
        assert ready.wait(10), "the server does not listen"
        yield server
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(10)
        loop.close()


class EveryTime:
    """A queue of faults that never ends: each request meets what `fault` says then."""

    def __init__(self, fault: Callable[[], Any]) -> None:
        self._fault = fault

    def __bool__(self) -> bool:
        return True

    def popleft(self) -> Any:
        return self._fault()
