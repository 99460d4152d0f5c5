"""The floor of a job's life: the statements, reply files, journal and connections of the program, no more.

No lifecycle, no checks of answers, no loops: 32 coroutines carry jobs from one queue through sqlite3, aiohttp
and one writer thread that commits what has gathered. The statements are the program's, written by hand.
"""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import time
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.measure import Run, timed_async
from benchmarks.mock_coda import TOKEN, MockCoda
from scheduler.composition import Place

CONCURRENCY = 32
COST = 1_300_000
NIGHT = "night/cost/night:2026-01-01/everyone"
REPLY_BYTES = 64 * 1024
Step = tuple[str, Sequence[Any]]

_HEADS = """SELECT j.id, j.shots, c.code FROM jobs j JOIN circuits c ON c.sha256 = j.circuit_sha256
 WHERE j.state = 'waiting' AND j.estimate_microusd IS NOT NULL AND j.backend = 'coda:iqm'
 ORDER BY j.priority DESC, j.id LIMIT ?"""
_ADMIT = """UPDATE jobs SET state='admitted', reason='admitted', wait_code=NULL, wait_until_us=NULL
 WHERE id=? AND state='waiting'"""
_LAST_TRY = "SELECT max(ordinal) FROM attempts WHERE job_id=?"
_ATTEMPT = """INSERT INTO attempts(id, job_id, part_ordinal, ordinal, state, backend, provider,
 estimate_microusd, prepared_us) VALUES (?,?,1,1,'prepared','coda:iqm','coda',?,?)"""
_EVENT = "INSERT INTO job_events(job_id, at_us, event, sentence) VALUES (?,?,?,?)"
_INTENT = """UPDATE attempts SET state='submitting', posts=1, paid=1, accept_overage=0, sent_us=?,
 send_not_after_us=? WHERE id=? AND state='prepared' AND posts=0"""
_CANDIDATE = "SELECT * FROM jobs WHERE id=?"
_BOOKS = "SELECT key, limit_amount, held, posted FROM cap_windows WHERE key=?"
_LIMITS = "SELECT cap, window_key, limit_amount FROM cap_limits WHERE cap IN ('night') ORDER BY id"
_GRANTS = """SELECT g.*, a.posted, a.held FROM grants g JOIN accounts a ON a.id = g.account_id
 WHERE g.provider='coda' ORDER BY g.id"""
_AUDIT = "SELECT verdict, sentence FROM audits ORDER BY id DESC LIMIT 1"
_ARMING = "SELECT * FROM armings ORDER BY id DESC LIMIT 1"
_NIGHT = """INSERT INTO cap_windows(key, cap, measure, limit_amount, resets_us, opened_us)
 VALUES (?,'night','cost',?,?,?) ON CONFLICT DO NOTHING"""
_RESERVE = """UPDATE cap_windows SET held=held+?
 WHERE key=? AND (limit_amount IS NULL OR held+posted+? <= limit_amount)"""
_HOLD = "INSERT INTO holds(attempt_id, amount_microusd, overage_microusd, state) VALUES (?,?,0,'open')"
_CAP_PART = "INSERT INTO cap_parts(attempt_id, window_key, amount) VALUES (?,?,?)"
_MARK = "INSERT INTO intent_marks(node, epoch, sequence) VALUES ('main', 1, 0) ON CONFLICT DO NOTHING"
_NUMBER = "UPDATE intent_marks SET sequence=sequence+1 WHERE node='main' RETURNING epoch, sequence"
_NUMBERED = """UPDATE attempts SET intent_epoch=1, intent_sequence=(SELECT sequence FROM intent_marks
 WHERE node='main') WHERE id=? AND intent_sequence IS NULL"""
_GATE = """SELECT a.state, a.backend, a.send_not_after_us, j.cancel_asked_us, p.sentence, p.until_us
 FROM attempts a JOIN jobs j ON j.id=a.job_id LEFT JOIN pauses p ON p.backend IN (a.backend, a.provider)
 WHERE a.id=?"""
_LOADS = (
    """SELECT backend, count(*) FROM attempts WHERE state IN ('prepared', 'submitted', 'submitting')
 GROUP BY backend""",
    """SELECT backend, count(*), sum(estimate_microusd) FROM attempts
 WHERE state IN ('in_doubt', 'submitting') AND state = 'in_doubt' GROUP BY backend""",
    "SELECT * FROM pauses",
    "SELECT * FROM breakers",
)
_BREAKERS = _LOADS[-1]
_BREAKER = "SELECT * FROM breakers WHERE backend=?"
_NO_PAUSE = "DELETE FROM pauses WHERE backend=? AND until_us <= ?"
_TAKEN = """SELECT id FROM attempts WHERE provider=(SELECT provider FROM attempts WHERE id=?)
 AND provider_job_id=? AND id<>?"""
