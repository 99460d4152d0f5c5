"""One writer, many readers: transactions that arrive together share one commit, questions one snapshot.

On SQLite a plain synchronous connection lives in a writer thread of its own. A transaction is a function that
runs there without a thread hop for each statement. Those that wait, and those that come while others of the
group run, go into one commit, each in a savepoint, so that a failing one takes nothing with it. The commit is
`synchronous=FULL`, and nobody is told of success before it is on disk. Questions that wait are answered
together as well, from a snapshot begun after the last of them: a hop to a thread costs more than most.

What both databases share is here too; PostgreSQL's own half is in `postgres.py`, loaded where it is used.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.pool import NullPool

from scheduler.errors import SettingsError, TryAgain
from scheduler.store.compiled import driver_of
from scheduler.store.tx import StoreTx

T = TypeVar("T")
Work = Callable[[StoreTx], Any]
Outcomes = list[tuple[Any, BaseException | None]]
#: More waiters than this go into the next commit, so the first one is not kept waiting for ever.
GROUP_LIMIT = 256
_PRAGMAS = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}


def sqlite_engine(path: str, *, read_only: bool = False, timeout_s: float = 10.0) -> Engine:
    """Make an engine whose every write is BEGIN IMMEDIATE, FULL and checked for foreign keys.

    sqlite3's own transaction handling silently lost 273 of 400 updates: it is switched off
    (`isolation_level=None`) and a hook begins transactions instead.
    """
    engine = create_engine(
        f"sqlite:///{path}",
        poolclass=NullPool,
        connect_args={"isolation_level": None, "timeout": timeout_s, "check_same_thread": False},
    )

    @event.listens_for(engine, "connect")
    def set_pragmas(raw: Any, _record: Any) -> None:
        cursor = raw.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute(f"PRAGMA busy_timeout={int(timeout_s * 1000)}")
        if read_only:
            cursor.execute("PRAGMA query_only=ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        driver: Any = connection.connection.driver_connection
        if driver.in_transaction:
            return  # `_opened` has begun it, and SQLAlchemy only now hears of a statement
        _say(connection, driver, "BEGIN" if read_only else "BEGIN IMMEDIATE")

    return engine


def refuse_weak_pragmas(connection: Connection) -> None:
    """Start only on a database that keeps what it says it kept. Raises SettingsError."""
    for name, wanted in _PRAGMAS.items():
        found = connection.exec_driver_sql(f"PRAGMA {name}").scalar()
        if str(found).lower() != str(wanted):
            raise SettingsError(
                f"the database refuses PRAGMA {name}: it is {found}, and {wanted} is needed to lose nothing",
                "put the database on a local file system, or set store.url to PostgreSQL",
            )


def as_try_again(error: DBAPIError) -> TryAgain:
    cause = str(error.orig).splitlines()[0] if error.orig else str(error)
    hint = (
        "free some space; nothing was lost" if "full" in cause else "the same step is tried again by itself"
    )
    return TryAgain(f"the store cannot do that now: {cause}", hint)


#: Classes of SQLSTATE that pass: connection, rollback, resources (disk full), not ready, operator, system.
_PASSING_SQLSTATES = ("08", "40", "53", "55", "57", "58")


def is_weather(error: DBAPIError) -> bool:
    """True for failures that pass (locked, full, connection gone), False for mistakes of ours."""
    if error.connection_invalidated:
        return True
    if isinstance(error.orig, sqlite3.Error):
        # The plain SQLITE_ERROR says "no such table" or "syntax error": waiting does not help.
        wrong = error.orig.sqlite_errorcode == sqlite3.SQLITE_ERROR
        return isinstance(error, OperationalError) and not wrong
    return (getattr(error.orig, "sqlstate", None) or "").startswith(_PASSING_SQLSTATES)


def closed_store() -> TryAgain:
    return TryAgain("the store is closed: this process is stopping", "the next start goes on from here")


#: Says one statement without values or rows to a connection.
Say = Callable[[str], object]


def run_group(connection: Connection, works: Iterator[Work], say: Say) -> Outcomes:
    """Run several transactions' work inside the one that is open, each kept apart by a savepoint.

    But the first: when it fails the transaction is rolled back whole, and nobody else has begun.
    """
    tx = StoreTx(connection)
    outcomes: Outcomes = [(next(works)(tx), None)]
    for work in works:
        say("SAVEPOINT work")
        try:
            value = work(tx)
            say("RELEASE SAVEPOINT work")
        except DBAPIError as error:
            if is_weather(error):
                raise  # the whole transaction is gone (a full disk rolls it back): all have failed
            _undo_work(say)
            outcomes.append((None, error))
        except Exception as error:  # noqa: BLE001 - it is handed to the one who asked
            _undo_work(say)
            outcomes.append((None, error))
        else:
            outcomes.append((value, None))
    return outcomes


def _undo_work(say: Say) -> None:
    say("ROLLBACK TO SAVEPOINT work")
    say("RELEASE SAVEPOINT work")


def _say(connection: Connection, driver: sqlite3.Connection, sql: str) -> None:
    """Past SQLAlchemy, which takes longer for it than for most works."""
    try:
        driver.execute(sql)
    except sqlite3.Error as error:
        raise DBAPIError.instance(sql, (), error, sqlite3.Error, dialect=connection.dialect) from error


@contextlib.contextmanager
def _opened(connection: Connection, begin: str) -> Iterator[Say]:
    """A transaction, committed at the end of the block or rolled back by what it raises.

    On SQLite past SQLAlchemy as well, whose own begin and commit take longer than a small work. It joins by
    itself when a work asks it for a statement; then its commit is the one that is made.
    """
    driver = driver_of(connection)
    if driver is None:
        with connection.begin():
            yield connection.exec_driver_sql
        return
    say = partial(_say, connection, driver)
    say(begin)
    try:
        yield say
        if connection.in_transaction():
            connection.commit()
        else:
            say("COMMIT")
    except BaseException:
        # Always: after a failed commit SQLAlchemy says it is in none, and yet begins no other before this.
        connection.rollback()
        if driver.in_transaction:  # it never heard of it; and a full disk has rolled it back already
            say("ROLLBACK")
        raise


def run_transaction(connection: Connection, works: Iterable[Work]) -> Outcomes:
    """Commit a group; on failure of the commit every one of them has failed.

    Works are taken one by one while the transaction is open. The outcomes are those of the works taken: when
    the first one fails by itself, the others have not been.
    """
    taken = 0

    def counted() -> Iterator[Work]:
        nonlocal taken
        for work in works:
            taken += 1
            yield work

    try:
        with _opened(connection, "BEGIN IMMEDIATE") as say:
            return run_group(connection, counted(), say)
    except DBAPIError as error:
        failure = as_try_again(error) if is_weather(error) else error
        return [(None, failure)] * max(1, taken)
    except Exception as error:  # noqa: BLE001
        # The first one's own, mostly, alone in its transaction; or the commit's, and then it is everybody's.
        return [(None, error)] * max(1, taken)


Waiter = tuple[Work, "asyncio.Future[Any]"]


def answer_waiters(waiters: list[Waiter], outcomes: list[tuple[Any, BaseException | None]]) -> None:
    for (_, future), (value, error) in zip(waiters, outcomes, strict=True):
        if future.done():
            continue  # its caller was cancelled; what it asked for is committed all the same
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(value)


#: What is asked, where the answer goes, and on which loop somebody waits for it.
Asked = tuple[Work, "asyncio.Future[Any]", asyncio.AbstractEventLoop]


class _Group:
    """Whoever waits in a queue, and whoever comes while their works are being taken.

    It ends by itself: each of them waits for its answer, so there are never more than there are callers.
    """

    def __init__(self, first: Asked, waiting: queue.SimpleQueue[Asked | None]) -> None:
        self.members = [first]
        #: The queue's end was seen: this group is the last one.
        self.ends = False
        self._waiting = waiting

    def works(self) -> Iterator[Work]:
        yield self.members[0][0]
        while len(self.members) < GROUP_LIMIT and not self.ends:
            try:
                came = self._waiting.get_nowait()
            except queue.Empty:
                return
            if came is None:
                self.ends = True
            else:
                self.members.append(came)
                yield came[0]


def _serve(waiting: queue.SimpleQueue[Asked | None], perform: Callable[[Iterator[Work]], Outcomes]) -> None:
    """Answer what is asked, all that waits at a time, until None comes: the body of a thread."""
    while (first := waiting.get()) is not None:
        group = _Group(first, waiting)
        outcomes = perform(group.works())
        waiters: list[Waiter] = [(work, future) for work, future, _ in group.members]
        with contextlib.suppress(RuntimeError):  # the loop is gone: nobody is waiting any more
            first[2].call_soon_threadsafe(answer_waiters, waiters, outcomes)
        if group.ends:
            return


def read_snapshot(connection: Connection, works: Sequence[Work]) -> Outcomes:
    """Answer several questions from one snapshot, which is no older than the last of them."""
    outcomes: Outcomes = []
    with _opened(connection, "BEGIN"):
        tx = StoreTx(connection)
        for work in works:
            try:
                outcomes.append((work(tx), None))
            except DBAPIError as error:
                outcomes.append((None, as_try_again(error) if is_weather(error) else error))
            except Exception as error:  # noqa: BLE001 - it is handed to the one who asked
                outcomes.append((None, error))
    return outcomes


class SqliteStore:
    """The store on a SQLite file; `path` is the file."""

    def __init__(self, path: str, *, readers: int = 2) -> None:
        self._writer_engine = sqlite_engine(path)
        self._reader_engine = sqlite_engine(path, read_only=True)
        self._to_write: queue.SimpleQueue[Asked | None] = queue.SimpleQueue()
        self._to_read: queue.SimpleQueue[Asked | None] = queue.SimpleQueue()
        self._closed = False
        self._connection = self._writer_engine.connect()
        try:
            refuse_weak_pragmas(self._connection)
            self._connection.rollback()
        except BaseException:
            self._connection.close()
            raise
        self._threads = [threading.Thread(target=self._write_loop, name="store-writer", daemon=True)]
        self._threads += [
            threading.Thread(target=self._read_loop, name="store-reader", daemon=True) for _ in range(readers)
        ]
        for thread in self._threads:
            thread.start()

    async def write(self, work: Callable[[StoreTx], T]) -> T:
        return await self._ask(self._to_write, work)

    async def read(self, work: Callable[[StoreTx], T]) -> T:
        return await self._ask(self._to_read, work)

    async def read_behind(self, work: Callable[[StoreTx], T]) -> T:
        return await self._ask(self._to_write, work)

    async def _ask(self, waiting: queue.SimpleQueue[Asked | None], work: Callable[[StoreTx], T]) -> T:
        if self._closed:
            raise closed_store()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        waiting.put((work, future, loop))
        return await future

    def _write_loop(self) -> None:
        try:
            _serve(self._to_write, lambda works: run_transaction(self._connection, works))
        finally:
            self._connection.close()

    def _read_loop(self) -> None:
        connection: Connection | None = None

        def read(coming: Iterator[Work]) -> Outcomes:
            nonlocal connection
            works = list(coming)  # before the snapshot: it must not be older than any of the questions
            try:
                connection = connection or self._reader_engine.connect()
                return read_snapshot(connection, works)
            except DBAPIError as error:
                return [(None, as_try_again(error) if is_weather(error) else error)] * len(works)

        try:
            _serve(self._to_read, read)
        finally:
            if connection is not None:
                connection.close()

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._to_write.put(None)  # after all that was asked before: each of those is still answered
        for _ in self._threads[1:]:
            self._to_read.put(None)
        for thread in self._threads:
            await asyncio.to_thread(thread.join)
        self._writer_engine.dispose()
        self._reader_engine.dispose()
