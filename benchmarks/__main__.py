"""`python -m benchmarks [NAME …] [--quick] [--dir DIR]`: measure, and print one table."""

from __future__ import annotations

import argparse
import inspect
import shutil
import sys
import tempfile
from collections.abc import Callable
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


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"all of them, or: {', '.join(BENCHMARKS)}")
    parser.add_argument("--quick", action="store_true", help="small sizes: a look, not a measurement")
    parser.add_argument("--dir", type=Path, help="work below this folder; it decides which disk is measured")
    given = parser.parse_args(arguments)
    if unknown := [name for name in given.names if name not in BENCHMARKS]:
        parser.error(f"there is no benchmark {unknown[0]!r}; there are: {', '.join(BENCHMARKS)}")
    folder = Path(tempfile.mkdtemp(prefix="nightshot-benchmarks-", dir=given.dir))
    try:
        print(machine(folder), flush=True)
        missed = 0
        for name in given.names or BENCHMARKS:
            figures = benchmark(name)(Workshop.open(folder), **(BENCHMARKS[name] if given.quick else {}))
            print(f"\n{name}\n{table(figures)}", flush=True)
            missed += sum(figure.reached is False for figure in figures)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"\n{missed} of the goals missed" if missed else "\nevery goal reached")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
