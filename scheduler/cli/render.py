"""Turns views into lines for people: tables, bars, histograms, times and money.

Nothing here asks or decides. Colour only repeats what a word says already. Text that users chose is made
printable first: a file name must not steer a terminal.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, tzinfo

import click

_STATE_COLOURS = {
    "completed": "green",
    "running": "cyan",
    "admitted": "cyan",
    "failed": "red",
    "rejected": "red",
    "in_doubt": "yellow",
}
#: States in the order in which people want to read them.
STATE_ORDER = ("waiting", "admitted", "running", "in_doubt", "completed", "failed", "rejected", "cancelled")
HISTOGRAM_OUTCOMES = 16
_GAP = "  "


def plain(text: object) -> str:
    """Make a text printable on one line; control characters become `\\x1b` and the like."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))


def plain_lines(text: str) -> str:
    return "\n".join(plain(line) for line in text.split("\n"))


def paint(text: str, **style: object) -> str:
    if os.environ.get("NO_COLOR") or not sys.stdout.isatty():
        return text
    return click.style(text, **style)  # type: ignore[arg-type]


def paint_state(state: str, padded: str | None = None) -> str:
    return paint(padded or state, fg=_STATE_COLOURS.get(state))


def table(
    headers: Sequence[str], rows: Iterable[Sequence[object]], *, right: Iterable[str] = ()
) -> list[str]:
    """Lay out rows under headers; columns named in `right` are figures; the last takes what is left."""
    cells = [[plain(cell) for cell in row] for row in rows]
    widths = [max(len(line[i]) for line in [list(headers), *cells]) for i in range(len(headers))]
    to_right = {i for i, header in enumerate(headers) if header in set(right)}
    room = _line_width() - sum(widths[:-1]) - len(_GAP) * (len(headers) - 1)
    lines = []
    for row in [list(headers), *cells]:
        parts = [
            cell.rjust(widths[i]) if i in to_right else cell.ljust(widths[i])
            for i, cell in enumerate(row[:-1])
        ]
        lines.append(_GAP.join([*parts, shorten(row[-1], max(room, 20))]).rstrip())
    lines[0] = paint(lines[0], bold=True)
    return lines


def shorten(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def _line_width() -> int:
    """A terminal's width; a file or a pipe gets whole lines."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 100_000


def histogram(counts: Mapping[str, int], width: int = 40) -> list[str]:
    """Draw counts as bars: every outcome in the order of its bits; of many, the most frequent ones."""
    total = sum(counts.values())
    if not total:
        return ["(no shots came back)"]
    outcomes = sorted(counts)
    if len(outcomes) > HISTOGRAM_OUTCOMES:
        outcomes = sorted(counts, key=lambda bits: (-counts[bits], bits))[:HISTOGRAM_OUTCOMES]
    most = max(counts.values())
    bits_width, figure_width = max(map(len, outcomes)), len(str(most))
    full, half = ("█", "▌") if _can_draw() else ("#", "")
    lines = []
    for bits in outcomes:
        halves = round(2 * width * counts[bits] / most)
        drawn = (full * (halves // 2) + half * (halves % 2)).ljust(width)
        share = 100 * counts[bits] / total
        lines.append(
            f"{plain(bits).rjust(bits_width)}  {drawn}  {counts[bits]:>{figure_width}}  {share:5.1f} %"
        )
    rest = [bits for bits in counts if bits not in set(outcomes)]
    if rest:
        lines.append(f"… and {plural(len(rest), 'rarer outcome')} with {sum(counts[b] for b in rest)} shots")
    return lines


def bar(part: float, whole: float, width: int = 20) -> str:
    """`[█████…………]`, full when the whole is used up or nothing is allowed."""
    share = 1.0 if whole <= 0 else min(part / whole, 1.0)
    full, empty = ("█", "·") if _can_draw() else ("#", ".")
    filled = round(width * share)
    return f"[{full * filled}{empty * (width - filled)}]"


def _can_draw() -> bool:
    return (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"


def dollars(usd: str | None) -> str:
    """Unknown is never $0.00."""
    return "unknown" if usd is None else f"-${usd[1:]}" if usd.startswith("-") else f"${usd}"


def plural(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def counts_line(counts: Mapping[str, int]) -> str:
    """`3 waiting · 1 in doubt`, in the order of a job's life."""
    known = [state for state in STATE_ORDER if counts.get(state)]
    other = [state for state in counts if state not in STATE_ORDER and counts[state]]
    parts = [paint_state(s, f"{counts[s]} {plain(s).replace('_', ' ')}") for s in [*known, *other]]
    return " · ".join(parts) or "none"


def local_time(iso: str | None, zone: tzinfo | None = None) -> str:
    """A UTC time as people read it, with its zone: `22 Nov 18:41:07 CET`."""
    if iso is None:
        return "-"
    return datetime.fromisoformat(iso).astimezone(zone).strftime("%d %b %H:%M:%S %Z").removeprefix("0")


def zone_named(name: str) -> tzinfo | None:
    """The daemon's zone; the one of this machine when it does not know that name."""
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        return None
