from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.support.databases import Databases
from tests.support.spool import House, open_house

OpenHouse = Callable[..., AbstractAsyncContextManager[House]]


@pytest.fixture
def open_spool(databases: Databases, tmp_path: Path) -> OpenHouse:
    """Opens the same home again and again; the database stays, as after a restart."""
    database = Path(databases.make("sqlite", tmp_path).removeprefix("sqlite:///"))

    def open_it(**options: Any) -> AbstractAsyncContextManager[House]:
        return open_house(tmp_path / "home", database, **options)

    return open_it


@pytest.fixture
async def house(open_spool: OpenHouse) -> AsyncIterator[House]:
    async with contextlib.AsyncExitStack() as stack:
        yield await stack.enter_async_context(open_spool())
