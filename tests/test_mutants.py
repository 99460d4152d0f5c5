"""Mistakes that would cost money must be noticed by the simulated nights, each by name.

`python -m tests.mutants` prints the same as a table.
"""

from __future__ import annotations

import ast

import pytest

from tests.mutants.__main__ import CONTROL, REPOSITORY, put_to_the_test
from tests.mutants.catalogue import MUTANTS, Mutant


def name_of(mutant: Mutant) -> str:
    return mutant.name


@pytest.mark.parametrize("mutant", MUTANTS, ids=name_of)
def test_every_mutant_still_stands_in_the_code(mutant: Mutant) -> None:
    texts: dict[str, str] = {}
    for change in mutant.changes:
        text = texts.setdefault(change.file, (REPOSITORY / change.file).read_text())
        assert text.count(change.old) == 1, f"{change.file}: {change.old!r}"
        texts[change.file] = text.replace(change.old, change.new)
    for file, text in texts.items():
        ast.parse(text, file)


@pytest.mark.slow
@pytest.mark.parametrize("mutant", [CONTROL, *MUTANTS], ids=name_of)
def test_every_mutant_dies_by_a_named_invariant(mutant: Mutant) -> None:
    verdict = put_to_the_test(mutant)
    assert verdict.right, verdict.row
