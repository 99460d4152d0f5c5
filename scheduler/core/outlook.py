"""What a waiting job can hope for, in one sentence: never, a person, a time, other jobs, or its turn.

`never` is asked of the very function that admits, with books on which nothing is spent: what does not fit
there will not fit tomorrow either.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from scheduler.core.admission import Gate, Purse
from scheduler.core.caps import CapBooks, Window, amount_text
from scheduler.core.checks import Asked, book_of
from scheduler.core.spending import NIGHT_CAP, Funds
from scheduler.core.timing import iso
from scheduler.core.waits import deadline_problem


class Hope(StrEnum):
    NEVER = "never"  # unless something is changed
    PERSON = "person"
    TIME = "time"
    OTHERS = "others"  # a completion, an answer, another job
    TURN = "turn"


@dataclass(frozen=True, slots=True)
class Outlook:
    hope: Hope
    sentence: str


def outlook(asked: Asked, closed: Sequence[Gate], lasting: Sequence[str] = ()) -> Outlook:
    """The one sentence that comes first; `lasting` are reasons for never that are known elsewhere."""
    never = [*lasting, *_never(asked, closed)]
    if never:
        return Outlook(Hope.NEVER, f"it will not run unless something is changed: {'; '.join(never)}")
    persons = [gate.code for gate in closed if gate.needs_person and gate.opens_us is None]
    if persons:
        return Outlook(Hope.PERSON, f"it waits for a person ({', '.join(persons)})")
    times = [gate.opens_us for gate in closed if gate.opens_us is not None]
    others = [gate.code for gate in closed if gate.opens_us is None]
    if times:
        also = f", and for {', '.join(others)}" if others else ""
        return Outlook(Hope.TIME, f"it waits until {iso(max(times))}{also}")
    if set(others) - {"turn"}:
        return Outlook(Hope.OTHERS, f"it waits for {', '.join(others)}, which nobody has to open")
    return Outlook(Hope.TURN, closed[0].sentence if closed else "every gate is open")


def _never(asked: Asked, closed: Sequence[Gate]) -> list[str]:
    # A window that never opens is one reason, whatever its deadline.
    times = _no_hours(asked) or _too_late(asked, closed)
    return [*_too_dear(asked), *times, *_broken(asked)]


def _too_dear(asked: Asked) -> list[str]:
    """Caps that are too small for it even when nothing of them is used."""
    if not asked.spends:
        return []
    windows = [w for w in asked.purse.windows(asked.job, asked.now_us) if _has_limit(asked.purse, w)]
    best = {window.key: _at_best(window, book_of(asked.purse, window)) for window in windows}
    untouched = replace(asked.purse, funds=Funds(best, asked.purse.funds.grants))
    _, refusals = untouched.plan(asked.job, asked.now_us)
    needs = {refusal.code: refusal.needs for refusal in refusals}
    return [
        f"it needs {needs[code]}, and cap {window.cap.name} allows {_most(window, best[window.key])}"
        for window in windows
        if (code := f"cap:{window.cap.name}") in needs
    ]


def _has_limit(purse: Purse, window: Window) -> bool:
    """Until somebody arms, the night has no limit that could be too small."""
    return purse.armed or window.cap.name != NIGHT_CAP


def _at_best(window: Window, book: CapBooks) -> CapBooks:
    """The window when everything reserved came back; one that resets also begins anew, with its own limit."""
    if window.resets_us is None:
        return replace(book, held=0)
    limits = (book.limit, window.cap.limit)
    known = [limit for limit in limits if limit is not None]
    return CapBooks(window.key, max(known) if len(known) == len(limits) else None)


def _most(window: Window, book: CapBooks) -> str:
    measure = window.cap.measure
    limit = amount_text(measure, book.limit or 0)
    spent = f", {amount_text(measure, book.posted)} of which are spent for good" if book.posted else ""
    return f"{limit} in all{spent}"


def _no_hours(asked: Asked) -> list[str]:
    terms = asked.job.terms
    if not terms.window:
        return []
    hours = asked.hours.get(terms.window)
    if hours is None:
        return [f"its window, {terms.window}, is not configured"]
    if hours.opens_us(max(asked.now_us, terms.not_before_us or asked.now_us)) is None:
        return [f"its window, {terms.window}, does not open any more"]
    return []


def _too_late(asked: Asked, closed: Sequence[Gate]) -> list[str]:
    """A deadline that its own terms, or a gate that opens by itself, cannot keep."""
    terms = asked.job.terms
    problem = deadline_problem(terms, asked.hours, asked.now_us)
    if problem is not None:
        return [f"its deadline, {problem}"]
    deadline_us = terms.deadline_us
    return [
        f"gate {gate.code} opens by itself at {iso(gate.opens_us)}, after its deadline, {iso(deadline_us)}"
        for gate in closed
        if deadline_us is not None and gate.opens_us is not None and gate.opens_us > deadline_us
    ]


def _broken(asked: Asked) -> list[str]:
    broken = [each for each in asked.job.terms.before if each.rule.is_broken_by(each.state)]
    return [f"{each.label} is {each.word}, and had to complete" for each in broken]
