"""`arm` and `disarm`: whether anything paid may be sent, and for how much a night.

A fresh install may not send anything paid at all.
"""

from __future__ import annotations

from scheduler.api.desk import Args, Caller, Desk
from scheduler.core.money import Money, NotMoney
from scheduler.core.records import ArmingRecord
from scheduler.core.roles import Role
from scheduler.core.timing import iso
from scheduler.core.views import ChangedView
from scheduler.errors import UsageError
from scheduler.ports_store import Tx
from scheduler.stages.purse import night_window


class ArmArgs(Args):
    night: str
    once: bool = False
    reason: str = ""


class DisarmArgs(Args):
    reason: str = ""


async def arm(desk: Desk, caller: Caller, args: ArmArgs) -> ChangedView:
    desk.require(caller, Role.ARM)
    try:
        limit = Money.parse(args.night)
    except NotMoney as error:
        raise UsageError(str(error), "nightshot arm --night 50.00") from None
    now_us = desk.now_us()
    night = desk.kit.rules.night(now_us)
    once = night.key if args.once else None
    record = ArmingRecord(limit.microusd, once, caller.user, args.reason, now_us)

    def work(tx: Tx) -> list[str]:
        window = night_window(desk.kit.rules, now_us, limit.microusd)
        tx.arm(record, window)
        ((_, books),) = tx.cap_books([window])
        promised = Money(books.held + books.posted)
        for_whom = f"for {night.name} only" if once else "every night, until disarmed"
        if not limit.microusd:
            return ["armed with $0.00: nothing paid is sent, not even what is priced at $0.00"]
        told = [f"armed with {limit} {for_whom}; {promised} of tonight's are spent or reserved"]
        if promised > limit:
            told.append(
                f"that is more than the new limit: nothing new is sent tonight, by {promised - limit}"
            )
        return told

    told = await desk.kit.store.write(work)
    desk.kit.log("armed", limit=str(limit), by=caller.user, once=args.once, reason=args.reason)
    desk.kit.wake("admit")
    return {"as_of": iso(now_us), "changed": told, "unchanged": []}


async def disarm(desk: Desk, caller: Caller, args: DisarmArgs) -> ChangedView:
    now_us = desk.now_us()
    was_armed = await desk.kit.store.write(lambda tx: tx.disarm(caller.user, args.reason, now_us))
    desk.kit.log("disarmed", by=caller.user, reason=args.reason)
    told = ["disarmed: nothing paid is sent any more; what runs at a provider goes on"]
    return {
        "as_of": iso(now_us),
        "changed": told if was_armed else [],
        "unchanged": [] if was_armed else ["it was not armed"],
    }
