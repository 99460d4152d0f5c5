"""How soon an idle daemon does something: from the rename to the durable row, from there to the provider.

The daemon is a process of its own and is watched from outside: the row through a read-only connection, the
provider's call by the provider itself. The estimate's own round trip is the provider's time, not ours.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.daemon_process import Watcher, running_daemon, until
from benchmarks.homes import Workshop
from benchmarks.inputs import job
from benchmarks.measure import Figure, percentile
from benchmarks.mock_coda import TOKEN, MockCoda, mock_coda
from scheduler.client import Client
from scheduler.home import Home

ROW_GOAL_MS = 30.0
CALL_GOAL_MS = 10.0
_BATCHES = "SELECT count(*) FROM batches"
_OPEN_JOBS = "SELECT count(*) FROM jobs WHERE published_us IS NULL"


def run(workshop: Workshop, samples: int = 60) -> list[Figure]:
    return [*_with_coda(workshop, samples), *_with_simulator(workshop, samples)]


def _with_coda(workshop: Workshop, samples: int) -> list[Figure]:
    rows_ms: list[float] = []
    to_estimate_ms: list[float] = []
    to_call_ms: list[float] = []
    with mock_coda() as coda:
        place = workshop.home("latency", f'[providers.coda]\nkind = "coda"\nbase_url = "{coda.base_url}"\n')
        with running_daemon(place.home, {"CODA_API_TOKEN": TOKEN}):
            Client(place.home).call("arm", {"night": "100000.00"})
            watcher = Watcher(place.home.database)
            for number in range(samples + 1):
                renamed_s, durable_s = _drop(place.home, watcher, number, "coda:iqm")
                _rest(watcher)
                estimated, called = _calls(coda)
                if number == 0:
                    continue  # the first of all loads modules and makes the reply file
                rows_ms.append((durable_s - renamed_s) * 1e3)
                to_estimate_ms.append((estimated[0] - durable_s) * 1e3)
                to_call_ms.append((called - durable_s - (estimated[1] - estimated[0])) * 1e3)
            watcher.close()
    return [
        *_median_and_p99("rename to durable row", rows_ms, ROW_GOAL_MS),
        *_median_and_p99("durable job to Coda's estimate", to_estimate_ms, None),
        *_median_and_p99("durable job to Coda's billable call", to_call_ms, CALL_GOAL_MS),
    ]


def _calls(coda: MockCoda) -> tuple[tuple[float, float], float]:
    """Arrival and answer of the estimate, and the arrival of the billable call."""
    times = coda.times()
    (estimated,) = [
        (came_s, answered_s) for path, came_s, answered_s in times if path == "/qpus/estimate-cost"
    ]
    (called,) = [came_s for path, came_s, _ in times if path == "/qpus"]
    return estimated, called


def _with_simulator(workshop: Workshop, samples: int) -> list[Figure]:
    """The simulator's call is its request file: whole under its name when the run has been accepted."""
    to_call_ms: list[float] = []
    place = workshop.home("latency-simulator")
    requests = place.home.state / "providers" / "local"
    with running_daemon(place.home):
        watcher = Watcher(place.home.database)
        for number in range(samples + 1):
            seen: list[float] = []
            _, durable_s = _drop(place.home, watcher, number, "simulator")
            asked = _first_file(requests, seen)
            until(asked, "the simulator's request file", Watcher.PAUSE_S)
            _rest(watcher)
            if number:  # the first one starts the worker
                to_call_ms.append((seen[0] - durable_s) * 1e3)
        watcher.close()
    return _median_and_p99("durable job to the simulator", to_call_ms, CALL_GOAL_MS)


def _first_file(folder: Path, seen: list[float]) -> Callable[[], bool]:
    def look() -> bool:
        # The name it is written under already tells that the provider was called.
        if not seen and any(".json" in name for name in os.listdir(folder)):
            seen.append(time.monotonic())
        return bool(seen)

    return look


def _drop(home: Home, watcher: Watcher, number: int, backend: str) -> tuple[float, float]:
    """Rename a job into the inbox; returns when that was and when its row could be read."""
    unfinished = home.inbox / f"job-{number}.json.tmp"
    unfinished.write_text(json.dumps(job(number, backend)))
    before = watcher.count(_BATCHES)
    renamed_s = time.monotonic()
    os.rename(unfinished, home.inbox / f"job-{number}.json")
    return renamed_s, watcher.until_more(_BATCHES, before)


def _rest(watcher: Watcher) -> None:
    """Wait until the job is done with and the daemon idle again."""
    until(lambda: watcher.count(_OPEN_JOBS) == 0, "the job is published")
    time.sleep(0.1)


def _median_and_p99(name: str, values_ms: list[float], goal_ms: float | None) -> list[Figure]:
    return [
        Figure(f"{name}, median", statistics.median(values_ms), "ms", goal_ms, below=True),
        Figure(f"{name}, p99", percentile(values_ms, 99), "ms"),
    ]
