"""Every check a waiting job has to pass, in words: the closed gates first, then what was found in order.

Nothing is decided here. `admission.closed_gates` decides, and a check is passed because its gate is not
among those; what is added is the figure or the time that was looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from scheduler.core.admission import (
    GATE_CODES,
    BackendLoad,
    Candidate,
    DoubtLimits,
    Gate,
    Purse,
    gate_rank,
)
from scheduler.core.breaker import Phase
from scheduler.core.caps import CapBooks, Window, amount_text
from scheduler.core.drift import percent_text
from scheduler.core.ledger import Shortage, burn_down
from scheduler.core.money import LARGEST_MICRO, Credits, Money
from scheduler.core.spending import NIGHT_CAP
from scheduler.core.timing import iso
from scheduler.core.waits import waits_of
from scheduler.core.windows import Hours


class Verdict(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    NOT_ASKED = "not asked"  # it cannot be said before another gate has opened


@dataclass(frozen=True, slots=True)
class Check:
    """What one gate says of a job; of a closed one, what opens it."""

    code: str
    verdict: Verdict
    sentence: str
    fix: str | None = None
    opens_us: int | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """Everything that `closed_gates` was asked about one job."""

    job: Candidate
    load: BackendLoad
    purse: Purse
    limits: DoubtLimits
    hours: Mapping[str, Hours]
    now_us: int

    @property
    def spends(self) -> bool:
        """Whether its money can be asked about: it costs some, and how much is known."""
        return self.load.paid and self.job.estimate_microusd is not None

    @property
    def is_queued(self) -> bool:
        """Whether it stands in its backend's queue: it has a price, and nothing of its own keeps it out."""
        job = self.job
        due = job.wait_code is None or (job.wait_until_us is not None and job.wait_until_us <= self.now_us)
        priced = job.estimate_microusd is not None
        return priced and due and not waits_of(job.terms, job.label, self.hours, self.now_us)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a job stands in its backend's queue; `more`: it was not counted any further."""

    ahead: int
    more: bool = False
    #: The first of them, each with its user.
    first: tuple[tuple[str, str], ...] = ()

    def text(self, backend: str) -> str:
        if not self.ahead:
            return f"it is the first in the queue of {backend}"
        before = f"more than {self.ahead}" if self.more else str(self.ahead)
        jobs = "jobs are" if self.ahead > 1 or self.more else "job is"
        named = ", ".join(f"{label} ({user})" for label, user in self.first)
        rest = " …" if self.ahead > len(self.first) else ""
        return f"{before} {jobs} before it in the queue of {backend}" + (f": {named}{rest}" if named else "")


#: Gates that only ask about money; on a free backend nobody asks.
_MONEY = frozenset(
    {"disarmed", "audit", "auditing", "approval", "drift", "cap:", "credits", "overage", "doubt"}
)
#: Those of them that need a price.
_OF_THE_PRICE = frozenset({"approval", "drift", "cap:", "credits", "overage"})


def turn_gate(place: Place, backend: str) -> Gate:
    """What a job waits for whose gates are all open."""
    where = place.text(backend)
    if place.ahead:
        return Gate("turn", f"every gate is open; {where}")
    return Gate("turn", f"every gate is open and {where}: it is about to start")


def all_checks(asked: Asked, closed: Sequence[Gate], place: Place | None) -> list[Check]:
    """Every check in the order of GATE_CODES: first those whose gates are closed, then all others."""
    shut = [Check(g.code, Verdict.CLOSED, g.sentence, g.fix, g.opens_us) for g in closed]
    shut.sort(key=lambda check: gate_rank(check.code))
    closed_codes = {check.code for check in shut}
    rest: list[Check] = []
    for code in GATE_CODES:
        if code == "cap:" and asked.spends:
            rest += [check for check in _caps(asked) if check.code not in closed_codes]
        elif code == "turn" and code not in closed_codes:
            where = place.text(asked.load.name) if place else "it is not in the queue yet"
            rest.append(Check(code, Verdict.NOT_ASKED, f"{where}; asked when everything else is open"))
        elif code not in closed_codes:
            rest.append(_found_open(asked, code))
    return [*shut, *rest]


def _found_open(asked: Asked, code: str) -> Check:
    if code in _MONEY and not asked.load.paid:
        return Check(code, Verdict.OPEN, f"nothing on {asked.load.name} costs money")
    if code in _OF_THE_PRICE and not asked.spends:
        return Check(code, Verdict.NOT_ASKED, "asked when its price is known")
    return Check(code, Verdict.OPEN, _FOUND[code](asked))


