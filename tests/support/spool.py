"""A spool on a real home with a real store, stepped by hand; the daemon around it is left out."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from scheduler.composition import build_kit, spool_plan
from scheduler.core.job import BatchSpec
from scheduler.core.records import BatchRecord, JobRecord
from scheduler.home import Home, make_folders
from scheduler.intake.spool import Spool
from scheduler.settings_tree import Settings
from scheduler.store.engine import SqliteStore

GHZ = """\
OPENQASM 3.0;
include "stdgates.inc";
qubit[2] q;
bit[2] c;
h q[0];
cx q[0], q[1];
c = measure q;
"""


def qasm(number: int = 0, **header: object) -> str:
    """A circuit like no other, with a header when there is something in it."""
    lines = [f"// {key} = {value}" for key, value in header.items()]
    block = ["// /// nightshot", *lines, "// ///"] if lines else []
    return "\n".join([*block, f"// circuit {number}", GHZ])


@dataclass
class House:
    """One home with its spool; `log` holds what a daemon would have logged."""

    home: Home
    store: SqliteStore
    spool: Spool
    log: list[dict[str, Any]] = field(default_factory=list)

    def drop(self, name: str | bytes, data: str | bytes = GHZ, *, age_s: float = 60.0) -> Path:
        """Put a file into the inbox that was last changed `age_s` ago, so that it is complete."""
        path = Path(os.fsdecode(os.fsencode(self.home.inbox) + b"/" + os.fsencode(name)))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        self.age(path, age_s)
        return path

    def age(self, path: Path, age_s: float = 60.0) -> None:
        then_s = time.time() - age_s
        os.utime(path, (then_s, then_s), follow_symlinks=False)

    async def settle(self) -> int:
        """Step until there is nothing left to take; returns how many files were settled."""
        settled = 0
        while (done := await self.spool.step()) or self.spool.unread:
            settled += done
        return settled

    async def batches(self) -> list[BatchRecord]:
        found = await self.store.read(lambda tx: tx.latest_batches(10_000))
        return sorted(found, key=lambda batch: batch.batch_id)

    async def jobs(self) -> list[JobRecord]:
        return await self.store.read(
            lambda tx: tx.list_jobs(state=None, backend=None, batch=None, after=None, limit=10_000)
        )

    def names(self, folder: Path) -> list[str]:
        return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())

    @property
    def whys(self) -> dict[str, str]:
        """The reasons in `rejected/`, by the name of the file they are about."""
        found = sorted(self.home.rejected.glob("*.WHY.txt"))
        return {path.name.removesuffix(".WHY.txt"): path.read_text() for path in found}

    @property
    def nothing_is_claimed(self) -> bool:
        return list(self.home.claimed.iterdir()) == []


def build_spool(
    home: Home,
    store: SqliteStore,
    log: Callable[..., None],
    *,
    owners: Sequence[str] = ("self",),
    resolve: Callable[[BatchSpec], BatchSpec] | None = None,
    **options: object,
) -> Spool:
    settings = Settings.model_validate({"spool": {"owners": tuple(owners), **options}})
    kit = build_kit(settings, store, {}, lambda _stage: None, log)
    plan = spool_plan(settings, home)
    return Spool(kit, replace(plan, resolve=resolve) if resolve else plan)


@contextlib.asynccontextmanager
async def open_house(root: Path, database: Path, **options: Any) -> AsyncIterator[House]:
    """Open a home under `root`; `database` is an upgraded SQLite file."""
    home = Home(root)
    make_folders(home)
    store = SqliteStore(str(database))
    log: list[dict[str, Any]] = []
    spool = build_spool(home, store, lambda event, **facts: log.append({"event": event, **facts}), **options)
    try:
        yield House(home, store, spool, log)
    finally:
        await store.close()
