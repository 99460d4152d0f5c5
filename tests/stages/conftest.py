from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from scheduler.store.engine import SqliteStore
from scheduler.store.postgres import PostgresStore
from tests.support.bench import Bench, MakeBench


@pytest.fixture
def database_kind() -> str:
    """Stages see the store through its port, which has its own suite on both databases."""
    return "sqlite"


@pytest.fixture
def make_bench(store: SqliteStore | PostgresStore, tmp_path: Path) -> MakeBench:
    def make(**options: Any) -> Bench:
        return Bench(options.pop("store", store), tmp_path, **options)

    return make


@pytest.fixture
async def bench(make_bench: MakeBench) -> Bench:
    """Armed with plenty."""
    made = make_bench()
    await made.arm()
    return made
