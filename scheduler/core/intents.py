"""Two memories of what was sent: the database and the intent journal beside it. They must agree.

Every paid intent has a number (epoch, sequence). It is committed in the database first and appended to the
journal, on disk, before the first byte leaves. So after any crash the journal may lack a few of the latest
numbers, whose attempts were then never sent; anything else means that one of the two was restored from a
backup. A journal that cannot be read to its end says of no attempt that it was never sent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scheduler.core.lifecycle import AttemptState

#: What an attempt may have become that never reached the journal: it cannot have been sent.
_UNSENT = frozenset({AttemptState.SUBMITTING, AttemptState.NOT_SENT, AttemptState.IN_DOUBT})
_MAY_BE_LOST = frozenset({AttemptState.SUBMITTING, AttemptState.IN_DOUBT})


@dataclass(frozen=True, slots=True)
class Mark:
    """The last number one memory knows; sequence 0 is an epoch in which nothing was sent yet."""

    epoch: int
    sequence: int


@dataclass(frozen=True, slots=True)
class Intent:
    """One line of the journal."""

    epoch: int
    sequence: int
    attempt_id: str
    at_us: int


@dataclass(frozen=True, slots=True)
class JournalRead:
    """What was found of the journal: its newest epoch (None: there is none) and that epoch's whole lines.

    `damage` says in words why there may have been more lines than these; empty: these are all.
    """

    epoch: int | None = None
    intents: tuple[Intent, ...] = ()
    damage: str = ""


@dataclass(frozen=True, slots=True)
class Agreement:
    """`never_sent`: attempts whose intent was committed and whose number the journal never got."""

    never_sent: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Disagreement:
    """Why nothing paid may be sent until a person has looked; `unknown` are attempts we have no row of."""

    sentence: str
    unknown: tuple[str, ...] = ()


def compare(
    database: Mark | None, found: JournalRead, attempts: Mapping[int, tuple[str, AttemptState]]
) -> Agreement | Disagreement:
    """Compare both memories at start.

    `attempts` are the database's attempts of its own epoch by sequence: from the journal's highest one on,
    and every one that is still SUBMITTING, because a lower number may be written after a higher one.
    """
    if found.damage and not _is_past(database, found):
        return Disagreement(f"{found.damage}: what was sent cannot be told from it")
    if database is None or found.epoch is None:
        return _compare_with_nothing(database, found)
    if found.epoch > database.epoch:
        return Disagreement(
            f"the intent journal is in epoch {found.epoch} and the database in epoch {database.epoch}: "
            "the database is from a backup",
            _names(found.intents),
        )
    # A person began the database's epoch, and nothing was sent in it yet, or so it seems.
    journal = () if _is_past(database, found) else found.intents
    return _compare_numbers(database, journal, attempts)


def _is_past(database: Mark | None, found: JournalRead) -> bool:
    """A person began a new epoch since: what the journal's newest file says, or cannot say, is looked at."""
    return database is not None and found.epoch is not None and found.epoch < database.epoch


def _compare_with_nothing(database: Mark | None, found: JournalRead) -> Agreement | Disagreement:
    if database is None and found.epoch is None:
        return Agreement()
    if database is None and found.epoch == 1 and not found.intents:
        return Agreement()  # the file is made at the first start, the database's row at the first paid intent
    if database is None:
        lines = f"the intent journal has {len(found.intents)} intents, and the database knows of none"
        return Disagreement(f"{lines}: it is new, or from before they were sent", _names(found.intents))
    if database.sequence == 0:
        return Agreement()
    gone = f"the database knows {database.sequence} intents, and the intent journal is gone"
    return Disagreement(f"{gone}: what was sent after a backup cannot be told")


def _compare_numbers(
    database: Mark, journal: Sequence[Intent], attempts: Mapping[int, tuple[str, AttemptState]]
) -> Agreement | Disagreement:
    # Requests that leave together write their lines in any order: the last line is not the highest number.
    newest = max(journal, key=lambda intent: intent.sequence, default=None)
    last = newest.sequence if newest else 0
    if last > database.sequence:
        later = [intent for intent in journal if intent.sequence > database.sequence]
        return Disagreement(
            f"the intent journal knows {len(later)} intents that the database has never heard of: "
            "it was restored from a backup",
            _names(later),
        )
    if newest is not None:
        known = attempts.get(last)
        if known is None or known[0] != newest.attempt_id:
            told = f"intent {last} is attempt {newest.attempt_id} in the journal"
            return Disagreement(f"{told} and another one in the database: one of them is from a backup")
    sent = [number for number, (_, state) in attempts.items() if number > last and state not in _UNSENT]
    if sent:
        return Disagreement(
            f"{len(sent)} attempts were sent after the intent journal ends: it was restored from a backup"
        )
    written = {intent.attempt_id for intent in journal}
    return Agreement(
        tuple(
            sorted(
                attempt_id
                for attempt_id, state in attempts.values()
                if attempt_id not in written and state in _MAY_BE_LOST
            )
        )
    )


def _names(intents: Sequence[Intent]) -> tuple[str, ...]:
    return tuple(intent.attempt_id for intent in intents)
