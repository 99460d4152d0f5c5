"""A small job through the simulator's worker against the same in a bare fork of a warm process.

For information: what the locked-down process, the pipes and the daemon's side cost beside the simulation.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time

from benchmarks.homes import Workshop
from benchmarks.inputs import circuit
from benchmarks.measure import Figure, Run, ratio_of
from scheduler.circuits.answer import Simulated
from scheduler.circuits.pool import Work, WorkerPool

SHOTS = 100


def run(workshop: Workshop, count: int = 100, pairs: int = 5) -> list[Figure]:  # noqa: ARG001 - no disk here
    command = [sys.executable, "-m", "benchmarks.simulator"]
    bare = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        found = asyncio.run(_compare(bare, count, pairs))
    finally:
        bare.communicate()
    worker_ms = sorted(program.wall_s / count * 1e3 for program, _ in found)[len(found) // 2]
    bare_ms = sorted(floor.wall_s / count * 1e3 for _, floor in found)[len(found) // 2]
    return [
        Figure("warm simulator, one after the other: ratio to a bare child", ratio_of(found), "×"),
        Figure("a small job through the worker", worker_ms, "ms"),
        Figure("the same in a bare forked child", bare_ms, "ms"),
    ]


async def _compare(bare: subprocess.Popen[str], count: int, pairs: int) -> list[tuple[Run, Run]]:
    pool = WorkerPool()
    try:
        await pool.start()
        # The first pair only fills caches.
        return [(await _worker_run(pool, count), _bare_run(bare, count)) for _ in range(pairs + 1)][1:]
    finally:
        await pool.close()


async def _worker_run(pool: WorkerPool, count: int) -> Run:
    started_s = time.perf_counter()
    for number in range(count):
        answer = await pool.simulate(Work(circuit(number), "openqasm3", SHOTS))
        assert isinstance(answer, Simulated), answer
    return Run(count, time.perf_counter() - started_s, 0.0)


def _bare_run(bare: subprocess.Popen[str], count: int) -> Run:
    assert bare.stdin is not None
    assert bare.stdout is not None
    bare.stdin.write(f"{count}\n")
    bare.stdin.flush()
    return Run(count, float(bare.stdout.readline()), 0.0)


def _be_bare() -> None:
    """Simulate so many circuits as a line of stdin says, each in a fork; answer with the seconds it took."""
    from scheduler.circuits.child import warm_up
    from scheduler.circuits.qasm_reader import read_openqasm
    from scheduler.circuits.simulate import Room, simulate

    warm_up()
    for line in sys.stdin:
        started_s = time.perf_counter()
        for number in range(int(line)):
            reading, writing = os.pipe()
            if os.fork() == 0:
                _, read = read_openqasm(circuit(number), "openqasm3")
                counts, _ = simulate([read], shots=SHOTS, seed=None, room=Room(24, 1 << 30))
                os.write(writing, json.dumps(counts).encode())
                os._exit(0)
            os.close(writing)
            assert os.read(reading, 1 << 16)
            os.close(reading)
            os.wait()
        print(time.perf_counter() - started_s, flush=True)


if __name__ == "__main__":
    # The worker has one thread a job as well.
    os.environ.update(
        OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", RAYON_NUM_THREADS="1", QISKIT_PARALLEL="FALSE"
    )
    _be_bare()
