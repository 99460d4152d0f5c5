"""`backends`: where jobs can run, what stands in the way, and lifting a pause."""

from __future__ import annotations

from typing import TypedDict

from scheduler.api.desk import Args, Caller, Desk, Name
from scheduler.api.views import backend_view
from scheduler.core.admission import BackendLoad
from scheduler.core.breaker import BreakerRules, Move
from scheduler.core.clocks import ClockMark
from scheduler.core.timing import iso
from scheduler.core.views import BackendView, ChangedView
from scheduler.errors import UsageError
from scheduler.ports_store import Tx
from scheduler.stages.clockwatch import CLOCK_PAUSE
from scheduler.stages.reconcile import JOURNAL_PAUSE


class BackendsView(TypedDict):
    as_of: str
    backends: list[BackendView]


class BackendsArgs(Args):
    pass


class ResumeArgs(Args):
    backend: Name
    reason: str = ""


def backend_views(desk: Desk, tx: Tx, now_us: int) -> list[BackendView]:
    waiting = tx.waiting_by_backend()
    names = {*desk.known_backends, *waiting, *tx.busy_backends()}
    # A pause of a whole account shows on each of its backends, or by itself when there are none.
    names -= {name.partition(":")[0] for name in names if ":" in name}
    rules = {name: found for name in sorted(names) if (found := desk.kit.rules.backend(name))}
    loads = tx.fill_loads([BackendLoad(name, r.paid, r.slots) for name, r in rules.items()])
    return [backend_view(load, rules[load.name], waiting.get(load.name, 0), now_us) for load in loads]


async def backends(desk: Desk, caller: Caller, args: BackendsArgs) -> BackendsView:  # noqa: ARG001
    now_us = desk.now_us()
    views = await desk.kit.store.read(lambda tx: backend_views(desk, tx, now_us))
    return {"as_of": iso(now_us), "backends": views}


def _resume(tx: Tx, names: list[str], clocks_now: ClockMark, rules: BreakerRules) -> list[str]:
    codes = {pause.code for name in names for pause in tx.pauses_of(name)}
    if JOURNAL_PAUSE in codes:
        # The person has compared what was sent: from here on both memories count from a new beginning.
        tx.start_epoch()
    if CLOCK_PAUSE in codes:
        tx.set_clock_mark(clocks_now)  # the person says that this is the time
    broken = [name for name in names if name in tx.breaker_states()]
    for name in broken:
        tx.record_breaker(name, Move.RESUME, clocks_now.wall_us, rules)
    return [name for name in names if tx.clear_pause(name) or name in broken]


async def backends_resume(desk: Desk, caller: Caller, args: ResumeArgs) -> ChangedView:
    if not args.reason.strip():
        raise UsageError("a resumed backend needs a reason", "--reason 'token replaced'")
    now_us = desk.now_us()
    # A pause may stand for the whole account: `coda` as well as `coda:iqm`.
    names = [args.backend, args.backend.partition(":")[0]]
    clocks_now = desk.kit.clock.both()
    cleared = await desk.kit.store.write(lambda tx: _resume(tx, names, clocks_now, desk.kit.rules.breaker))
    desk.kit.log("backend resumed", backend=args.backend, by=caller.user, reason=args.reason)
    desk.kit.wake("estimate")
    desk.kit.wake("admit")
    return {
        "as_of": iso(now_us),
        "changed": [f"{name} is used again" for name in dict.fromkeys(cleared)],
        "unchanged": [] if cleared else [f"{args.backend} was not paused"],
    }
