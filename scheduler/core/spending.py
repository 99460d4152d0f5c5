"""What a job may spend, decided on a copy of the books: which caps, which credits, overage or not.

The same function serves admission, the plan, `why`, and the last decision before the intent; only there are
its answers reserved by conditional updates, and only then do they count.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from scheduler.core.alarms import AlarmRules
from scheduler.core.caps import Cap, CapBooks, Measure, Period, Scope, Spender, Use, Window, amount_text
from scheduler.core.ledger import Grant, HoldPart, Shortage, burn_down
from scheduler.core.money import MICRO, Credits, Money

#: The cap that a job carries itself (`cap = "2.00 USD"`): it covers all of the job's attempts together.
JOB_CAP = "job"
#: The cap that `arm --night` sets.
NIGHT_CAP = "night"


@dataclass(frozen=True, slots=True)
class OverageProposal:
    """A job's wish to spend beyond credits, as a policy sees it."""

    job_accepts: bool
    approved: bool
    quote_microusd: int


@dataclass(frozen=True, slots=True)
class OverageAnswer:
    """`accept` is what goes on the wire; `hold_microusd` is reserved for it before anything is sent."""

    accept: bool
    hold_microusd: int
    needs_approval: bool
    reason: str


def no_overage(_proposal: OverageProposal) -> OverageAnswer:
    return OverageAnswer(False, 0, False, "overage is switched off here (overage.policy)")


@dataclass(frozen=True, slots=True)
class SpendingRules:
    """The house's money rules; `cents_per_credit` only predicts, replies book what was really applied."""

    caps: tuple[Cap, ...] = ()
    overage: Callable[[OverageProposal], OverageAnswer] = no_overage
    cents_per_credit: int = 100
    #: How far a quote may rise above the accepted one before it blocks, in parts per million.
    quote_tolerance_ppm: int = 50_000
    #: A job whose quote is above this waits for a person; None asks nobody.
    approval_above_microusd: int | None = None
    #: So many credits that nobody can explain stop submission to their provider.
    unexplained_limit_microcredits: int = 10 * MICRO
    alarms: AlarmRules = field(default_factory=AlarmRules)


@dataclass(frozen=True, slots=True)
class Wish:
    """A job that wants to spend: who, how much the quote says, and what was agreed to."""

    spender: Spender
    quote_microusd: int
    shots: int
    accepts_overage: bool = False
    approved_microusd: int | None = None
    #: How people call the job, for the commands that a refusal suggests.
    label: str = ""