_ACCEPT = """UPDATE attempts SET state='submitted', provider_job_id=?, provider_status='submitted',
 next_poll_us=?, estimated_cost_microusd=?, credits_applied_microcredits=?, overage_microusd=0, reason=NULL,
 raw_reply=? WHERE id=? AND state IN ('submitting', 'in_doubt')"""
_RUNNING = "UPDATE jobs SET state='running', reason=? WHERE id=? AND state IN ('admitted', 'in_doubt')"
_DUE = """SELECT a.id, j.backend, c.code FROM attempts a JOIN jobs j ON j.id=a.job_id
 JOIN circuits c ON c.sha256=j.circuit_sha256 WHERE a.state='submitted' AND a.id=?"""
_FINISH = """UPDATE attempts SET state='finished', provider_status='completed', ended_us=?, polls=polls+1
 WHERE id=? AND state='submitted'"""
_RESULT = """INSERT INTO results(job_id, part_ordinal, attempt_id, counts, bit_order, shots_returned, facts,
 raw, received_us) VALUES (?,1,?,?,'as sent',?,'{}',?,?)"""
_SETTLE = "UPDATE attempts SET state='settled' WHERE id=? AND state='finished'"
_OPEN_HOLD = """SELECT h.*, a.provider FROM holds h JOIN attempts a ON a.id=h.attempt_id
 WHERE h.attempt_id=? AND h.state='open'"""
_POST_HOLD = """UPDATE holds SET state='posted', posted_microusd=?, overrun_microusd=0, evidence=?
 WHERE attempt_id=? AND state='open'"""
_HOLD_PARTS = "SELECT account_id, amount FROM hold_parts WHERE attempt_id=? ORDER BY ordinal"
_BOOKED = "SELECT id FROM txns WHERE idem_key=?"
_ACCOUNT = """INSERT INTO accounts(id, asset, kind, guarded) VALUES (?,'credit',?,0)
 ON CONFLICT DO NOTHING"""
_TXN = """INSERT INTO txns(idem_key, kind, attempt_id, reverses, actor, reason, at_us)
 VALUES (?,'settle',?,NULL,'nightshot',?,?) RETURNING id"""
_ENTRY = """INSERT INTO entries(txn_id, line, account_id, amount)
 VALUES ((SELECT id FROM txns WHERE idem_key=?),?,?,?)"""
_BALANCE = "UPDATE accounts SET posted=posted+? WHERE id=?"
_BOOKED_HOLD = "UPDATE holds SET txn_id=(SELECT id FROM txns WHERE idem_key=?) WHERE attempt_id=?"
_CAP_PARTS = """SELECT p.window_key, p.amount, w.measure FROM cap_parts p
 JOIN cap_windows w ON w.key=p.window_key WHERE p.attempt_id=? AND p.settled IS NULL ORDER BY p.window_key"""
_POST = """UPDATE cap_windows SET held=held-?, posted=posted+?, excused=CASE WHEN
 held-?+posted+?-limit_amount > excused THEN held-?+posted+?-limit_amount ELSE excused END WHERE key=?"""
_POST_PART = "UPDATE cap_parts SET settled=? WHERE attempt_id=? AND window_key=? AND settled IS NULL"
_COMPLETE = (
    "UPDATE jobs SET state='completed', ended_us=?, cost_microusd=?, reason=? WHERE id=? AND state='running'"
)


_EVIDENCE = "the cost named in the reply to the submission"
_BOOKING = (("unplanned:coda", -2_000_000), ("spent:coda", 2_000_000))
_ACCOUNTS = ("spent:coda", "unplanned:coda")


def _now_us() -> int:
    return time.time_ns() // 1000


