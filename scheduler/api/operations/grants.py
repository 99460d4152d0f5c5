"""`budget grant`, `adjust` and `observe`: what people know about credits, booked with who said it and why.

Nothing here reads a balance from anywhere: no provider of ours tells it, so a person has to.
"""

from __future__ import annotations

import shlex
from datetime import UTC, date, datetime, time, timedelta, tzinfo

from pydantic import Field

from scheduler.api.budget_views import credits_text
from scheduler.api.desk import Args, Caller, Desk, reason_of
from scheduler.core.admission import Pause
from scheduler.core.caps import Measure, read_amount
from scheduler.core.job import BatchSpec, JobSpec
from scheduler.core.money import NotMoney
from scheduler.core.records import NewGrant
from scheduler.core.roles import Role
from scheduler.core.timing import iso, to_us
from scheduler.core.views import ChangedView
from scheduler.errors import NotFound, RefusedByBudget, SpecError, UsageError
from scheduler.ports_store import Tx


class GrantArgs(Args):
    credits: str
    provider: str
    label: str = ""
    priority: int = 0
    starts: str | None = None
    expires: str | None = None
    users: list[str] = Field(default_factory=list)
    projects: list[str] = Field(default_factory=list)
    backends: list[str] = Field(default_factory=list)
    reason: str = ""


class AdjustArgs(Args):
    #: With its sign: `5` or `-3.5`.
    credits: str
    grant: int
    reason: str = ""


class ObserveArgs(Args):
    credits: str
    provider: str
    reason: str = ""


async def budget_grant(desk: Desk, caller: Caller, args: GrantArgs) -> ChangedView:
    desk.require(caller, Role.CAPS)
    reason = reason_of(args.reason, "invoice 4711")
    now_us = desk.now_us()
    grant = _new_grant(desk, args, now_us)

    def work(tx: Tx) -> list[str]:
        number = tx.add_grant(grant, caller.user, reason, now_us)
        until = f" until {iso(grant.expires_us)}" if grant.expires_us is not None else ""
        told = [
            f"grant {number}: {credits_text(grant.amount_microcredits)} credits of {grant.provider}{until}"
        ]
        if tx.clear_pause(grant.provider, "credits"):
            told.append(f"{grant.provider} is used again: it was paused for want of credits")
        return told

    told = await desk.kit.store.write(work)
    desk.kit.log(
        "credits granted", credits=args.credits, provider=args.provider, by=caller.user, reason=reason
    )
    desk.kit.wake("admit")
    return {"as_of": iso(now_us), "changed": told, "unchanged": []}


def _new_grant(desk: Desk, args: GrantArgs, now_us: int) -> NewGrant:
    _check_provider(desk, args.provider)
    amount = _credits(args.credits)
    if amount == 0:
        raise UsageError("a grant of 0 credits grants nothing", "nightshot budget grant 100 …")
    zone = desk.kit.rules.zone
    effective_us = now_us if args.starts is None else _instant(args.starts, zone, end_of_day=False)
    expires_us = None if args.expires is None else _instant(args.expires, zone, end_of_day=True)
    if expires_us is not None and expires_us <= max(now_us, effective_us):
        before = "now" if expires_us <= now_us else "it starts"
        raise UsageError(
            f"--expires {args.expires}: that is {iso(expires_us)}, before {before}: it could never be used"
        )
    if not -1000 <= args.priority <= 1000:
        raise UsageError(f"--priority {args.priority}: write a number from -1000 to 1000")
    backends = tuple(_backend(desk, name, args.provider) for name in args.backends)
    return NewGrant(
        provider=args.provider,
        label=args.label,
        amount_microcredits=amount,
        priority=args.priority,
        effective_us=effective_us,
        expires_us=expires_us,
        users=tuple(args.users),
        projects=tuple(args.projects),
        backends=backends,
    )


def _check_provider(desk: Desk, name: str) -> None:
    if name not in desk.kit.providers:
        raise UsageError(
            f"no provider is called {name!r}", f"there are: {', '.join(sorted(desk.kit.providers))}"
        )


def _credits(text: str) -> int:
    try:
        return read_amount(Measure.CREDITS, text)
    except NotMoney as error:
        raise UsageError(str(error)) from None


def _backend(desk: Desk, text: str, provider: str) -> str:
    try:
        (job,) = desk.resolve(BatchSpec("--backend", (JobSpec("", "", "openqasm3", text),), "")).jobs
    except SpecError as error:
        raise UsageError(error.message) from None
    if job.backend.partition(":")[0] != provider:
        raise UsageError(f"{job.backend} is not a backend of {provider}, whose credits these are")
    return job.backend


