"""A desk on a real database, with the rules of a configuration that the test writes down."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from scheduler.api.control import serve_control
from scheduler.api.desk import Caller, Desk
from scheduler.api.operations import answer
from scheduler.clock import SystemClock
from scheduler.composition import build_desk, build_kit, build_providers
from scheduler.core.roles import Roles
from scheduler.home import Home
from scheduler.intake.document import Defaults
from scheduler.settings import load_settings
from scheduler.store.engine import SqliteStore
from scheduler.store.open import open_store
from scheduler.store.postgres import PostgresStore
from scheduler.store.tx import StoreTx
from tests.support.bench import BACKEND, Bench
from tests.support.control import Line
from tests.support.databases import Databases
from tests.support.stores import NOW_US

#: `keeper` looks after the money, `approver` approves; ada, whose jobs they are, may do neither.
ROLES = """
[time]
timezone = "Europe/Berlin"
[roles]
arm = ["keeper"]
caps = ["keeper"]
approve = ["approver"]
resolve = ["keeper"]
"""


class HandClock(SystemClock):
    """Stands still until a test moves it."""

    def __init__(self) -> None:
        self.us = NOW_US

    def now_us(self) -> int:
        return self.us


@dataclass
class Office:
    """A desk, and the questions that tests ask at it."""

    desk: Desk
    clock: HandClock
    logged: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    woken: list[str] = field(default_factory=list)

    async def ask(self, op: str, user: str = "keeper", **args: Any) -> Any:
        return await answer(self.desk, Caller(user), op, args)

    async def write(self, work: Callable[[StoreTx], Any]) -> Any:
        return await self.desk.kit.store.write(work)  # type: ignore[arg-type]


Opening = Callable[..., Awaitable[Office]]


@pytest.fixture
async def office(databases: Databases, tmp_path: Path) -> AsyncIterator[Opening]:
    """Open a desk: `await office('[caps.month] …')`."""
    async with AsyncExitStack() as stack:

        async def opening(
            text: str = "", environ: Mapping[str, str] | None = None, token: str | None = None
        ) -> Office:
            (tmp_path / "nightshot.toml").write_text(ROLES + text)
            home = Home.find(str(tmp_path), {})
            loaded = load_settings(home, None, environ or {})
            store = open_store(databases.make("sqlite", tmp_path))
            stack.push_async_callback(store.close)
            providers = build_providers(loaded.settings, home, {"CODA_API_TOKEN": token} if token else {})
            for provider in providers.values():
                stack.push_async_callback(provider.close)
            logged: list[tuple[str, dict[str, Any]]] = []
            woken: list[str] = []

            def log(event: str, **facts: Any) -> None:
                logged.append((event, facts))

            kit = build_kit(loaded.settings, store, providers, woken.append, log)
            clock = kit.clock = HandClock()
            return Office(build_desk(loaded, home, kit), clock, logged, woken)

        yield opening


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
        roles=Roles(has=lambda _role, _user: True),
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
