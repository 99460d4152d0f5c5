"""Reads README.md as its tests need it: marked blocks, console sessions, generated parts.

    python -m tests.support.readme

writes the generated parts anew, after the lifecycle's tables have changed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from scheduler.core.lifecycle import attempt_diagram, job_diagram

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
DIAGRAMS = {"job diagram": job_diagram, "attempt diagram": attempt_diagram}


@dataclass(frozen=True)
class Step:
    """A command of a console session and what it prints, as pasted."""

    command: str
    shown: str


def block_behind(text: str, mark: str) -> str:
    """The content of the fenced block that follows the comment `<!-- mark -->`. Raises LookupError."""
    found = re.search(rf"<!-- {re.escape(mark)} -->\n```\w*\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    if not found:
        raise LookupError(f"README.md has no block behind <!-- {mark} -->")
    return found[1]


def steps(session: str) -> list[Step]:
    """Cut a console session into its commands."""
    parts = re.split(r"^\$ ", session, flags=re.MULTILINE)
    assert parts[0] == "", "a session begins with a command"
    return [Step(*part.partition("\n")[::2]) for part in parts[1:]]


def table_rows(text: str, first_header: str) -> Iterator[list[str]]:
    """The rows of the table whose first column is called `first_header`, as cells."""
    found = re.search(rf"^\| {re.escape(first_header)} \|.*\n\|[-| ]+\n((?:\|.*\n)+)", text, re.MULTILINE)
    if not found:
        raise LookupError(f"README.md has no table {first_header!r}")
    for line in found[1].splitlines():
        yield [cell.strip() for cell in line.strip("|").split("|")]


def regenerated(text: str) -> str:
    """The text with its diagrams drawn from the lifecycle's tables."""
    for name, draw in DIAGRAMS.items():
        pattern = rf"(<!-- generated: {name} -->\n```mermaid\n).*?(^```$)"
        text, number = re.subn(
            pattern,
            lambda m, d=draw: m[1] + d() + m[2],  # type: ignore[misc]
            text,
            flags=re.DOTALL | re.MULTILINE,
        )
        assert number == 1, f"README.md has no place for the {name}"
    return text


if __name__ == "__main__":
    README.write_text(regenerated(README.read_text(encoding="utf-8")), encoding="utf-8")
