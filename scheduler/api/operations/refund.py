"""`budget refund`: what the provider gave back, booked as a new transaction that names what it takes back."""

from __future__ import annotations

from scheduler.api.desk import Args, Caller, Desk, reason_of
from scheduler.api.operations.jobs import find_job
from scheduler.core.corrections import Refund
from scheduler.core.money import Money, NotMoney, micro_from_number
from scheduler.core.roles import Role
from scheduler.core.timing import iso
from scheduler.core.views import ChangedView
from scheduler.errors import NeedsPerson, UsageError
from scheduler.ports_store import Tx


class RefundArgs(Args):
    job: str
    #: Dollars (`1.30`) or credits (`2 credits`); None is everything.
    amount: str | None = None
    reason: str = ""


async def budget_refund(desk: Desk, caller: Caller, args: RefundArgs) -> ChangedView:
    desk.require(caller, Role.CAPS)
    reason = reason_of(args.reason, "credit note 4711")
    refund = Refund() if args.amount is None else read_refund(args.amount)
    now_us = desk.now_us()

    def work(tx: Tx) -> str:
        attempt_id = tx.last_charged_attempt(find_job(tx, args.job).job_id)
        if attempt_id is None:
            raise NeedsPerson(f"{args.job} was not charged: there is nothing to refund")
        return tx.refund_attempt(attempt_id, refund, caller.user, reason, now_us)

    sentence = await desk.kit.store.write(work)
    desk.kit.log("refunded", job=args.job, amount=args.amount or "all", by=caller.user, reason=reason)
    desk.kit.wake("admit")
    return {"as_of": iso(now_us), "changed": [f"{args.job}: {sentence}"], "unchanged": []}


def read_refund(text: str) -> Refund:
    """Read `1.30`, `$1.30` or `2 credits`. Raises UsageError for anything else and for nothing."""
    number, _, unit = text.strip().partition(" ")
    try:
        if unit in ("credit", "credits"):
            return Refund(microcredits=micro_from_number(number))
        return Refund(microusd=Money.parse(text).microusd)
    except NotMoney as error:
        raise UsageError(str(error), "1.30 is dollars, '2 credits' is credits") from None
    except ValueError as error:
        raise UsageError(str(error)) from None
