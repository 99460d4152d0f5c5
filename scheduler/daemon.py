"""The composition root: settings → adapters → stages → ticks; and back down again in order.

Before any timer runs, reconcile finds out what the last process left. SIGTERM and SIGINT take no new work,
let open billable calls end within `drain.timeout_s`, and leave the rest to the next reconcile.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from apscheduler.schedulers.asyncio import AsyncIOScheduler

from scheduler.api.control import serve_control
from scheduler.api.desk import Caller, Desk
from scheduler.api.operations import answer
from scheduler.composition import (
    Place,
    build_desk,
    build_kit,
    build_providers,
    desk_of_daemon,
    resolve_place,
    spool_plan,
)
from scheduler.core.admission import BackendLoad
from scheduler.core.idle import only_people_can_move
from scheduler.core.windows import open_windows
from scheduler.errors import TryAgain
from scheduler.home import Home, make_folders, socket_address
from scheduler.intake.spool import Spool, user_name
from scheduler.intake.watch import watch_inbox
from scheduler.journal import IntentJournal
from scheduler.locks import file_lock
from scheduler.logs import start_log
from scheduler.loops import Loop, Loops
from scheduler.ports import Kit
from scheduler.ports_store import Tx
from scheduler.replies import ReplySlots
from scheduler.results import AcceptedFiles, Folders
from scheduler.settings import load_settings
from scheduler.stages.admit import LOOK_PAST, Admitting
from scheduler.stages.audit import Auditing
from scheduler.stages.bookkeeping import Bookkeeping
from scheduler.stages.clockwatch import Clockwatching
from scheduler.stages.estimate import Estimating
from scheduler.stages.label import Labelling
from scheduler.stages.poll import Polling
from scheduler.stages.publish import Publishing
from scheduler.stages.purse import purse_for
from scheduler.stages.reconcile import Reconciling
from scheduler.stages.settle import Settling
from scheduler.stages.submit import Submitting
from scheduler.stages.timekeeping import Timekeeping
from scheduler.store.lock import database_lock
from scheduler.store.open import open_store
from scheduler.store.revision import is_current, sqlite_path, upgrade_apart

#: Seconds between ticks of each stage; most work comes by being woken, a tick only catches what nobody told.
TICKS_S = {
    "estimate": 5,
    "admit": 5,
    "submit": 5,
    "settle": 30,
    "publish": 30,
    "label": 10,
    "clockwatch": 15,
    "bookkeeping": 30,
    "timekeeping": 60,
    "reconcile": 300,
}

LOCK_PATIENCE_S = 3.0


def notify_systemd(state: str) -> None:
    """Tell systemd how we are (sd_notify); nothing happens when it did not start us."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    with channel, contextlib.suppress(OSError):
        channel.sendto(state.encode(), address)


