"""`python -m benchmarks [NAME …] [--quick] [--dir DIR] [--out FILE]`: measure, and print one table."""

from __future__ import annotations

import argparse
import inspect
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.homes import Workshop
from benchmarks.measure import Figure, machine, table

#: Name on the command line -> what it is called with for a quick look. Modules have `-` as `_`.
BENCHMARKS: dict[str, dict[str, Any]] = {
    "intake-jsonl": {"count": 2_000, "pairs": 3},
    "intake-files": {"count": 1_000, "pairs": 3},
    "job-life": {"count": 400, "pairs": 3},
    "latency": {"samples": 15},
    "command": {"pairs": 5},
    "idle": {"seconds": 5.0},
    "simulator": {"count": 30, "pairs": 3},
    "audit": {"entries": 200_000, "pairs": 3},
    "reserve": {"count": 200, "pairs": 3},
}


def benchmark(name: str) -> Callable[..., list[Figure]]:
    run = import_module(f"benchmarks.{name.replace('-', '_')}").run
    assert inspect.isfunction(run)
    return run


DOCUMENT = """\
# Results

Measured by `python -m benchmarks --out benchmarks/RESULTS.md` on {day}, on {where}. What each figure is
and what its floor does: [README.md](README.md). Only ratios within one run, and limits, say anything; the
rates are there to see what they come from.

| benchmark | figure | value | goal | reached | spread |
|---|---|---:|---:|---|---|
{rows}
"""


def document(where: str, found: Mapping[str, Sequence[Figure]]) -> str:
    rows = []
    for name, figures in found.items():
        for figure in figures:
            goal = "" if figure.goal is None else f"{'<' if figure.below else '≥'} {figure.goal:g}"
            reached = {None: "", True: "yes", False: "**no**"}[figure.reached]
            value = f"{figure.value:,.3g} {figure.unit}"
            rows.append(f"| `{name}` | {figure.name} | {value} | {goal} | {reached} | {figure.note} |")
    day = time.strftime("%Y-%m-%d", time.gmtime())
    return DOCUMENT.format(day=day, where=where, rows="\n".join(rows))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"all of them, or: {', '.join(BENCHMARKS)}")
    parser.add_argument("--quick", action="store_true", help="small sizes: a look, not a measurement")
    parser.add_argument("--dir", type=Path, help="work below this folder; it decides which disk is measured")
    parser.add_argument("--out", type=Path, help="write the figures into this Markdown file as well")
    given = parser.parse_args(arguments)
    if given.dir is not None and not given.dir.is_dir():
        parser.error(f"--dir {given.dir}: there is no such folder; make it first, on the disk to be measured")
    if unknown := [name for name in given.names if name not in BENCHMARKS]:
        parser.error(f"there is no benchmark {unknown[0]!r}; there are: {', '.join(BENCHMARKS)}")
    folder = Path(tempfile.mkdtemp(prefix="nightshot-benchmarks-", dir=given.dir))
    try:
        where = machine(folder)
        print(where, flush=True)
        found: dict[str, list[Figure]] = {}
        for name in given.names or BENCHMARKS:
            found[name] = benchmark(name)(Workshop.open(folder), **(BENCHMARKS[name] if given.quick else {}))
            print(f"\n{name}\n{table(found[name])}", flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    missed = sum(figure.reached is False for figures in found.values() for figure in figures)
    if given.out is not None:
        given.out.write_text(document(where, found), encoding="utf-8")
    print(f"\n{missed} of the goals missed" if missed else "\nevery goal reached")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
