"""One warm worker for the tests of a file: every test is a job in a real, locked-down process."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from scheduler.circuits.pool import Limits, WorkerPool


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pool() -> AsyncIterator[WorkerPool]:
    pool = WorkerPool(jobs=2, limits=Limits(max_qubits=20, wall_time_s=30.0, memory_bytes=256 << 20))
    yield pool
    await pool.close()
