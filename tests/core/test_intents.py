"""Two memories of what was sent, held against each other: a crash explains little, a backup the rest."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.intents import Agreement, Disagreement, Intent, JournalRead, Mark, compare
from scheduler.core.lifecycle import AttemptState

A = AttemptState
Known = Mapping[int, tuple[str, AttemptState]]


def lines(*numbers: int, epoch: int = 1) -> list[Intent]:
    return [Intent(epoch, number, f"a{number}", 5) for number in numbers]


def rows(**states: AttemptState) -> Known:
    """`a3=A.SUBMITTED` is attempt a3 with intent number 3."""
    return {int(name[1:]): (name, state) for name, state in states.items()}


#: why, database, journal, its epoch, attempts from the journal's last number on -> what was never sent
AGREE: list[tuple[str, Mark | None, list[Intent], int | None, Known, tuple[str, ...]]] = [
    ("nothing was ever sent", None, [], None, {}, ()),
    ("the file is made at the first start", None, [], 1, {}, ()),
    ("an epoch in which nothing was sent yet", Mark(1, 0), [], None, {}, ()),
    ("the same", Mark(1, 2), lines(1, 2), 1, rows(a2=A.SUBMITTED), ()),
    ("killed between both", Mark(1, 3), lines(1, 2), 1, rows(a2=A.SETTLED, a3=A.SUBMITTING), ("a3",)),
    (
        "killed with several on their way",
        Mark(1, 4),
        lines(1, 2),
        1,
        rows(a2=A.SETTLED, a3=A.SUBMITTING, a4=A.IN_DOUBT),
        ("a3", "a4"),
    ),
    ("said already", Mark(1, 3), lines(1, 2), 1, rows(a2=A.SETTLED, a3=A.NOT_SENT), ()),
    ("killed before the first line", Mark(1, 1), [], 1, rows(a1=A.SUBMITTING), ("a1",)),
    ("a new epoch", Mark(2, 0), lines(1, 2), 1, {}, ()),
    ("killed at the start of a new epoch", Mark(2, 1), lines(1, 2), 1, rows(a1=A.SUBMITTING), ("a1",)),
    ("a new epoch, in both", Mark(2, 1), lines(1, epoch=2), 2, rows(a1=A.SUBMITTED), ()),
]


@pytest.mark.parametrize(("why", "database", "journal", "epoch", "attempts", "never_sent"), AGREE)
def test_a_crash_explains_it(
    why: str,
    database: Mark | None,
    journal: list[Intent],
    epoch: int | None,
    attempts: Known,
    never_sent: tuple[str, ...],
) -> None:
    found = JournalRead(epoch, tuple(journal))
    assert compare(database, found, attempts) == Agreement(never_sent), why


#: why, database, journal, its epoch, attempts -> words of the sentence, attempts that we have no row of
DISAGREE: list[tuple[str, Mark | None, list[Intent], int | None, Known, str, tuple[str, ...]]] = [
    ("a new database beside an old journal", None, lines(1, 2), 1, {}, "2 intents", ("a1", "a2")),
    ("a new database beside a later epoch", None, [], 2, {}, "knows of none", ()),
    ("the journal is gone", Mark(1, 7), [], None, rows(a7=A.SETTLED), "journal is gone", ()),
    (
        "the database is from a backup",
        Mark(1, 2),
        lines(1, 2, 3, 4),
        1,
        {},
        "2 intents that the database has never heard of",
        ("a3", "a4"),
    ),
    ("from before a new epoch", Mark(1, 9), lines(1, epoch=2), 2, {}, "from a backup", ("a1",)),
    (
        "the journal is from a backup",
        Mark(1, 4),
        lines(1, 2),
        1,
        rows(a2=A.SETTLED, a3=A.SETTLED, a4=A.SUBMITTED),
        "2 attempts were sent after the intent journal ends",
        (),
    ),
    (
        "both are from backups of different days",
        Mark(1, 3),
        lines(1, 2),
        1,
        {2: ("b2", A.SETTLED), 3: ("b3", A.SUBMITTING)},
        "another one in the database",
        (),
    ),
    ("the row of the last line is gone", Mark(1, 2), lines(1, 2), 1, {}, "another one", ()),
    (
        "an old epoch's journal, and much was sent in the new one",
        Mark(2, 1),
        lines(1, 2),
        1,
        rows(a1=A.SUBMITTED),
        "were sent after",
        (),
    ),
]


@pytest.mark.parametrize(("why", "database", "journal", "epoch", "attempts", "told", "unknown"), DISAGREE)
def test_only_a_backup_explains_it(
    why: str,
    database: Mark | None,
    journal: list[Intent],
    epoch: int | None,
    attempts: Known,
    told: str,
    unknown: tuple[str, ...],
) -> None:
    found = compare(database, JournalRead(epoch, tuple(journal)), attempts)
    assert isinstance(found, Disagreement), why
    assert told in found.sentence
    assert found.unknown == unknown


#: why, database, what can be read of the journal and what is wrong with it, attempts -> does it stop?
DAMAGED: list[tuple[str, Mark | None, JournalRead, Known, bool]] = [
    (
        "an attempt behind the damage looks as if it was never sent",
        Mark(1, 3),
        JournalRead(1, tuple(lines(1, 3)), "line 2 is damaged"),
        rows(a2=A.SUBMITTING, a3=A.SETTLED),
        True,
    ),
    ("all of it", Mark(1, 1), JournalRead(1, (), "it cannot be read"), rows(a1=A.SUBMITTING), True),
    ("nothing is missing", Mark(1, 1), JournalRead(1, tuple(lines(1)), "damaged"), rows(a1=A.SETTLED), True),
    ("the folder cannot be read", Mark(1, 0), JournalRead(damage="it cannot be read"), {}, True),
    ("the same, and nothing was ever sent", None, JournalRead(damage="it cannot be read"), {}, True),
    ("a new database", None, JournalRead(1, (), "damaged"), {}, True),
    ("a later epoch than the database's", Mark(1, 3), JournalRead(2, (), "damaged"), {}, True),
    ("a person began a new epoch since", Mark(2, 0), JournalRead(1, (), "damaged"), {}, False),
]


@pytest.mark.parametrize(("why", "database", "found", "attempts", "stops"), DAMAGED)
def test_damage_is_no_evidence_that_nothing_was_sent(
    why: str, database: Mark | None, found: JournalRead, attempts: Known, stops: bool
) -> None:
    answer = compare(database, found, attempts)
    assert isinstance(answer, Disagreement) == stops, why
    if isinstance(answer, Disagreement):
        assert found.damage in answer.sentence


@pytest.mark.parametrize("state", [s for s in A if s is not A.PREPARED])
def test_beyond_the_journals_end_is_only_what_cannot_have_been_sent(state: AttemptState) -> None:
    found = compare(Mark(1, 2), JournalRead(1, tuple(lines(1))), {1: ("a1", A.SETTLED), 2: ("a2", state)})
    assert isinstance(found, Agreement) == (state in {A.SUBMITTING, A.IN_DOUBT, A.NOT_SENT})
    if isinstance(found, Agreement):
        assert found.never_sent == (() if state is A.NOT_SENT else ("a2",))


@given(st.integers(0, 12), st.integers(0, 12))
def test_a_kill_anywhere_is_never_taken_for_a_backup(written: int, missing: int) -> None:
    """The database is always ahead of the journal by those that were on their way, and never behind."""
    database = Mark(1, written + missing)
    attempts = {written: (f"a{written}", A.SETTLED)} if written else {}
    late = range(written + 1, written + missing + 1)
    attempts |= {number: (f"a{number}", A.SUBMITTING) for number in late}
    journal = JournalRead(1, tuple(lines(*range(1, written + 1))))
    found = compare(database, journal, attempts)
    assert found == Agreement(tuple(sorted(f"a{number}" for number in late)))
