"""A simulated night: the real stages on the real store, on a virtual clock, against pretended providers.

Nothing is patched. The driver lets everything run that can run at one instant, then moves the clock to the
next thing that is due. Processes are killed at any step and started again on the same files; one seed is one
night, step by step.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any

from scheduler.api.desk import Desk
from scheduler.core.records import ReceivedBatch
from scheduler.core.task import RunRequest
from scheduler.errors import NightshotError
from tests.simulation.clock import TrueClock, VirtualClock, nothing_can_run
from tests.simulation.ground import Ground
from tests.simulation.invariants import CLOCK_PUT, Books, InvariantBroken, require
from tests.simulation.limits import Limits
from tests.simulation.people import Person
from tests.simulation.plan import BERLIN, EVENING_US, HOUR_US, Plan, rules_of
from tests.simulation.ports import Inline, Killed
from tests.simulation.process import Process
from tests.simulation.told import Told
from tests.support.pretend import FATES, LOST, Bill, Server

#: Stages are woken at least so often, as the daemon's ticks do.
TICK_US = 300_000_000
#: Passes of the event loop without anything happening, after which nothing will at this instant.
QUIET_PASSES = 12
#: More steps than this at one instant are a stage that spins.
SPINNING = 4000


class Night:
    def __init__(self, plan: Plan, ground: Ground) -> None:
        ground.clear()
        self.plan, self.ground, self.folder = plan, ground, ground.folder
        self.journal = ground.folder / "journal"
        self.rng = random.Random(f"night {plan.seed}")
        self.clock = VirtualClock(EVENING_US)
        self.told = Told(plan.seed)
        self.servers = {
            "blind": self._server("blind", paid=True, tells=False),
            "open": self._server("open", paid=True, tells=True),
            "free": self._server("free", paid=False, tells=True),
        }
        limits = Limits(plan.caps, BERLIN, clock_is_put=plan.jump_rate > 0)
        self.books = Books(ground.database, self.journal, self.servers.values(), limits)
        self.person = Person(self.rng, self.books, self.servers, plan.caps)
        self.rules = rules_of(plan, self.servers)
        self._attempts = 0
        self._background: set[asyncio.Task[Any]] = set()
        self._arrivals = plan.arrivals(self.rng)
        self._broken: InvariantBroken | None = None
        self._kept: dict[str, Any] = {}
        self._backed_up = False
        self.busy_hours = True
        self._last_tick_us = 0

    # -------------------------------------------------------------------------------------------- the world

    def say(self, line: str) -> None:
        self.told.lines.append(f"{(self.clock.true_us() - EVENING_US) / 1e6:10.3f} {line}")

    def new_id(self) -> str:
        self._attempts += 1
        return f"a{self._attempts:04d}"

    def committed(self) -> None:
        with self._told_to_the_driver():
            self.books.after_commit()
        # One restore a night: what people put right after the first one is not forgotten once more.
        late_enough = self.busy_hours and not self._arrivals and not self.told.restored
        if self.plan.restores and late_enough and self.rng.random() < 0.02:
            self.say("a backup is made")
            self.ground.back_up()
            self._backed_up = True

    def clock_was_watched(self) -> None:
        """From now on the daemon knows that its clock was put, or that all is well."""
        for name, server in self.servers.items():
            if not server.paid:
                continue
            if abs(self.clock.offset_us - self.books.believed_offset_us) > 61_000_000:
                self.books.must_wait.setdefault(name, CLOCK_PUT)
            elif self.books.must_wait.get(name) == CLOCK_PUT:
                del self.books.must_wait[name]
        if CLOCK_PUT not in self.books.must_wait.values():
            self.books.believed_offset_us = self.clock.offset_us

    @contextlib.contextmanager
    def _told_to_the_driver(self) -> Iterator[None]:
        """A broken invariant ends the night, wherever in the program it was noticed."""
        try:
            yield
        except InvariantBroken as broken:
            self._broken = self._broken or broken
            self.process.life.kill(f"broken: {broken}")
            raise Killed from broken

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    def _server(self, name: str, *, paid: bool, tells: bool) -> Server:
        server = Server(
            name,
            TrueClock(self.clock),
            self.rng,
            self.spawn,
            paid=paid,
            tells=tells,
            fault_rate=self.plan.fault_rate,
            credits_microcredits=self.plan.credits,
            cents_per_credit=self.plan.cents_per_credit,
        )
        server.weights = LOST if self.plan.fog else FATES
        server.on_arrival = lambda request: self._arrived(server, request)
        server.on_bill = lambda bill: self._billed(server, bill)
        return server

    def _arrived(self, server: Server, request: RunRequest) -> None:
        attempt_id, accepts = request.attempt_id, request.accept_overage
        self.say(f"{server.name} <- {attempt_id}{' and accepts overage' if accepts else ''}")
        now_us = self.clock.now_us()
        with self._told_to_the_driver():
            self.books.request_arrived(server, attempt_id, accept_overage=accepts, now_us=now_us)

    def _billed(self, server: Server, bill: Bill) -> None:
        self.say(f"{server.name} BILLS {bill.attempt_id} {bill.cost_microusd} ({bill.fate})")
        with self._told_to_the_driver():
            self.books.bill_written(server, bill)

    # ------------------------------------------------------------------------------------------- the driver

    async def run(self) -> Told:
        """Live through the night, then let everything come to rest; raises InvariantBroken."""
        asyncio.get_running_loop().set_default_executor(Inline(1))
        try:
            await self._start(self.plan.kill_rate)
            self.process.do(self._act(self.person.arm))
            if self.plan.grants:
                for name in ("blind", "open"):
                    self.process.do(self._act(lambda desk, name=name: self.person.grant(desk, "8", name)))  # type: ignore[misc]
            await self._until(EVENING_US + int(self.plan.hours * HOUR_US), self._all_ended)
            await self._let_all_go()
            await self._come_to_rest()
        finally:
            await self._bury()
            for task in list(self._background):
                task.cancel()
            self._sum_up()
            self.books.close()
        return self.told

    def _sum_up(self) -> None:
        told = self.told
        for server in self.servers.values():
            told.fates.update(server.fates)
            told.bills += len(server.bills)
            told.requests += sum(server.requests.values())
        states = self.books.rows("SELECT state, COUNT(*) AS n FROM jobs GROUP BY state")
        told.states.update({row["state"]: row["n"] for row in states})
        told.virtual_hours = (self.clock.true_us() - EVENING_US) / HOUR_US

    def _audit(self) -> None:
        self.books.audit()
        self.books.believe(self.ground.audit())

    async def _start(self, kill_rate: float) -> None:
        """Start a process, and again when it is killed while it starts; then audit."""
        while True:
            self.process = Process(self, kill_rate)
            try:
                for line in await self._at_start(self.process):
                    self.say(f"recovered {line}")
                break
            except Killed:
                await self._bury()
                self._audit()
        self._require_recovered()
        self.books.audit()

    async def _at_start(self, process: Process) -> list[str]:
        """Reconcile before anything else; the daemon would end and be started again when that fails."""
        recovering = asyncio.create_task(process.recover())
        while not recovering.done():
            await self._pass_time(process, recovering)
        try:
            return recovering.result()
        except NightshotError as error:
            process.life.kill(f"could not start: {error.message}")
            raise Killed from error
        except Exception as error:
            raise InvariantBroken("a daemon can always start", repr(error)) from error

    async def _pass_time(self, process: Process, task: asyncio.Task[Any]) -> None:
        for _ in range(QUIET_PASSES):
            if task.done():
                return
            await asyncio.sleep(0)
        due_us = self.clock.next_due_us()
        if due_us is not None and not task.done():
            self.clock.advance_to(due_us)

    def _require_recovered(self) -> None:
        """After a start nothing is left in between, and no reply that was on disk is in doubt."""
        left = self.books.rows("SELECT id FROM attempts WHERE state = 'submitting'")
        require("nothing is left submitting after a start", not left, left)
        for attempt_id, outcome in self._kept.items():
            row = self.books.one("SELECT state, reason FROM attempts WHERE id = :id", id=attempt_id)
            known = type(outcome).__name__ == "Unknown" or "another attempt" in (row["reason"] or "")
            forgotten = row["state"] == "in_doubt" and not known
            require("a reply on disk is not forgotten", not forgotten, (attempt_id, outcome, row))
        self._kept.clear()

    async def _bury(self) -> None:
        """Nothing of a killed process goes on."""
        process = self.process
        process.life.kill("the end")
        if process.life.died_at != "the end":
            self.told.kills[process.life.died_at] += 1
        self._kept.update(process.life.kept)
        mine = asyncio.current_task()
        tasks = [t for t in asyncio.all_tasks() if t is not mine and t not in self._background]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await process.close()

    async def _until(self, end_us: int, done: Callable[[], bool]) -> None:
        """Live until then, or until `done`, through as many processes as it takes."""
        while True:
            await self._pump()
            if self._broken is not None:
                raise self._broken
            if self.process.life.died_at is not None:
                await self._restart()
                continue
            if done() or self.clock.true_us() >= end_us:
                return
            self._advance(end_us)
            if self.busy_hours:
                self._let_the_world_move()
            if self.busy_hours and self.rng.random() < self.plan.kill_rate / 2:
                self.process.life.kill("between two steps")

    def _let_the_world_move(self) -> None:
        """Prices move, and somebody puts the machine's clock, or puts it right again."""
        if self.rng.random() < self.plan.drift_rate:
            server = self.servers[self.rng.choice(("blind", "open"))]
            server.price_microusd = int(server.price_microusd * self.rng.choice((0.7, 0.97, 1.02, 1.04, 1.3)))
            self.say(f"{server.name} costs {server.price_microusd} now")
        if self.rng.random() < self.plan.jump_rate:
            by_us = int(self.rng.choice((-25.0, -1.0, -0.005, 0.005, 2.0, 25.0)) * HOUR_US)
            if self.clock.offset_us and self.rng.random() < 0.6:
                by_us = -self.clock.offset_us
            self.clock.jump(by_us)
            self.say(f"the wall clock jumps by {by_us / 1e6:.0f} s")

    async def _restart(self) -> None:
        await self._bury()
        self._audit()
        if self.busy_hours and self._backed_up and self.rng.random() < 0.3:
            self._restore()
        if self.busy_hours and self.rng.random() < 0.3:
            later_us = self.clock.true_us() + int(self.rng.uniform(1, 3000) * 1e6)
            self.clock.advance_to(self._next_us(later_us))
        await self._start(self.plan.kill_rate if self.busy_hours else 0.0)

    def _restore(self) -> None:
        self.books.close()
        self.ground.restore()
        self._backed_up = False
        self._kept.clear()  # their slots are used again since
        self.books.forget()
        self.told.restored = True
        self.say(f"the backup is restored; forgotten: {sorted(self.books.forgotten)}")
        self._audit()

    def _next_us(self, latest_us: int) -> int:
        """While no daemon runs, time passes for the servers one event after another."""
        due_us = self.clock.next_due_us()
        return latest_us if due_us is None else min(latest_us, due_us)

    async def _pump(self) -> None:
        """Let everything run that can run at this instant."""
        quiet = steps = 0
        while quiet < QUIET_PASSES and self.process.life.died_at is None:
            before = self.process.life.activity
            started = self.process.start_woken()
            if self.busy_hours and self.rng.random() < 0.02:
                self.process.do(self._act(self.person.do_something))
            if started or not nothing_can_run():
                await asyncio.sleep(0)
            moved = started or self.process.life.activity != before
            quiet = 0 if moved else quiet + 1
            steps += bool(moved)
            require("no stage spins", steps < SPINNING, self.told.lines[-20:])

    async def _act(self, act: Callable[[Desk], Awaitable[str]]) -> None:
        try:
            self.say(f"ada: {await act(self.process.desk)}")
        except (NightshotError, Killed) as error:
            self.say(f"ada was refused: {error}")
        except InvariantBroken as broken:
            self._broken = self._broken or broken

    def _advance(self, end_us: int) -> None:
        now_us = self.clock.true_us()
        tick_us = self._last_tick_us + TICK_US
        due = [self.clock.next_due_us(), self._next_row_due_us(), end_us, now_us + 15 * 60_000_000]
        due += [at_us for at_us, _ in self._arrivals[:1]]
        next_us = max(now_us + 1, min(us for us in due if us is not None))
        if self.rng.random() < 0.1:
            self.books.audit()
        self.clock.advance_to(next_us)
        self.process.wake("poll")
        if next_us >= tick_us:
            self._last_tick_us = next_us
            self.process.wake_some()
        while self._arrivals and self._arrivals[0][0] <= next_us:
            self.process.do(self._receive(self._arrivals.pop(0)))

    async def _receive(self, arrival: tuple[int, ReceivedBatch]) -> None:
        """A file is there until its rows are: a process that dies in between leaves it to the next one."""
        process = self.process
        try:
            await process.store.write(lambda tx: tx.receive([arrival[1]]))
            process.wake("estimate")
        except (NightshotError, Killed, asyncio.CancelledError):
            later_us = self.clock.true_us() + 5_000_000
            self._arrivals.insert(0, (later_us, arrival[1]))

    def _next_row_due_us(self) -> int | None:
        due_us = self.books.scalar(
            "SELECT MIN(due) FROM (SELECT MIN(next_poll_us) AS due FROM attempts"
            " WHERE state = 'submitted' AND next_poll_us > :now"
            " UNION ALL SELECT MIN(wait_until_us) FROM jobs WHERE state = 'waiting' AND wait_until_us > :now"
            " UNION ALL SELECT MIN(until_us) FROM pauses WHERE until_us > :now)",
            now=self.clock.now_us(),
        )
        return None if due_us is None else due_us - self.clock.offset_us

    # ---------------------------------------------------------------------------------------------- the end

    async def _let_all_go(self) -> None:
        """Before the faults are off: people let go what still waits, so that it meets them too."""
        self.say("---- people put everything right")
        for act in self._put_right():
            self.process.do(self._act(act))
        await self._until(self.clock.true_us() + HOUR_US, self._all_ended)

    async def _come_to_rest(self) -> None:
        """With the faults off and everything put right, every job ends."""
        self.say("---- the faults are off")
        self.busy_hours = False
        for server in self.servers.values():
            server.fault_rate = 0.0
            server.credits_microcredits = None
        self.clock.jump(-self.clock.offset_us)
        await self._restart()
        for _ in range(60):
            for act in self._put_right():
                self.process.do(self._act(act))
            await self._until(self.clock.true_us() + 2 * HOUR_US, self._all_ended)
            if self._all_ended():
                break
        self._audit()
        left = self.books.rows("SELECT * FROM jobs WHERE ended_us IS NULL")
        require("with the faults off everything ends", not left and not self._arrivals, left)
        await self._until(self.clock.true_us() + HOUR_US // 4, lambda: False)
        self._audit()
        self.books.settled_as_billed()
        unpublished = self.books.rows("SELECT id FROM jobs WHERE published_us IS NULL")
        require("every ended job is written to files", not unpublished, unpublished)

    def _put_right(self) -> list[Callable[[Desk], Awaitable[str]]]:
        """Everything a person can do so that nothing waits for one any more."""
        person = self.person
        return [
            lambda desk: person.arm(desk, "100000"),
            lambda desk: person.cap(desk, "unlimited"),
            lambda desk: person.grant(desk, "100000", "blind"),
            lambda desk: person.grant(desk, "100000", "open"),
            lambda desk: person.approve(desk, everything=True),
            person.raise_own_caps,
            person.resume,
            lambda desk: person.resolve(desk, write_off=False),
        ]

    def _all_ended(self) -> bool:
        return not self._arrivals and not self.books.scalar(
            "SELECT COUNT(*) FROM jobs WHERE ended_us IS NULL"
        )


def live_through(seed: int, ground: Ground) -> Told:
    """Simulate one night on a cleared ground."""
    night = Night(Plan.of(seed), ground)
    try:
        return asyncio.run(night.run())
    except BaseException:
        print(f"--- night {seed}: {night.plan}")
        print("\n".join(night.told.lines[-200:]))
        raise