def _instant(text: str, zone: tzinfo, *, end_of_day: bool) -> int:
    """`2026-12-31` is a whole local day: it starts with it and expires at its end. Otherwise with a zone."""
    try:
        if len(text) == len("2026-12-31"):
            day = date.fromisoformat(text) + timedelta(days=1 if end_of_day else 0)
            return to_us(datetime.combine(day, time(0), tzinfo=zone).astimezone(UTC))
        moment = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise UsageError(f"{text!r} is no date", "write 2026-12-31, or 2026-12-31T18:00+01:00") from None
    if moment.tzinfo is None:
        raise UsageError(f"{text!r} does not say its time zone", f"write {text}+01:00, or {text}Z")
    return to_us(moment.astimezone(UTC))


async def budget_adjust(desk: Desk, caller: Caller, args: AdjustArgs) -> ChangedView:
    desk.require(caller, Role.CAPS)
    reason = reason_of(args.reason, "a lab mate ran 5 credits in the browser")
    written = args.credits.strip()
    amount = _credits(written[1:] if written[:1] in ("+", "-") else written)
    amount = -amount if written.startswith("-") else amount
    if amount == 0:
        raise UsageError("0 credits change nothing", "write 5 or -3.5")
    now_us, key = desk.now_us(), desk.kit.new_id()

    def work(tx: Tx) -> str:
        record = tx.grant_record(args.grant)
        if record is None:
            raise NotFound(f"there is no grant {args.grant}", "nightshot budget lists them")
        free = record.free_microcredits
        if amount < 0 and -amount > free:
            raise RefusedByBudget(
                f"grant {args.grant} has {credits_text(free)} credits free "
                f"({credits_text(record.held_microcredits)} are reserved for jobs): "
                f"{credits_text(-amount)} cannot be taken from it"
            )
        tx.adjust_grant(record, amount, key, caller.user, reason, now_us)
        now, before = credits_text(free + amount), credits_text(free)
        return f"grant {args.grant} has {now} credits free now, it had {before}"

    told = await desk.kit.store.write(work)
    desk.kit.log("grant adjusted", grant=args.grant, credits=args.credits, by=caller.user, reason=reason)
    desk.kit.wake("admit")
    return {"as_of": iso(now_us), "changed": [told], "unchanged": []}


async def budget_observe(desk: Desk, caller: Caller, args: ObserveArgs) -> ChangedView:
    desk.require(caller, Role.CAPS)
    reason = reason_of(args.reason, "read on the billing page")
    _check_provider(desk, args.provider)
    observed = _credits(args.credits)
    now_us, key = desk.now_us(), desk.kit.new_id()
    told = await desk.kit.store.write(
        lambda tx: _observe(desk, tx, caller, args, observed, key, reason, now_us)
    )
    desk.kit.log(
        "credits observed", provider=args.provider, credits=args.credits, by=caller.user, reason=reason
    )
    return {"as_of": iso(now_us), "changed": told, "unchanged": []}


def _observe(
    desk: Desk, tx: Tx, caller: Caller, args: ObserveArgs, observed: int, key: str, reason: str, now_us: int
) -> list[str]:
    provider = args.provider
    position = tx.credit_position(provider, now_us)
    if not position.grants:
        raise UsageError(
            f"no grant of {provider} is recorded, so its balance is unknown and there is nothing to compare",
            f"nightshot budget grant {args.credits} --provider {provider} --reason {shlex.quote(reason)}",
        )
    difference = position.unexplained_by(observed)
    most, least = credits_text(position.expected_most), credits_text(position.expected_least)
    expected = most if most == least else f"{least} to {most}, for what is under way"
    if difference == 0:
        return [f"{provider}: {credits_text(observed)} credits, as expected ({expected})"]
    tx.observe_credits(provider, difference, key, caller.user, reason, now_us)
    which = "more" if difference > 0 else "fewer"
    told = [
        f"{provider}: {credits_text(observed)} credits, {credits_text(abs(difference))} {which} than "
        f"expected ({expected}): booked as unexplained"
    ]
    unexplained = position.unexplained + difference
    limit = desk.kit.rules.spending.unexplained_limit_microcredits
    if abs(unexplained) > limit:
        sentence = (
            f"{credits_text(unexplained)} credits of {provider} are unexplained, and {credits_text(limit)} "
            "are tolerated (credits.unexplained_limit)"
        )
        tx.pause_backend(provider, Pause("breaker", sentence), now_us)
        told.append(f"{sentence}: nothing more is sent there until somebody resumes it")
        told.append(f"nightshot backends resume {provider} --reason '…'")
    return told