@dataclass(frozen=True, slots=True)
class Funds:
    """A copy of what is there: books of the windows that matter, and the grants by provider."""

    books: Mapping[str, CapBooks] = field(default_factory=dict)
    grants: Mapping[str, Sequence[Grant]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Spending:
    """What has to be held before anything is sent, and what goes on the wire."""

    use: Use
    windows: tuple[Window, ...]
    credit_parts: tuple[HoldPart, ...]
    accept_overage: bool


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the money says no: a gate's code and sentence, and a command that may help."""

    code: str
    sentence: str
    fix: str | None = None
    opens_us: int | None = None
    #: Of a cap: what the job would take of it, in words.
    needs: str = ""


def predicted_credits(quote_microusd: int, cents_per_credit: int) -> Credits:
    """Whole credits, rounded up: 130 cents are 2 credits at 100 cents each. A prediction and nothing else."""
    per_credit_microusd = cents_per_credit * MICRO // 100
    return Credits(-(-quote_microusd // per_credit_microusd) * MICRO)


def plan_spending(
    wish: Wish, windows: Sequence[Window], funds: Funds, rules: SpendingRules, now_us: int
) -> tuple[Spending | None, tuple[Refusal, ...]]:
    """Decide what a job would hold; every refusal is named, and None means that it must wait."""
    refusals = list(_approval(wish, rules))
    provider = wish.spender.backend.partition(":")[0]
    grants = funds.grants.get(provider, ())
    needed = predicted_credits(wish.quote_microusd, rules.cents_per_credit)
    # No grant recorded means the balance is unknown, not zero: send without overage, let the provider refuse.
    parts = burn_down(grants, wish.spender, needed.microcredits, now_us) if grants else ()
    approved = wish.approved_microusd is not None and wish.approved_microusd >= wish.quote_microusd
    overage = rules.overage(OverageProposal(wish.accepts_overage, approved, wish.quote_microusd))
    if overage.needs_approval:
        refusals.append(Refusal("overage", overage.reason, f"nightshot approve {wish.label}"))
    if isinstance(parts, Shortage):
        if not overage.accept:
            refusals.append(_short_of_credits(parts, overage.reason, provider))
            parts = ()
        else:
            parts = _all_free(grants, wish, parts, now_us)
    use = Use(
        cost_microusd=wish.quote_microusd,
        overage_microusd=overage.hold_microusd,
        credits_microcredits=sum(part.amount for part in parts) or needed.microcredits,
        shots=wish.shots,
    )
    refusals += _blocked_caps(windows, funds.books, use, wish.label)
    if refusals:
        return None, tuple(refusals)
    return Spending(use, tuple(windows), tuple(parts), overage.accept), ()


def _approval(wish: Wish, rules: SpendingRules) -> Sequence[Refusal]:
    limit = rules.approval_above_microusd
    if limit is None or wish.quote_microusd <= limit or (wish.approved_microusd or -1) >= wish.quote_microusd:
        return ()
    sentence = f"its price, {Money(wish.quote_microusd)}, is above {Money(limit)}: it waits for an approval"
    return (Refusal("approval", sentence, f"nightshot approve {wish.label}"),)


def _short_of_credits(shortage: Shortage, why_no_overage: str, provider: str) -> Refusal:
    needed, free = Credits(shortage.needed_microcredits), Credits(shortage.free_microcredits)
    sentence = f"needs about {needed} credits; {free} are free for it, and {why_no_overage}"
    missing = Credits(shortage.needed_microcredits - shortage.free_microcredits)
    return Refusal(
        "credits", sentence, f"nightshot budget grant {missing} --provider {provider} --reason '…'"
    )


def _all_free(grants: Sequence[Grant], wish: Wish, shortage: Shortage, now_us: int) -> tuple[HoldPart, ...]:
    """Everything that is free for it, when overage pays the rest."""
    parts = burn_down(grants, wish.spender, shortage.free_microcredits, now_us)
    return () if isinstance(parts, Shortage) else parts


def _blocked_caps(
    windows: Sequence[Window], books: Mapping[str, CapBooks], use: Use, label: str
) -> list[Refusal]:
    refusals = []
    for window in windows:
        measure, needed = window.cap.measure, use.of(window.cap.measure)
        book = books.get(window.key) or CapBooks(window.key, window.cap.limit)
        if not needed or book.free is None or needed <= book.free:
            continue
        needs, left, limit, short = (
            amount_text(measure, amount)
            for amount in (needed, max(book.free, 0), book.limit or 0, needed - max(book.free, 0))
        )
        sentence = f"needs {needs}; {left} of {limit} is free, short by {short}"
        fix = _raise_cap(window, book, needed, label)
        # A window that begins anew opens nothing for what is above the whole of it.
        fits_anew = window.cap.limit is None or needed <= window.cap.limit
        opens_us = window.resets_us if fits_anew else None
        refusals.append(Refusal(f"cap:{window.cap.name}", sentence, fix, opens_us, needs))
    return refusals


def _raise_cap(window: Window, book: CapBooks, needed: int, label: str) -> str:
    """The command that makes room, for this one alone when each has a window of its own."""
    cap, wanted = window.cap, book.held + book.posted + needed
    match cap.measure:
        case Measure.COST | Measure.OVERAGE:
            amount = Money(wanted).decimal_text()
        case Measure.CREDITS:
            amount = str(Credits(wanted))
        case Measure.SHOTS | Measure.TASKS:
            amount = str(wanted)
    if cap.name == JOB_CAP:
        return f"nightshot edit {label} --cap {amount}"
    shared = cap.period is not Period.JOB and (cap.scope is Scope.EVERYONE or cap.of is not None)
    only = "" if shared else f" --window {shlex.quote(window.key)}"
    return f"nightshot budget cap {cap.name} {amount}{only} --reason '…'"


def spend(funds: Funds, spending: Spending, provider: str) -> Funds:
    """The copy after a job was promised its money: the next one of the same pass sees less."""
    books = dict(funds.books)
    for window in spending.windows:
        book = books.get(window.key) or CapBooks(window.key, window.cap.limit)
        books[window.key] = replace(book, held=book.held + spending.use.of(window.cap.measure))
    taken = {part.account: part.amount for part in spending.credit_parts}
    grants = {
        **funds.grants,
        provider: [
            replace(grant, free_microcredits=grant.free_microcredits - taken.get(grant.account, 0))
            for grant in funds.grants.get(provider, ())
        ],
    }
    return Funds(books, grants)
