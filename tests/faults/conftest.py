from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from scheduler.store.engine import SqliteStore
from scheduler.store.postgres import PostgresStore
from tests.support.coda_account import TOKEN
from tests.support.coda_server import CodaServer
from tests.support.fault_ground import Ground

MakeGround = Callable[..., Ground]


@pytest.fixture
def database_kind() -> str:
    """The store has its own suite on both databases, and the kills run on both."""
    return "sqlite"


@pytest.fixture
async def server() -> AsyncIterator[CodaServer]:
    async with CodaServer(token=TOKEN) as running:
        yield running


@pytest.fixture
async def make_ground(
    store: SqliteStore | PostgresStore, tmp_path: Path, server: CodaServer
) -> AsyncIterator[MakeGround]:
    made: list[Ground] = []

    def make(**options: Any) -> Ground:
        made.append(Ground(store, tmp_path, server, **options))
        return made[-1]

    yield make
    for ground in made:
        await ground.close()


@pytest.fixture
async def ground(make_ground: MakeGround) -> Ground:
    """Armed, with the first process at work."""
    made = make_ground()
    await made.arm()
    await made.begin()
    return made
