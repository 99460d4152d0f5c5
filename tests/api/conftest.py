from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from scheduler.api.control import serve_control
from scheduler.api.desk import Desk
from scheduler.intake.document import Defaults
from scheduler.store.engine import SqliteStore
from scheduler.store.postgres import PostgresStore
from tests.support.bench import BACKEND, Bench
from tests.support.control import Line


@pytest.fixture
async def bench(store: SqliteStore | PostgresStore, tmp_path: Path) -> Bench:
    return Bench(store, tmp_path)


@pytest.fixture
def desk(bench: Bench, tmp_path: Path) -> Desk:
    return Desk(
        kit=bench.kit,
        home=tmp_path,
        timezone="UTC",
        results=tmp_path / "results",
        defaults=Defaults(BACKEND, 100, 1000, 1 << 20),
        resolve=lambda spec: spec,
        known_backends=(BACKEND,),
        troubles=dict,
    )


@pytest.fixture
async def line(desk: Desk) -> AsyncIterator[Line]:
    """The control socket in a directory that others may enter, as /run is."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ns-")))
        folder.chmod(0o755)
        path = folder / "control.sock"
        runner = await serve_control(desk, path, str(path))
        stack.push_async_callback(runner.cleanup)
        yield Line(path)