class Daemon:
    """All of a running daemon; `run` returns when asked to stop, or when idle if it was told so."""

    def __init__(self, place: Place, until_idle: bool) -> None:
        self._place = place
        self._until_idle = until_idle
        settings = place.loaded.settings
        self._log = start_log(settings.log.level, settings.log.format)
        self._loops = Loops(self._log)
        self._stopping = asyncio.Event()
        #: Why this daemon must not go on; another one has its database.
        self._lost = ""

    async def run(self) -> int:
        async with contextlib.AsyncExitStack() as stack:
            await self._compose(stack)
            await self._audit.at_start()
            for said in await self._reconcile.at_start():
                self._log("recovered", what=said)
            self._add_loops()
            runner = await self._listen(stack)
            self._loops.start()
            stack.push_async_callback(self._loops.stop)
            self._start_ticks(stack)
            self._start_watching(stack)
            self._catch_signals()
            notify_systemd("READY=1")
            self._log("ready", home=str(self._place.home.root), pid=os.getpid())
            await self._wait_for_the_end()
            notify_systemd("STOPPING=1")
            self._log("stopping")
            await runner.cleanup()
            await self._loops.stop()
            await self._submit.drain(self._place.loaded.settings.drain.timeout_s)
            await self._poll.drain()
            if self._lost:
                raise TryAgain(self._lost, "two daemons would act on the same jobs: this one has stopped")
            await self._finish_writing()
        return 0

    def _lose_database(self, sentence: str) -> None:
        self._lost = sentence
        self._log("the database is lost", reason=sentence)
        self._stopping.set()

    async def _compose(self, stack: contextlib.AsyncExitStack) -> None:
        home, settings = self._place.home, self._place.loaded.settings
        await stack.enter_async_context(database_lock(self._place.url, self._lose_database))
        store = open_store(self._place.url)
        stack.push_async_callback(store.close)
        providers = build_providers(settings, home, os.environ)
        for provider in providers.values():
            stack.push_async_callback(provider.close)
        self._kit = build_kit(settings, store, providers, self._loops.wake, self._log)
        replies = ReplySlots(home.replies)
        self._spool = Spool(self._kit, spool_plan(settings, home))
        journal = IntentJournal(home.journal)
        stack.callback(journal.close)
        self._submit = Submitting(self._kit, replies, journal)
        self._poll = Polling(self._kit)
        self._reconcile = Reconciling(self._kit, replies, journal)
        self._audit = Auditing(self._kit)
        self._settle = Settling(self._kit)
        self._publish = Publishing(self._kit, Folders(home.results, home.rejected))
        self._label = Labelling(self._kit, AcceptedFiles(home.queue))
        for provider in providers.values():
            provider.tell_finished(self._poll.nudge)

    def _add_loops(self) -> None:
        add = self._loops.add
        add(Loop("ingest", self._spool.step, self._spool.due_in_s))
        add(Loop("estimate", Estimating(self._kit).step))
        add(Loop("admit", Admitting(self._kit).step))
        add(Loop("submit", self._submit.step))
        add(Loop("poll", self._poll.step, self._poll.due_in_s))
        add(Loop("settle", self._settle.step))
        add(Loop("publish", self._publish.step))
        add(Loop("label", self._label.step))
        add(Loop("reconcile", self._reconcile.step))
        add(Loop("audit", self._audit.step, self._audit.due_in_s))
        add(Loop("clockwatch", Clockwatching(self._kit).step))
        add(Loop("bookkeeping", Bookkeeping(self._kit).step))
        timekeeping = Timekeeping(self._kit)
        add(Loop("timekeeping", timekeeping.step, timekeeping.due_in_s))

    async def _listen(self, stack: contextlib.AsyncExitStack) -> Any:
        path = self._place.home.socket
        desk = desk_of_daemon(build_desk(self._place.loaded, self._place.home, self._kit), self._troubles)
        address = stack.enter_context(socket_address(path))
        runner = await serve_control(desk, path, address)
        stack.push_async_callback(runner.cleanup)
        stack.callback(path.unlink, missing_ok=True)
        return runner

    def _troubles(self) -> Mapping[str, str]:
        return {**self._loops.troubles(), **self._spool.troubles}

    def _start_ticks(self, stack: contextlib.AsyncExitStack) -> None:
        """APScheduler only ticks: it wakes stages and knows nothing of jobs."""
        ticks = AsyncIOScheduler(timezone="UTC")
        scan_s = self._place.loaded.settings.spool.scan_interval_s
        for name, seconds in {**TICKS_S, "ingest": scan_s}.items():
            ticks.add_job(
                self._loops.wake,
                "interval",
                args=[name],
                seconds=seconds,
                id=name,
                coalesce=True,
                misfire_grace_time=None,
            )
        ticks.start()
        stack.callback(ticks.shutdown, wait=False)

    def _start_watching(self, stack: contextlib.AsyncExitStack) -> None:
        watching = asyncio.create_task(
            watch_inbox(
                self._place.home.inbox,
                self._spool.heard_rename,
                lambda: self._loops.wake("ingest"),
                self._log,
            )
        )

        async def stop_watching() -> None:
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching

        stack.push_async_callback(stop_watching)

    def _catch_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)

    async def _wait_for_the_end(self) -> None:
        if not self._until_idle:
            await self._stopping.wait()
            return
        while not self._stopping.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), 0.1)
            if await self._is_idle():
                self._log("idle")
                return

    async def _is_idle(self) -> bool:
        """Nothing in hand, nothing to read, and nothing waiting that time alone would move."""
        in_hand = self._submit.in_hand or self._poll.in_hand
        if in_hand or self._spool.pending or self._spool.unread or not self._loops.quiet:
            return False
        try:
            return await self._kit.store.read(lambda tx: _is_idle(self._kit, tx)) and self._loops.quiet
        except TryAgain:
            return False  # locked or full at this moment: nobody can say, so go on

    async def _finish_writing(self) -> None:
        """What is already known becomes files, so that a stop leaves no result behind unpublished."""
        try:
            await self._settle.step()
            while await self._publish.step():
                pass
            await self._label.step()
        except (TryAgain, OSError) as error:
            # A full disk does not make a clean stop a failure: the next start goes on from the store.
            self._log("left for the next start", reason=str(error))