class _Writer:
    """One thread, one connection: what waits while a commit is flushed goes into the next one."""

    def __init__(self, database: Path) -> None:
        self._connection = _connect(database)
        self._thread = ThreadPoolExecutor(1)
        self._waiting: asyncio.Queue[tuple[Sequence[Step], asyncio.Future[list[Any]]]] = asyncio.Queue()
        self._task = asyncio.create_task(self._run())

    def write(self, steps: Sequence[Step]) -> asyncio.Future[list[Any]]:
        future: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self._waiting.put_nowait((steps, future))
        return future

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            group = [await self._waiting.get()]
            while not self._waiting.empty():
                group.append(self._waiting.get_nowait())
            for (_, future), rows in zip(
                group, await loop.run_in_executor(self._thread, self._commit, group), strict=True
            ):
                future.set_result(rows)

    def _commit(self, group: Sequence[tuple[Sequence[Step], Any]]) -> list[list[Any]]:
        execute = self._connection.execute
        execute("BEGIN IMMEDIATE")
        found = [[execute(sql, values).fetchall() for sql, values in steps] for steps, _ in group]
        execute("COMMIT")
        return found

    async def close(self) -> None:
        self._task.cancel()
        self._thread.shutdown()
        self._connection.close()


class _Journal:
    """One file; lines that are there while one sync runs share the next."""

    def __init__(self, folder: Path) -> None:
        self._fd = os.open(folder / "floor.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._thread = ThreadPoolExecutor(1)
        self._waiting: asyncio.Queue[tuple[bytes, asyncio.Future[None]]] = asyncio.Queue()
        self._task = asyncio.create_task(self._run())

    def append(self, line: bytes) -> asyncio.Future[None]:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.put_nowait((line, future))
        return future

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            group = [await self._waiting.get()]
            while not self._waiting.empty():
                group.append(self._waiting.get_nowait())
            await loop.run_in_executor(self._thread, self._write, b"".join(line for line, _ in group))
            for _, future in group:
                future.set_result(None)

    def _write(self, lines: bytes) -> None:
        os.write(self._fd, lines)
        os.fdatasync(self._fd)

    async def close(self) -> None:
        self._task.cancel()
        self._thread.shutdown()
        os.close(self._fd)


def _connect(database: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(database, isolation_level=None, check_same_thread=False)
    for pragma in ("synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")
    return connection


class _Lives:
    def __init__(self, place: Place, coda: MockCoda, count: int) -> None:
        self._url = coda.base_url
        self._left = count
        self._writer = _Writer(place.home.database)
        self._journal = _Journal(place.home.journal)
        self._reader = _connect(place.home.database)
        self._replies = place.home.replies
        self._todo: asyncio.Queue[tuple[str, int, str, int]] = asyncio.Queue()
        self._hungry = asyncio.Event()
        self._done = asyncio.Event()
        self._numbers = iter(range(count))
        self._reply_threads = ThreadPoolExecutor(CONCURRENCY)
        self._reply_fds: list[int] = []
        headers = {"Authorization": f"Bearer {TOKEN}"}
        once = aiohttp.TCPConnector(limit=CONCURRENCY, force_close=True)
        self._posts = aiohttp.ClientSession(connector=once, headers=headers)
        self._polls = aiohttp.ClientSession(headers=headers)

    async def run(self) -> None:
        await self._writer.write([(_NIGHT, (NIGHT, 10**15, 10**17, _now_us())), (_MARK, ())])
        workers = [asyncio.create_task(self._work(slot)) for slot in range(CONCURRENCY)]
        feeder = asyncio.create_task(self._feed())
        await self._done.wait()
        for task in (*workers, feeder):
            task.cancel()

    async def close(self) -> None:
        await self._writer.close()
        await self._journal.close()
        self._reader.close()
        self._reply_threads.shutdown()
        for fd in self._reply_fds:
            os.close(fd)
        await self._posts.close()
        await self._polls.close()

    async def _feed(self) -> None:
        while True:
            heads = self._reader.execute(_HEADS, (CONCURRENCY,)).fetchall()
            if not heads:
                return
            steps: list[Step] = []
            for job_id, _, _ in heads:
                attempt, now_us = f"{next(self._numbers):014x}-0123456789", _now_us()
                steps += [
                    (_ADMIT, (job_id,)),
                    (_LAST_TRY, (job_id,)),
                    (_ATTEMPT, (attempt, job_id, COST, now_us)),
                    (_EVENT, (job_id, now_us, "admit", f"admitted to coda:iqm as attempt {attempt}")),
                ]
            await self._writer.write(steps)
            for (job_id, shots, code), (_, values) in zip(heads, steps[2::4], strict=True):
                self._todo.put_nowait((values[0], job_id, code, shots))
            self._hungry.clear()
            await self._hungry.wait()

    async def _work(self, slot: int) -> None:
        reply_fd = os.open(self._replies / f"floor-{slot}", os.O_WRONLY | os.O_CREAT)
        self._reply_fds.append(reply_fd)
        os.write(reply_fd, bytes(REPLY_BYTES))
        os.fsync(reply_fd)
        while True:
            attempt, job_id, code, shots = await self._todo.get()
            if self._todo.qsize() <= CONCURRENCY // 2:
                self._hungry.set()
            now_us = _now_us()
            await self._writer.write(
                [
                    (_INTENT, (now_us, now_us + 60_000_000, attempt)),
                    (_CANDIDATE, (job_id,)),
                    (_ARMING, ()),
                    (_BOOKS, (NIGHT,)),
                    (_LIMITS, ()),
                    (_GRANTS, ()),
                    (_AUDIT, ()),
                    *((question, ()) for question in _LOADS),
                    (_HOLD, (attempt, COST)),
                    (_LIMITS, ()),
                    (_NIGHT, (NIGHT, 10**15, 10**17, now_us)),
                    (_RESERVE, (COST, NIGHT, COST)),
                    (_CAP_PART, (attempt, NIGHT, COST)),
                    (_NUMBER, ()),
                    (_NUMBERED, (attempt,)),
                ]
            )
            await self._journal.append(f"{zlib.crc32(attempt.encode()):08x} {attempt} {now_us}\n".encode())
            self._reader.execute(_GATE, (attempt,)).fetchall()
            for question in (_BREAKERS, _ARMING, _AUDIT, *_LOADS):
                self._reader.execute(question).fetchall()
            fields = {"code": code, "source_framework": "openqasm3", "backend": "iqm", "shots": shots}
            async with self._posts.post(f"{self._url}/qpus", json=fields) as answer:
                reply = await answer.read()
            await asyncio.get_running_loop().run_in_executor(self._reply_threads, _keep, reply_fd, reply)
            await self._life_after(attempt, job_id, json.loads(reply)["job_id"], reply.decode())

    async def _life_after(self, attempt: str, job_id: int, provider_id: str, reply: str) -> None:
        now_us = _now_us()
        told = f"accepted by coda as {provider_id}"
        await self._writer.write(
            [
                (_TAKEN, (attempt, provider_id, attempt)),
                (_ACCEPT, (provider_id, now_us, COST, 2_000_000, reply, attempt)),
                (_RUNNING, (told, job_id)),
                (_EVENT, (job_id, now_us, "accepted", told)),
                (_BREAKER, ("coda:iqm",)),
                (_NO_PAUSE, ("coda:iqm", now_us)),
                (_OPEN_HOLD, (attempt,)),
            ]
        )
        self._reader.execute(_DUE, (attempt,)).fetchall()
        async with self._polls.post(f"{self._url}/qpus/status", json={"job_id": provider_id}) as answer:
            raw = await answer.text()
        counts, now_us = json.dumps([json.loads(raw)["results"]]), _now_us()
        told, key = "completed on coda:iqm", f"settle:{attempt}"
        await self._writer.write(
            [(_FINISH, (now_us, attempt)), (_RESULT, (job_id, attempt, counts, "[100]", raw, now_us))]
        )
        await self._writer.write(
            [
                (_SETTLE, (attempt,)),
                (_OPEN_HOLD, (attempt,)),
                (_POST_HOLD, (COST, _EVIDENCE, attempt)),
                *((_HOLD_PARTS, (attempt,)) for _ in range(2)),
                (_BOOKED, (key,)),
                *((_ACCOUNT, (account, account.partition(":")[0])) for account in _ACCOUNTS),
                (_TXN, (key, attempt, _EVIDENCE, now_us)),
                *((_ENTRY, (key, line, *booked)) for line, booked in enumerate(_BOOKING, 1)),
                *((_BALANCE, (amount, account)) for account, amount in _BOOKING),
                (_BOOKED_HOLD, (key, attempt)),
                (_CAP_PARTS, (attempt,)),
                (_POST, (COST,) * 6 + (NIGHT,)),
                (_POST_PART, (COST, attempt, NIGHT)),
                (_COMPLETE, (now_us, COST, told, job_id)),
                (_EVENT, (job_id, now_us, "complete", told)),
            ]
        )
        self._left -= 1
        if not self._left:
            self._done.set()


def _keep(fd: int, reply: bytes) -> None:
    os.pwrite(fd, reply, 0)
    os.fdatasync(fd)


async def floor_lives(place: Place, coda: MockCoda, count: int) -> Run:
    lives = _Lives(place, coda, count)
    done = await timed_async(count, lives.run)
    await lives.close()
    return done
