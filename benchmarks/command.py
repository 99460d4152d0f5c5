"""How long the command takes, in times of an interpreter that does nothing."""

from __future__ import annotations

import statistics
import subprocess
import sys
from functools import partial

from benchmarks.daemon_process import running_daemon
from benchmarks.homes import Workshop
from benchmarks.measure import Figure, Run, in_turn, timed

GOAL = 8.0


def run(workshop: Workshop, pairs: int = 25) -> list[Figure]:
    place = workshop.home("command")
    entry = [sys.executable, "-c", "from scheduler.cli import main; main()", "--home", str(place.home.root)]
    figures = []
    with running_daemon(place.home):
        for name, arguments in (
            ("status", ["status"]),
            ("jobs --json", ["jobs", "--json"]),
            ("--help", ["--help"]),
        ):
            program = partial(_once, [*entry, *arguments])
            found = in_turn(program, partial(_once, [sys.executable, "-c", "pass"]), pairs)
            ratio = statistics.median(command.wall_s / bare.wall_s for command, bare in found)
            goal = GOAL if name != "jobs --json" else None
            figures += [
                Figure(f"nightshot {name}: times python -c pass", ratio, "×", goal, below=True),
                Figure(f"nightshot {name}", statistics.median(p.wall_s for p, _ in found) * 1e3, "ms"),
            ]
        figures.append(Figure("python -c pass", statistics.median(f.wall_s for _, f in found) * 1e3, "ms"))
    return figures


def _once(command: list[str]) -> Run:
    return timed(1, lambda: subprocess.run(command, stdout=subprocess.DEVNULL, check=True))