def _is_idle(kit: Kit, tx: Tx) -> bool:
    now_us = kit.clock.now_us()
    next_us = tx.next_time_us()
    if tx.ended_unpublished(1) or tx.broken_needs(1) or (next_us is not None and next_us <= now_us):
        return False
    rules = {name: found for name in tx.waiting_backends() if (found := kit.rules.backend(name))}
    windows = open_windows(kit.rules.hours, now_us)
    if any(tx.prices_will_come(name, windows) for name, found in rules.items() if found.enabled):
        return False
    loads = tx.fill_loads([BackendLoad(name, r.paid, r.slots) for name, r in rules.items() if r.enabled])
    heads = {load.name: tx.queue_heads(load.name, now_us, load.slots + LOOK_PAST, windows) for load in loads}
    purse = purse_for(tx, [job for jobs in heads.values() for job in jobs], kit.rules, now_us)
    counts = tx.state_counts(since_us=now_us)
    return only_people_can_move(counts, heads, loads, purse, kit.rules.doubt_limits, now_us, kit.rules.hours)


def prepare(home: Home, config_file: Path | None) -> Place:
    """Folders, settings and an upgraded database. Raises SettingsError, SchemaMismatch or Unreachable."""
    loaded = load_settings(home, config_file, os.environ)
    make_folders(home)
    return resolve_place(home, loaded)


def bring_up_to_date(place: Place) -> list[str]:
    """SQLite upgrades itself, a backup first; PostgreSQL is other people's too and is only checked."""
    path = sqlite_path(place.url)
    if path is None:
        from scheduler.store.migrate import require_current

        require_current(place.url)
        return []
    return [] if is_current(path) else upgrade_apart(place.url, place.backups)


def run_daemon(home: Home, config_file: Path | None, *, until_idle: bool = False) -> int:
    """Run until stopped; returns the exit code."""
    place = prepare(home, config_file)
    # A command that answers without a daemon holds the lock for a moment; another daemon holds it for good.
    with file_lock(home.lock, f"the home {home.root}", patience_s=LOCK_PATIENCE_S):
        bring_up_to_date(place)

        async def main() -> int:
            return await Daemon(place, until_idle).run()

        return asyncio.run(main())


def answer_offline(home: Home, config_file: Path | None, op: str, args: Mapping[str, Any]) -> dict[str, Any]:
    """Run one operation on the store itself, under the home's lock, because no daemon runs."""
    place = prepare(home, config_file)
    with file_lock(home.lock, f"the home {home.root}", patience_s=LOCK_PATIENCE_S):
        bring_up_to_date(place)

        async def main() -> dict[str, Any]:
            async with contextlib.AsyncExitStack() as stack:
                await stack.enter_async_context(database_lock(place.url))
                store = open_store(place.url)
                stack.push_async_callback(store.close)
                providers = build_providers(place.loaded.settings, home, os.environ)
                for provider in providers.values():
                    stack.push_async_callback(provider.close)
                kit = build_kit(place.loaded.settings, store, providers, lambda _stage: None, _say_nothing)
                desk: Desk = build_desk(place.loaded, home, kit)
                return dict(await answer(desk, Caller(user_name(os.getuid())), op, args))

        return asyncio.run(main())


def _say_nothing(_event: str, **_facts: Any) -> None:
    """A command has no log: what it did is its answer."""
