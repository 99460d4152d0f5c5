"""`budget cap`: a limit is changed while the daemon runs, by somebody who may, with a reason."""

from __future__ import annotations

from dataclasses import replace

from scheduler.api.desk import Args, Caller, Desk, reason_of
from scheduler.api.operations.budget import current_window
from scheduler.core.caps import Cap, CapBooks, Period, Scope, amount_text, read_limit, window_of
from scheduler.core.money import NotMoney
from scheduler.core.records import WindowRecord
from scheduler.core.roles import Role
from scheduler.core.spending import NIGHT_CAP
from scheduler.core.timing import iso
from scheduler.core.views import ChangedView
from scheduler.errors import NotFound, UsageError
from scheduler.ports_store import Tx
from scheduler.stages.purse import caps_in_force, night_window

#: Open windows that are named when a new limit is below what they have used already.
NAMED = 3


class CapArgs(Args):
    name: str
    limit: str
    #: Only the occurrence that is open now.
    tonight: bool = False
    #: Only the one with this key.
    window: str | None = None
    reason: str = ""


async def budget_cap(desk: Desk, caller: Caller, args: CapArgs) -> ChangedView:
    desk.require(caller, Role.CAPS)
    reason = reason_of(args.reason, "the beam time was moved to tonight")
    if args.tonight and args.window is not None:
        raise UsageError("--tonight and --window say two different things", "give one of them")
    now_us = desk.now_us()
    told = await desk.kit.store.write(lambda tx: _set_cap(desk, tx, caller, args, reason, now_us))
    desk.kit.log("cap changed", cap=args.name, limit=args.limit, by=caller.user, reason=reason)
    desk.kit.wake("admit")
    return {"as_of": iso(now_us), "changed": told, "unchanged": []}


def _set_cap(desk: Desk, tx: Tx, caller: Caller, args: CapArgs, reason: str, now_us: int) -> list[str]:
    arming = tx.arming()
    caps = {cap.name: cap for cap in caps_in_force(arming, desk.kit.rules)}
    cap = caps.get(args.name)
    if cap is None:
        raise NotFound(f"there is no cap {args.name!r}", f"there are: {', '.join(caps)}")
    try:
        limit = read_limit(cap.measure, args.limit)
    except NotMoney as error:
        raise UsageError(str(error), "'unlimited' is no limit, and 0 is nothing") from None
    key = _window_key(tx, cap, args, now_us)
    if cap.name == NIGHT_CAP and arming is None:
        raise UsageError(
            "the night's cap comes with arming, and nothing is armed",
            f"nightshot arm --night {'50.00' if limit is None else args.limit}",
        )
    if cap.name == NIGHT_CAP and key is None and arming is not None:
        if limit is None:
            raise UsageError(
                "a night always has a limit: write an amount", f"nightshot budget cap {cap.name} 50.00"
            )
        # It stays armed as it was; only the figure is another one, and the arming remembers whose it is.
        changed = replace(arming, night_limit_microusd=limit, actor=caller.user, reason=reason, at_us=now_us)
        tx.arm(changed, night_window(desk.kit.rules, now_us, limit))
    else:
        tx.set_cap_limit(cap, key, limit, caller.user, reason, now_us)
    return _told(tx, cap, limit, key, now_us)


def _window_key(tx: Tx, cap: Cap, args: CapArgs, now_us: int) -> str | None:
    """The one window that is meant; None for all of the cap's."""
    current = current_window(cap, now_us)
    if args.window is not None:
        known = {window.key for window in tx.open_windows(cap, now_us, 1_000_000)}
        known |= {current.key} if current else set()
        if args.window not in known and not _will_open(tx, cap, args.window, now_us):
            raise NotFound(
                f"cap {cap.name} has no open window {args.window!r}", "nightshot budget names them"
            )
        return args.window
    if not args.tonight:
        return None
    if cap.period is not Period.NIGHT:
        raise UsageError(
            f"cap {cap.name} is counted by {cap.period}, not by night",
            f"leave out --tonight, or name one window of it: nightshot budget cap {cap.name} … --window KEY",
        )
    if current is None:
        raise UsageError(
            f"cap {cap.name} has a window for each {cap.scope}, so tonight is several",
            f"name the one that is meant: nightshot budget cap {cap.name} … --window KEY",
        )
    return current.key


def _will_open(tx: Tx, cap: Cap, key: str, now_us: int) -> bool:
    """Whether a job waits that would be the first to use this window: its limit may be set before."""
    period, _, whose = key.removeprefix(f"{cap.name}/{cap.measure}/").partition("/")
    if cap.period is Period.JOB:
        job_id = tx.waiting_job_of(Scope.JOB, period.partition(":")[2])
    else:
        job_id = tx.waiting_job_of(cap.scope, whose.partition(":")[2])
    if job_id is None:
        return False
    window = window_of(cap, tx.candidate_of(job_id).spender, now_us)
    return window is not None and window.key == key


def _told(tx: Tx, cap: Cap, limit: int | None, key: str | None, now_us: int) -> list[str]:
    new = "unlimited" if limit is None else amount_text(cap.measure, limit)
    where = f"in {key}" if key is not None else "from now on"
    windows = tx.open_windows(cap, now_us, 1000)
    over = [w for w in windows if (key is None or w.key == key) and _excess(w, limit) > 0]
    told = [f"cap {cap.name} is {new} {where}"]
    for window in over[:NAMED]:
        used = amount_text(cap.measure, window.held + window.posted)
        excess = amount_text(cap.measure, _excess(window, limit))
        resets = f" before {iso(window.resets_us)}" if window.resets_us is not None else ""
        told.append(
            f"{used} of {window.key} are spent or reserved already, {excess} more than that: they stay, and "
            f"nothing new fits{resets}"
        )
    if len(over) > NAMED:
        told.append(f"and so it is in {len(over) - NAMED} more windows: nightshot budget")
    return told


def _excess(window: WindowRecord, limit: int | None) -> int:
    free = CapBooks(window.key, limit, window.held, window.posted).free
    return 0 if free is None else -free
