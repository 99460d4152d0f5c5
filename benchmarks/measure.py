"""How a figure comes about: the program and its floor take turns (A B A B), and pairs are compared.

Absolute times on a shared machine say little; the ratio within one pair says most of it, because a busy
neighbour slows both. The median of the pairs' ratios is the figure.
"""

from __future__ import annotations

import gc
import os
import platform
import sqlite3
import statistics
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Run:
    """One timed run: how many pieces of work, how long, and how much CPU time of this process."""

    pieces: int
    wall_s: float
    cpu_s: float

    @property
    def per_s(self) -> float:
        return self.pieces / self.wall_s

    @property
    def cpu_us(self) -> float:
        return self.cpu_s / self.pieces * 1e6


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table; `goal` is the least (or, with `below`, the most) that counts as reached."""

    name: str
    value: float
    unit: str
    goal: float | None = None
    below: bool = False
    note: str = ""

    @property
    def reached(self) -> bool | None:
        if self.goal is None:
            return None
        return self.value < self.goal if self.below else self.value >= self.goal


def timed(pieces: int, work: Callable[[], object]) -> Run:
    # What the last run left must not be collected within this one.
    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return Run(pieces, time.perf_counter() - wall, time.process_time() - cpu)


async def timed_async(pieces: int, work: Callable[[], Awaitable[object]]) -> Run:
    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    await work()
    return Run(pieces, time.perf_counter() - wall, time.process_time() - cpu)


def in_turn(
    program: Callable[[], Run], floor: Callable[[], Run], pairs: int, *, warm_up: bool = True
) -> list[tuple[Run, Run]]:
    """Run both `pairs` times, A B A B; a first pair that fills the caches is thrown away."""
    found = [(program(), floor()) for _ in range(pairs + warm_up)]
    return found[int(warm_up) :]


def ratio_of(pairs: Sequence[tuple[Run, Run]]) -> float:
    """The median over pairs of the program's rate divided by its floor's."""
    return statistics.median(program.per_s / floor.per_s for program, floor in pairs)


def rate_figures(name: str, pairs: Sequence[tuple[Run, Run]], goal: float, what: str) -> list[Figure]:
    """The ratio, and beside it the rates and CPU times it comes from."""
    ratios = sorted(program.per_s / floor.per_s for program, floor in pairs)
    spread = f"{len(pairs)} pairs, {ratios[0]:.2f} to {ratios[-1]:.2f}"
    programs, floors = [p for p, _ in pairs], [f for _, f in pairs]
    return [
        Figure(f"{name}: ratio to floor", ratio_of(pairs), "×", goal, note=spread),
        Figure(f"{name}: program", _middle(p.per_s for p in programs), f"{what}/s"),
        Figure(f"{name}: floor", _middle(f.per_s for f in floors), f"{what}/s"),
        Figure(f"{name}: program, CPU", _middle(p.cpu_us for p in programs), f"µs/{what}"),
        Figure(f"{name}: floor, CPU", _middle(f.cpu_us for f in floors), f"µs/{what}"),
    ]


def _middle(values: Iterable[float]) -> float:
    return statistics.median(values)


def percentile(values: Sequence[float], percent: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def table(figures: Sequence[Figure]) -> str:
    """The figures as lines: name, value, goal, and whether it was reached."""
    rows = [("figure", "value", "goal", "", "")]
    for figure in figures:
        goal = "" if figure.goal is None else f"{'<' if figure.below else '≥'} {_short(figure.goal)}"
        verdict = {None: "", True: "reached", False: "MISSED"}[figure.reached]
        rows.append((figure.name, f"{_short(figure.value)} {figure.unit}", goal, verdict, figure.note))
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    lines = [
        "  ".join([row[0].ljust(widths[0]), row[1].rjust(widths[1]), row[2].ljust(widths[2])])
        + "  "
        + "  ".join([row[3].ljust(widths[3]), row[4]])
        for row in rows
    ]
    return "\n".join(line.rstrip() for line in lines)


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def machine(folder: Path) -> str:
    """What the figures were measured on, in one line."""
    cores = len(os.sched_getaffinity(0))
    return (
        f"{cores} cores ({_processor()}), {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {_file_system(folder)}, "
        f"load {os.getloadavg()[0]:.1f}"
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _file_system(folder: Path) -> str:
    """The type of the file system that `folder` is on; a ramdisk would make every sync free."""
    best, kind = "", "unknown"
    for line in Path("/proc/mounts").read_text().splitlines():
        _, place, found, *_ = line.split()
        if str(folder.resolve()).startswith(place) and len(place) >= len(best):
            best, kind = place, found
    return kind
