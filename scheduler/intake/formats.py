"""JSON, JSONL, TOML and YAML to plain values, and the line of every key, so that errors can point.

The readers accept less than the formats allow: no duplicate keys, no NaN, no tags, bounded nesting. Work is
bounded by the size of the file, never by what the file asks for: a bomb is refused before it unfolds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from scheduler.errors import SpecError

#: Where a value stands: keys and 0-based list positions from the top.
Path = tuple[str | int, ...]

#: Job files know nothing deeper than jobs -> one job -> tags -> one tag; what is deeper is not recorded.
PATH_DEPTH_MAX = 4


def nearest_line(lines: Mapping[Path, int], path: Path) -> int | None:
    """Return the line of the path or, failing that, of what contains it."""
    while True:
        line = lines.get(path)
        if line is not None or not path:
            return line
        path = path[:-1]


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed manifest: its value, and a way to find the 1-based line of a path, paid for only on errors."""

    value: object
    line_of: Callable[[Path], int | None]


def too_deep(file: str, line: int | None, depth_max: int) -> SpecError:
    """Return the refusal of a document nested deeper than `depth_max`."""
    return SpecError(
        f"nested deeper than {depth_max} levels; a job file needs no more than {PATH_DEPTH_MAX}",
        file=file,
        line=line,
    )
