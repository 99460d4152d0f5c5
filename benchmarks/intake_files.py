"""Many single files in the inbox, until all are durable and moved, against the least that does the same.

The floor reads each file, inserts the same rows a hundred files a commit, renames the files and syncs their
folder; it neither parses nor checks anything.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3

from benchmarks.homes import Rows, Workshop, kit_of, rows_in
from benchmarks.inputs import write_files
from benchmarks.measure import Figure, Run, in_turn, rate_figures, timed, timed_async
from scheduler.composition import Place, spool_plan
from scheduler.intake.spool import Spool
from scheduler.store.engine import SqliteStore

GOAL = 0.4
FILES_PER_COMMIT = 100


def run(workshop: Workshop, count: int = 10_000, pairs: int = 5) -> list[Figure]:
    figures = []
    for suffix in (".json", ".qasm"):
        for hinted in (False, True):
            how = "renamed in" if hinted else "found old"
            found = _compare(workshop, count, pairs, suffix, hinted)
            figures += rate_figures(f"intake of {count:,} {suffix} files, {how}", found, GOAL, "file")
    return figures


def _compare(workshop: Workshop, count: int, pairs: int, suffix: str, hinted: bool) -> list[tuple[Run, Run]]:
    rows: list[Rows] = []

    def program() -> Run:
        place = workshop.home("intake-files")
        names = write_files(place.home.inbox, count, suffix)
        os.sync()
        done = asyncio.run(_take_in(place, names if hinted else [], count))
        if not rows:
            rows.extend(rows_in(place.home.database))
        return done

    def floor() -> Run:
        folder = workshop.folder / "intake-files-floor"
        shutil.rmtree(folder, ignore_errors=True)
        for name in ("inbox", "done"):
            (folder / name).mkdir(parents=True)
        write_files(folder / "inbox", count, suffix)
        connection = workshop.database("intake-files-floor.db")
        os.sync()
        done = timed(count, lambda: _floor(connection, str(folder), rows))
        connection.close()
        return done

    return in_turn(program, floor, pairs)


async def _take_in(place: Place, hints: list[str], count: int) -> Run:
    store = SqliteStore(str(place.home.database))
    spool = Spool(kit_of(place, store), spool_plan(place.loaded.settings, place.home))
    spool.renamed_in.update(hints)

    async def until_all_are_moved() -> None:
        while await spool.step() or spool.unread:
            pass

    done = await timed_async(count, until_all_are_moved)
    await store.close()
    assert len(rows_in(place.home.database, ["jobs"])[0].rows) == count
    assert not list(place.home.inbox.iterdir())
    assert len(list(place.home.queue.iterdir())) == count
    return done


def _floor(connection: sqlite3.Connection, folder: str, rows: list[Rows]) -> None:
    inbox, target = f"{folder}/inbox", f"{folder}/done"
    names = sorted(os.listdir(inbox))
    folder_fd = os.open(target, os.O_RDONLY)
    for first in range(0, len(names), FILES_PER_COMMIT):
        group = names[first : first + FILES_PER_COMMIT]
        for name in group:
            fd = os.open(f"{inbox}/{name}", os.O_RDONLY)
            os.read(fd, 1 << 20)
            os.close(fd)
        connection.execute("BEGIN IMMEDIATE")
        for each in rows:
            # One row a file in every table, in the order in which they came.
            connection.executemany(each.statement, each.rows[first : first + FILES_PER_COMMIT])
        connection.execute("COMMIT")
        for name in group:
            os.rename(f"{inbox}/{name}", f"{target}/{name}")
        os.fsync(folder_fd)
    os.close(folder_fd)
