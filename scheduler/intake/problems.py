"""Sentences about what is wrong: collected, so that one reading of a file names everything, not the first.

Nothing from the file reaches a sentence raw: names and values are shortened and made printable, because
they end in terminals, logs and pages.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NoReturn

from scheduler.errors import SpecError

#: More would bury the first, which usually explains the others.
PROBLEMS_SHOWN = 10

_VALUE_LENGTH_MAX = 40


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong; `line` is 1-based in the file and None when no line can be named."""

    line: int | None
    text: str


class Problems:
    """What is wrong with one file, in the order of its lines."""

    def __init__(self, file: str) -> None:
        self.file = file
        self._found: list[Problem] = []

    def add(self, line: int | None, text: str) -> None:
        self._found.append(Problem(line, text))

    def __bool__(self) -> bool:
        return bool(self._found)

    @property
    def full(self) -> bool:
        """True when more than can be shown were found, so that looking on is wasted work."""
        return len(self._found) > PROBLEMS_SHOWN

    def refuse(self, hint: str = "") -> NoReturn:
        """Raise one SpecError with a line `file:line: problem` for each of the first ten."""
        found = sorted(self._found, key=lambda problem: problem.line or 0)
        first, *others = found[:PROBLEMS_SHOWN]
        text = [first.text]
        text += [
            f"{self.file}:{problem.line}: {problem.text}" if problem.line else f"{self.file}: {problem.text}"
            for problem in others
        ]
        if len(found) > PROBLEMS_SHOWN:
            text.append(f"{self.file}: there are more problems; these are the first {PROBLEMS_SHOWN}")
        raise SpecError("\n".join(text), file=self.file, line=first.line, hint=hint)

    def refuse_if_any(self, hint: str = "") -> None:
        if self._found:
            self.refuse(hint)


def refuse_duplicates(found: Sequence[tuple[str, int, int]], file: str, *, line_before: int = 0) -> NoReturn:
    """Raise the refusal of keys written twice, given as (key, line, line of the first one)."""
    problems = Problems(file)
    for key, line, first_line in found[: PROBLEMS_SHOWN + 1]:
        first = first_line + line_before
        problems.add(line + line_before, f"{shortened(key)}: written twice, first on line {first}; keep one")
    problems.refuse()


def printable(text: str) -> str:
    """Return the text with everything a terminal could act on written as an escape; odd bytes as `\\xff`."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escaped(char) for char in text)


def _escaped(char: str) -> str:
    if "\udc80" <= char <= "\udcff":  # a byte of a file name that is not UTF-8, as os.fsdecode keeps it
        return f"\\x{ord(char) - 0xDC00:02x}"
    return char.encode("unicode_escape").decode("ascii")


def shortened(text: str) -> str:
    """Return a printable beginning of the text that fits into a sentence."""
    if len(text) > _VALUE_LENGTH_MAX:
        return printable(text[: _VALUE_LENGTH_MAX - 1]) + "…"
    return printable(text)


def shown(value: object) -> str:
    """Return a value as a user would have written it, shortened; a container only by its kind."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            return f"'{shortened(value)}'"
        case int() if value.bit_length() > 64:
            return "a very long number"  # str() of an int refuses more than 4300 digits
        case int() | float():
            return str(value)
        case list():
            return "a list"
        case dict():
            return "a table"
        case _:
            return "a date or time"  # the only other thing TOML knows


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that was probably meant, or None; odd words are not worth a search."""
    if len(word) > _VALUE_LENGTH_MAX:
        return None
    lowered = word.casefold().replace("-", "_")
    close = difflib.get_close_matches(lowered, list(known), n=1, cutoff=0.6)
    return close[0] if close else None