def _caps(asked: Asked) -> list[Check]:
    """The caps that have room for it, one by one."""
    found = []
    for window in asked.purse.windows(asked.job, asked.now_us):
        name = window.cap.name
        if name == NIGHT_CAP and not asked.purse.armed:
            found.append(Check(f"cap:{name}", Verdict.NOT_ASKED, "arming gives the night its limit"))
        else:
            found.append(Check(f"cap:{name}", Verdict.OPEN, _room(window, book_of(asked.purse, window))))
    return found or [Check("cap:", Verdict.OPEN, "no cap is about it")]


def book_of(purse: Purse, window: Window) -> CapBooks:
    return purse.funds.books.get(window.key) or CapBooks(window.key, window.cap.limit)


def _room(window: Window, book: CapBooks) -> str:
    measure = window.cap.measure
    if book.limit is None or book.free is None:
        return "unlimited"
    return f"{amount_text(measure, book.free)} of {amount_text(measure, book.limit)} is free"


def _armed(asked: Asked) -> str:
    limit = next((cap.limit for cap in asked.purse.caps if cap.name == NIGHT_CAP), None)
    return "armed" if limit is None else f"armed with {Money(limit)} a night"


def _approval(asked: Asked) -> str:
    limit, job = asked.purse.rules.approval_above_microusd, asked.job
    if limit is None:
        return "no price needs one here"
    if (job.estimate_microusd or 0) <= limit:
        return f"its price, {Money(job.estimate_microusd or 0)}, is not above {Money(limit)}"
    return f"approved up to {Money(job.approved_microusd or 0)}"


def _window(asked: Asked) -> str:
    hours = asked.hours.get(asked.job.terms.window)
    current = hours.occurrence(asked.now_us) if hours else None
    return f"open until {iso(current.closes_us)}" if current else "it may run at any time of day"


def _not_before(asked: Asked) -> str:
    since_us = asked.job.terms.not_before_us
    return f"since {iso(since_us)}" if since_us is not None else "it may start at once"


def _deadline(asked: Asked) -> str:
    until_us = asked.job.terms.deadline_us
    return f"{iso(until_us)} is not over" if until_us is not None else "it has none"


def _breaker(asked: Asked) -> str:
    phase = asked.load.breaker.phase
    return "it lets all through" if phase is Phase.CLOSED else f"{phase}: one job may try"


def _estimate(asked: Asked) -> str:
    quote = asked.job.quote
    if quote is None:
        return f"a price of {Money(asked.job.estimate_microusd or 0)}"
    valid = f", valid until {iso(quote.valid_until_us)}" if asked.load.paid else ""
    return f"a quote of {Money(quote.cost_microusd)}{valid}"


def _drift(asked: Asked) -> str:
    tolerated = percent_text(asked.purse.rules.quote_tolerance_ppm)
    accepted = asked.job.accepted_microusd
    if accepted is None:
        return f"it is the first price; a rise of {tolerated} is tolerated"
    return f"not more than {tolerated} above the accepted {Money(accepted)}"


def _credits(asked: Asked) -> str:
    job = asked.job
    grants = asked.purse.funds.grants.get(job.backend.partition(":")[0], ())
    if not grants:
        return "no grant is recorded, so the balance is unknown and the provider decides"
    # More than there can be: the answer says what is free for it.
    found = burn_down(grants, job.spender, LARGEST_MICRO, asked.now_us)
    free = found.free_microcredits if isinstance(found, Shortage) else LARGEST_MICRO
    return f"{Credits(free)} are free for it"


def _overage(asked: Asked) -> str:
    spending, _ = asked.purse.plan(asked.job, asked.now_us)
    if spending is not None and spending.accept_overage:
        return "accepted, and the whole price is held for it"
    return "none is spent" if not asked.job.accept_overage else "nobody has to agree to any"


def _doubt(asked: Asked) -> str:
    load, limits = asked.load, asked.limits
    exposure, most = Money(load.exposure_microusd), Money(limits.exposure_microusd)
    return f"{load.in_doubt} of at most {limits.doubts} in doubt ({exposure} of at most {most})"


_FOUND: Mapping[str, Callable[[Asked], str]] = {
    "disarmed": _armed,
    "audit": lambda _: "the books were not found broken",
    "auditing": lambda _: "no audit is waited for",
    "held": lambda _: "it is not on hold",
    "approval": _approval,
    "not-before": _not_before,
    "window": _window,
    "deadline": _deadline,
    "dependency": lambda _: "it waits for no other job",
    "backend-offline": lambda asked: f"{asked.load.name} is not known to be away",
    "breaker": _breaker,
    "journal": lambda _: "no disagreement with the intent journal",
    "estimate": _estimate,
    "drift": _drift,
    "clock": lambda _: "no disagreement of the clocks",
    "credits": _credits,
    "overage": _overage,
    "doubt": _doubt,
    "rate": lambda _: "the provider does not ask to wait",
    "slots": lambda asked: f"{asked.load.in_flight} of {asked.load.slots} are taken",
}
