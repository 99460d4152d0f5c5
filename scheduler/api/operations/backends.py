"""`backends`: where jobs can run, what stands in the way, and lifting a pause."""

from __future__ import annotations

from typing import Literal, TypedDict

from scheduler.api.desk import Args, Caller, Desk, Name
from scheduler.api.views import backend_view
from scheduler.core.admission import NAMED_GATES, BackendLoad, Pause, resume_command
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
    #: The money stop to lift, and nothing else; without it those two stay and everything else goes.
    gate: Literal["journal", "clock"] | None = None
    reason: str = ""


#: What changed, and what did not.
Resumed = tuple[list[str], list[str]]


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


def _lift(tx: Tx, names: list[str], gate: str, clocks_now: ClockMark) -> Resumed:
    """Lift the one money stop that a person named."""
    lifted = [name for name in names if tx.clear_pause(name, gate)]
    if not lifted:
        return [], [f"gate {gate} of {names[-1]} is not closed"]
    if gate == JOURNAL_PAUSE:
        # The person has compared what was sent: from here on both memories count from a new beginning.
        tx.start_epoch()
    if gate == CLOCK_PAUSE:
        tx.set_clock_mark(clocks_now)  # the person says that this is the time
    return [f"gate {gate} of {name} is lifted" for name in lifted], []


def _resume(tx: Tx, names: list[str], now_us: int, rules: BreakerRules) -> Resumed:
    """Lift everything but the money stops, one of which may have come after the person looked."""
    broken = tx.breaker_states()
    pauses = [(name, pause) for name in names for pause in tx.pauses_of(name)]
    stops = [(name, pause) for name, pause in pauses if pause.code in NAMED_GATES]
    lifted = [
        (name, pause.code)
        for name, pause in pauses
        if pause.code not in NAMED_GATES and tx.clear_pause(name, pause.code)
    ]
    for name in names:
        if name in broken:
            tx.record_breaker(name, Move.RESUME, now_us, rules)
            lifted.append((name, "breaker"))
    # Nothing is used again while its account is stopped: then only the gates are named that opened.
    changed = [
        f"gate {code} of {name} is lifted" if stops else f"{name} is used again" for name, code in lifted
    ]
    unchanged = [_stays(name, stop) for name, stop in stops]
    if not changed and not unchanged:
        unchanged = [f"{names[0]} was not paused"]
    return list(dict.fromkeys(changed)), unchanged


def _stays(name: str, stop: Pause) -> str:
    command = resume_command(name, stop.code)
    return f"{name} stays closed by gate {stop.code}: {stop.sentence}. To lift it: {command}"


async def backends_resume(desk: Desk, caller: Caller, args: ResumeArgs) -> ChangedView:
    if not args.reason.strip():
        raise UsageError("a resumed backend needs a reason", "--reason 'token replaced'")
    now_us = desk.now_us()
    # A pause may stand for the whole account: `coda` as well as `coda:iqm`.
    names = list(dict.fromkeys([args.backend, args.backend.partition(":")[0]]))
    clocks_now = desk.kit.clock.both()

    def resume(tx: Tx) -> Resumed:
        if args.gate is not None:
            return _lift(tx, names, args.gate, clocks_now)
        return _resume(tx, names, clocks_now.wall_us, desk.kit.rules.breaker)

    changed, unchanged = await desk.kit.store.write(resume)
    desk.kit.log("backend resumed", backend=args.backend, gate=args.gate, by=caller.user, reason=args.reason)
    desk.kit.wake("estimate")
    desk.kit.wake("admit")
    return {"as_of": iso(now_us), "changed": changed, "unchanged": unchanged}
