"""One job in one process: locked down first, then read, simulated, answered and gone.

The answer leaves through one pipe as JSON text. Code that runs here may lie about its own counts (it could
build any circuit anyway), and about nothing else: whoever reads the answer takes it for hostile.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import NoReturn

from scheduler.circuits import sandbox
from scheduler.circuits.qasm_reader import read_openqasm
from scheduler.circuits.qiskit_reader import describe_exception, read_qiskit
from scheduler.circuits.simulate import Room, native_names, simulate
from scheduler.circuits.words import NEEDED_FOR_CODE, READABLE, CannotRun

_WARM_UP = 'OPENQASM 3.0;\ninclude "stdgates.inc";\nqubit[2] q;\nbit[2] c;\nh q[0];\nc[0] = measure q[0];\n'
_WARM_UP += "if (c[0]) { cx q[0], q[1]; }\nc[1] = measure q[1];\n"


@dataclass(frozen=True, slots=True)
class Job:
    """What the daemon asks for; `name` is its own word for the job."""

    name: int
    code: str
    framework: str
    shots: int
    seed: int | None
    max_qubits: int
    memory_bytes: int
    wall_time_s: float

    @property
    def cpu_s(self) -> int:
        # The wall clock is the limit people set; this one only catches what outlives its parent.
        return int(self.wall_time_s) + 2


def warm_up() -> None:
    """Read small circuits once, so that every job inherits filled caches. Starts no thread."""
    read_openqasm(_WARM_UP, "openqasm3")
    read_openqasm('OPENQASM 2.0;\ninclude "qelib1.inc";\nqreg q[1];\nh q[0];\n', "openqasm2")
    native_names()


def run_job(job: Job, layers: list[str], answer_to: int, parent: int) -> NoReturn:
    """Answer `job` through the descriptor `answer_to` and end this process. Called right after the fork."""
    try:
        os.setsid()
        sandbox.die_with_parent(parent)
        _let_go_of_everything_but(answer_to)
        held = sandbox.lock_down(layers, sandbox.Limits(job.memory_bytes, job.cpu_s))
        _write(_answer(job, held))
    finally:
        # Never back into the worker's loop, whatever the code has done to this process.
        os._exit(0)


def _let_go_of_everything_but(kept: int) -> None:
    """Leave /dev/null on 0, 1 and 2, the answer's pipe on 3, and nothing else open."""
    os.chdir("/")
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nothing, standard)
    if kept != 3:
        os.dup2(kept, 3)
    os.closerange(4, 4096)


def _answer(job: Job, held: sandbox.Lockdown) -> str:
    try:
        counts, facts = _counts_of(job, held)
    except CannotRun as why:
        return json.dumps({"refused": str(why)[:2000]})
    except MemoryError:
        mib = job.memory_bytes >> 20
        return json.dumps({"refused": f"out of memory: a job may take {mib:,} MiB (setting memory_bytes)"})
    except BaseException as error:  # noqa: BLE001 - a Rust panic is no Exception, and no answer helps nobody
        return json.dumps({"refused": describe_exception(error)[:2000]})
    return json.dumps({"counts": counts, "facts": [*facts, ("sandbox", held.describe())]})


def _counts_of(job: Job, held: sandbox.Lockdown) -> tuple[list[dict[str, int]], list[tuple[str, str]]]:
    if job.framework not in READABLE:
        raise CannotRun(f"the local simulator reads {', '.join(READABLE)}, not {job.framework!r}")
    if job.framework == "qiskit":
        lacking = [f"{name} ({held.missing[name]})" for name in NEEDED_FOR_CODE if name in held.missing]
        if lacking:
            raise CannotRun(
                "Python code is not run on this machine, because it cannot be kept away from the network and "
                f"from files here: {', '.join(lacking)} is missing. Hand in OpenQASM text instead"
            )
        found = read_qiskit(job.code)
        how, circuits = found.how, found.circuits
    else:
        how, circuit = read_openqasm(job.code, job.framework)
        circuits = [circuit]
    room = Room(job.max_qubits, job.memory_bytes)
    counts, facts = simulate(circuits, shots=job.shots, seed=job.seed, room=room)
    return counts, [("circuit found by", how), *facts]


def _write(answer: str) -> None:
    rest = memoryview(answer.encode("ascii"))
    while rest:
        rest = rest[os.write(3, rest) :]
