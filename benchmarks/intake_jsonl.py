"""One JSONL file of many jobs, from the inbox to durable rows, against raw executemany of the same rows."""

from __future__ import annotations

import asyncio

from benchmarks.homes import Rows, Workshop, kit_of, rows_in
from benchmarks.inputs import write_jsonl
from benchmarks.measure import Figure, Run, in_turn, rate_figures, timed, timed_async
from scheduler.composition import Place, spool_plan
from scheduler.intake.spool import Spool
from scheduler.store.engine import SqliteStore

GOAL = 0.3


def run(workshop: Workshop, count: int = 10_000, pairs: int = 5) -> list[Figure]:
    rows: list[Rows] = []

    def program() -> Run:
        place = workshop.home("intake-jsonl")
        write_jsonl(place.home.inbox / "batch.jsonl", count)
        done = asyncio.run(_take_in(place, count))
        if not rows:
            rows.extend(rows_in(place.home.database))
        return done

    def floor() -> Run:
        connection = workshop.database("intake-jsonl-floor.db")

        def insert() -> None:
            connection.execute("BEGIN IMMEDIATE")
            for each in rows:
                connection.executemany(each.statement, each.rows)
            connection.execute("COMMIT")

        done = timed(count, insert)
        connection.close()
        return done

    return rate_figures(f"intake of {count:,} jobs in one JSONL", in_turn(program, floor, pairs), GOAL, "job")


async def _take_in(place: Place, count: int) -> Run:
    store = SqliteStore(str(place.home.database))
    spool = Spool(kit_of(place, store), spool_plan(place.loaded.settings, place.home))
    done = await timed_async(count, spool.step)
    await store.close()
    assert len(rows_in(place.home.database, ["jobs"])[0].rows) == count
    assert not list(place.home.inbox.iterdir())
    return done
