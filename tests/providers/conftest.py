from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from scheduler.ports import Site
from scheduler.providers import coda
from tests.support.coda_account import TOKEN, Build
from tests.support.coda_server import CodaServer

NOW_US = 1_795_000_000_000_000


class StandingClock:
    """A wall clock that stands; pauses are real."""

    def now_us(self) -> int:
        return NOW_US

    def monotonic_s(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@pytest.fixture
def make_site(tmp_path: Path) -> Callable[..., Site]:
    def make(name: str = "coda", secret: Callable[[str], str | None] = {}.get) -> Site:
        return Site(name=name, state_dir=tmp_path, clock=StandingClock(), secret=secret)

    return make


@pytest.fixture
async def server() -> AsyncIterator[CodaServer]:
    async with CodaServer(token=TOKEN) as running:
        yield running


@pytest.fixture
async def account(server: CodaServer, make_site: Callable[..., Site]) -> AsyncIterator[Build]:
    """Builds an account at `server`, or at any other address; closes them all."""
    built: list[coda.Coda] = []

    def build(token: str | None = TOKEN, **options: Any) -> coda.Coda:
        options = {"base_url": server.base_url, "connect_timeout_s": 5.0, "reply_timeout_s": 5.0} | options
        site = make_site("coda", lambda name: token if name == "coda-token" else None)
        built.append(coda.build(coda.Settings(**options), site))
        return built[-1]

    yield build
    for provider in built:
        await provider.close()
