"""What a daemon with nothing to do takes: resident memory, and its share of a core."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

from benchmarks.daemon_process import Watcher, running_daemon, until
from benchmarks.homes import Workshop
from benchmarks.inputs import write_files
from benchmarks.measure import Figure

MEMORY_GOAL_MB = 90.0
CPU_GOAL_PERCENT = 1.0


def run(workshop: Workshop, seconds: float = 20.0) -> list[Figure]:
    place = workshop.home("idle")
    with running_daemon(place.home) as pid:
        time.sleep(1.0)
        fresh_mb = resident_mb(pid)
        used_s = cpu_s(pid)
        started_s = time.monotonic()
        time.sleep(seconds)
        percent = (cpu_s(pid) - used_s) / (time.monotonic() - started_s) * 100
        idle_mb = resident_mb(pid)
        # Once it has taken in and run a few jobs it has loaded what it loads only when needed.
        write_files(place.home.inbox, 20, ".qasm")
        watcher = Watcher(place.home.database)
        question = "SELECT count(*) FROM jobs WHERE published_us IS NOT NULL"
        until(lambda: watcher.count(question) == 20, "20 jobs have run", 0.05)
        watcher.close()
        worked_mb = resident_mb(pid)
    return [
        Figure("idle daemon, resident", idle_mb, "MB", MEMORY_GOAL_MB, below=True, note="VmRSS"),
        Figure("idle daemon, CPU", percent, "% of a core", CPU_GOAL_PERCENT, below=True),
        Figure("one second after its start, resident", fresh_mb, "MB"),
        Figure("after 20 simulated jobs, resident", worked_mb, "MB", note="without the worker"),
    ]


def resident_mb(pid: int) -> float:
    found = re.search(r"VmRSS:\s+([0-9]+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) * 1024 / 1e6


def cpu_s(pid: int) -> float:
    """User and system time of a process and its threads, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
