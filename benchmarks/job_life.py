"""Whole job lives over HTTP, 32 at a time, against a floor with the same statements, syncs and connections.

The program is the real stages (admit, submit, poll, settle) on the real store, with the real Coda adapter,
armed, under a cap. Prices are known already and result files are not written: the floor has neither.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
from dataclasses import dataclass, field

from benchmarks.homes import INTAKE_TABLES, Workshop, kit_of, say_nothing
from benchmarks.inputs import circuit
from benchmarks.job_life_floor import floor_lives
from benchmarks.measure import Figure, Run, in_turn, rate_figures, timed_async
from benchmarks.mock_coda import TOKEN, MockCoda, mock_coda
from scheduler.composition import Place, build_providers
from scheduler.core.job import BatchSpec, JobSpec
from scheduler.core.records import ArmingRecord, Quote, ReceivedBatch
from scheduler.journal import IntentJournal
from scheduler.loops import Loop, Loops
from scheduler.ports import Kit
from scheduler.ports_store import Tx
from scheduler.replies import ReplySlots
from scheduler.stages.admit import Admitting
from scheduler.stages.poll import Polling
from scheduler.stages.purse import night_window
from scheduler.stages.settle import Settling
from scheduler.stages.submit import Submitting
from scheduler.store.engine import SqliteStore

GOAL = 0.4
CONCURRENCY = 32
COST_MICROUSD = 1_300_000


def configuration(coda: MockCoda) -> str:
    return (
        f'[providers.coda]\nkind = "coda"\nbase_url = "{coda.base_url}"\n'
        f'[backends."coda:iqm"]\nslots = {CONCURRENCY}\n'
        f"[submit]\nconcurrency = {CONCURRENCY}\n"
        "[poll]\nmin_interval_s = 0.001\nmax_interval_s = 1.0\n"
    )


def run(workshop: Workshop, count: int = 3_000, pairs: int = 5) -> list[Figure]:
    written: dict[str, int] = {}
    with mock_coda() as coda:

        def program() -> Run:
            place = workshop.home("job-life", configuration(coda), {"CODA_API_TOKEN": TOKEN})
            done = asyncio.run(_lives(place, count))
            written.update(_written(place))
            return done

        def floor() -> Run:
            place = workshop.home("job-life-floor", configuration(coda))
            asyncio.run(_fill(place, count))
            done = asyncio.run(floor_lives(place, coda, count))
            # One night: the program's own arming had opened it when the jobs were put in, or not.
            assert _written(place) | {"cap_windows": 1} == written | {"cap_windows": 1}, (
                "the floor did something else"
            )
            return done

        return rate_figures(
            f"{count:,} job lives, {CONCURRENCY} at once", in_turn(program, floor, pairs), GOAL, "job"
        )


async def _fill(place: Place, count: int) -> None:
    """Put priced jobs into the store and arm it."""
    store = SqliteStore(str(place.home.database))
    await fill(kit_of(place, store), count)
    await store.close()


async def fill(kit: Kit, count: int) -> None:
    now_us = kit.clock.now_us()
    specs = tuple(JobSpec(f"ghz-{n}", circuit(n), "openqasm3", "coda:iqm") for n in range(count))
    batch = ReceivedBatch("benchmark", BatchSpec("benchmark", specs, "0" * 64), "bench", "spool", now_us)

    def work(tx: Tx) -> None:
        tx.receive([batch])
        unpriced = tx.unpriced_jobs("coda:iqm", now_us, count)
        ends_us = now_us + 3_600_000_000
        tx.record_quotes([Quote(j.job_id, COST_MICROUSD, "coda", "", "", now_us, ends_us) for j in unpriced])
        # Twice as much as is needed: the cap is checked every time and never reached.
        cap = ArmingRecord(2 * count * COST_MICROUSD, None, "bench", "benchmark", now_us)
        tx.arm(cap, night_window(kit.rules, now_us, cap.night_limit_microusd))

    await kit.store.write(work)


@dataclass(slots=True)
class _Until:
    """Counts what is settled, and tells when it is all."""

    settling: Settling
    left: int
    done: asyncio.Event = field(default_factory=asyncio.Event)

    async def step(self) -> int:
        settled = await self.settling.step()
        self.left -= settled
        if self.left <= 0:
            self.done.set()
        return settled


async def _lives(place: Place, count: int) -> Run:
    store = SqliteStore(str(place.home.database))
    loops = Loops(say_nothing)
    providers = build_providers(place.loaded.settings, place.home, {"CODA_API_TOKEN": TOKEN})
    kit = kit_of(place, store, providers, loops.wake)
    await fill(kit, count)
    polling, submitting = (
        Polling(kit),
        Submitting(kit, ReplySlots(place.home.replies), IntentJournal(place.home.journal)),
    )
    settling = _Until(Settling(kit), count)
    loops.add(Loop("admit", Admitting(kit).step))
    loops.add(Loop("submit", submitting.step))
    loops.add(Loop("poll", polling.step, polling.due_in_s))
    loops.add(Loop("settle", settling.step))
    os.sync()

    async def until_all_are_settled() -> None:
        loops.start()
        await settling.done.wait()

    done = await timed_async(count, until_all_are_settled)
    await loops.stop()
    for provider in providers.values():
        await provider.close()
    await store.close()
    return done


def _written(place: Place) -> dict[str, int]:
    """How many rows a run left in each table: program and floor must have done the same."""
    money = ("holds", "cap_windows", "cap_parts", "intent_marks", "accounts", "txns", "entries")
    tables = (*INTAKE_TABLES, "attempts", *money, "results")
    with contextlib.closing(sqlite3.connect(place.home.database)) as books:
        return {name: int(books.execute(f"SELECT count(*) FROM {name}").fetchone()[0]) for name in tables}
