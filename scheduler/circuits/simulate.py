"""Circuits -> counts: checked before anything is allocated, unrolled to what Aer knows, then run.

Bit order out: every classical bit of the circuit in the order of its declaration, bit 0 leftmost, no spaces.
Qiskit prints the last register first and the highest bit left; that order ends here.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import qiskit
import qiskit_aer
from qiskit import QuantumCircuit, transpile
from qiskit.circuit import CircuitInstruction, ControlFlowOp, ControlledGate, Gate, Instruction
from qiskit_aer import AerSimulator

from scheduler.circuits.words import CannotRun

BYTES_PER_AMPLITUDE = 16
#: Longer chains of gates defined by gates are a mistake or an attack.
DEPTH_OF_DEFINITIONS = 200
NO_MEASUREMENT = "no measurement: add measure for the qubits you want to see (measure_all() in Qiskit)"


@dataclass(frozen=True, slots=True)
class Room:
    """What one circuit may take."""

    max_qubits: int
    memory_bytes: int


Facts = list[tuple[str, str]]


def simulate(
    circuits: list[QuantumCircuit], *, shots: int, seed: int | None, room: Room
) -> tuple[list[dict[str, int]], Facts]:
    """Return one count table per circuit, and facts about them. Raises CannotRun with a sentence."""
    for place, circuit in enumerate(circuits):
        problem = _why_not(circuit, room)
        if problem:
            raise CannotRun(_name(circuits, place) + problem)
    simulator = AerSimulator(max_parallel_threads=1, max_memory_mb=max(1, room.memory_bytes >> 20))
    native = native_names()
    try:
        ready = [_unrolled(circuit, simulator, native) for circuit in circuits]
        # Only now: a measurement may hide inside of an instruction of the user's own.
        measured = [_measured(circuit) for circuit in ready]
        for place, bits in enumerate(measured):
            if not bits:
                raise CannotRun(_name(circuits, place) + NO_MEASUREMENT)
        ran = simulator.run(ready, shots=shots, seed_simulator=seed).result()
    except (CannotRun, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001 - Aer, Qiskit and Rust beneath them raise whatever they like
        raise CannotRun(f"the local simulator cannot run this: {_words_of(error)}") from None
    counts, facts = [], versions()
    for place, (circuit, result) in enumerate(zip(circuits, ran.results, strict=True)):
        if not result.success:
            raise CannotRun(f"{_name(circuits, place)}the local simulator gave up: {result.status}")
        counts.append(_bit_0_first(result.data.counts, len(circuit.clbits)))
        told = [*facts_of(ready[place]), ("measured bits", str(len(measured[place])))]
        told += [
            ("method", str(result.metadata.get("method", "unknown"))),
            ("seed", str(result.seed_simulator)),
        ]
        facts += [(_name(circuits, place, separator=" ") + word, value) for word, value in told]
    return counts, facts


@functools.cache
def native_names() -> frozenset[str]:
    """The operations Aer knows by name; asked once, by the worker, for all jobs."""
    return frozenset(AerSimulator().target.operation_names)


def versions() -> Facts:
    """The programs that read and simulated."""
    return [("simulator", f"qiskit-aer {qiskit_aer.__version__}"), ("reader", f"qiskit {qiskit.__version__}")]


def facts_of(circuit: QuantumCircuit) -> Facts:
    """What the circuit is once every gate of its own making has been written out."""
    gates = [step for step in _steps(circuit) if isinstance(step.operation, Gate)]
    registers = ", ".join(f"{register.name}[{register.size}]" for register in circuit.cregs)
    return [
        ("qubits", str(circuit.num_qubits)),
        ("depth", str(circuit.depth())),
        ("two-qubit gates", str(sum(len(step.qubits) == 2 for step in gates))),
        ("registers", registers or f"{len(circuit.clbits)} loose bits"),
    ]


def _name(circuits: list[QuantumCircuit], place: int, separator: str = ": ") -> str:
    return f"circuit {place + 1}{separator}" if len(circuits) > 1 else ""


def _words_of(error: BaseException) -> str:
    message = getattr(error, "message", None)
    return message if isinstance(message, str) and message else str(error) or type(error).__name__


# ------------------------------------------------------------------------------------------- checking


def _steps(circuit: QuantumCircuit) -> Iterator[CircuitInstruction]:
    """Every instruction, those inside of if, for, while and switch too."""
    for step in circuit.data:
        yield step
        for block in getattr(step.operation, "blocks", ()):
            yield from _steps(block)


def _why_not(circuit: QuantumCircuit, room: Room) -> str | None:
    free = sorted(parameter.name for parameter in circuit.parameters)
    if free:
        listed = ", ".join(free[:5]) + (" …" if len(free) > 5 else "")
        return f"free parameters ({listed}): give them values, with assign_parameters in Qiskit"
    inputs = [variable.name for variable in circuit.iter_input_vars()]
    if inputs:
        return f"input variables ({', '.join(inputs[:5])}) have no values here: write them into the circuit"
    qubits = len({bit for step in circuit.data if step.operation.name != "barrier" for bit in step.qubits})
    needed = BYTES_PER_AMPLITUDE << min(qubits, 60)
    if qubits > room.max_qubits or needed > room.memory_bytes:
        amount = f"{needed >> 20:,} MiB" if qubits < 50 else "more memory than there is"
        setting, limit = (
            ("max_qubits", f"{room.max_qubits} qubits")
            if qubits > room.max_qubits
            else ("memory_bytes", f"{room.memory_bytes >> 20:,} MiB")
        )
        return (
            f"too many qubits: {qubits} in use need {amount} (16 bytes × 2^{qubits}), "
            f"and the local simulator takes at most {limit} (its setting {setting})"
        )
    return None


def _measured(circuit: QuantumCircuit) -> set[int]:
    """Places of the classical bits that a measurement may set."""
    place_of = {bit: place for place, bit in enumerate(circuit.clbits)}
    measured = set()
    for step in circuit.data:
        if step.operation.name == "measure":
            measured.add(place_of[step.clbits[0]])
        for block in getattr(step.operation, "blocks", ()):
            measured |= {place_of[step.clbits[inner]] for inner in _measured(block)}
    return measured


# ----------------------------------------------------------------------------------------- unrolling


class _NeedsTranspiler(ValueError):
    """Something that has neither a native form nor a plain definition."""


def _unrolled(circuit: QuantumCircuit, simulator: AerSimulator, native: frozenset[str]) -> QuantumCircuit:
    """Write out every gate Aer does not know. The transpiler would take 60 ms for the simplest circuit."""
    if all(_is_native(step.operation, native) for step in _steps(circuit)):
        return circuit
    try:
        return _write_out(circuit, native)
    except _NeedsTranspiler:
        return transpile(circuit, simulator, optimization_level=0)


def _is_native(operation: Instruction, native: frozenset[str]) -> bool:
    """Aer goes by the name alone, so a gate of the user's own that is called `h` must not pass as H."""
    if operation.name == "barrier":
        return True
    if operation.name not in native:
        return False
    kind = getattr(operation, "base_class", type(operation))
    return kind not in (Instruction, Gate, ControlledGate) and str(kind.__module__).startswith(
        ("qiskit.circuit.", "qiskit_aer.")
    )


def _write_out(circuit: QuantumCircuit, native: frozenset[str]) -> QuantumCircuit:
    out = circuit.copy_empty_like()
    _append(out, circuit, list(out.qubits), list(out.clbits), native, 0)
    return out


def _append(
    out: QuantumCircuit,
    source: QuantumCircuit,
    qubits: list[qiskit.circuit.Qubit],
    clbits: list[qiskit.circuit.Clbit],
    native: frozenset[str],
    depth: int,
) -> None:
    """Add the instructions of `source` to `out`, its bits being these bits of `out`."""
    if depth > DEPTH_OF_DEFINITIONS:
        raise CannotRun(f"gates are defined by gates more than {DEPTH_OF_DEFINITIONS} levels deep")
    quantum = dict(zip(source.qubits, qubits, strict=True))
    classical = dict(zip(source.clbits, clbits, strict=True))
    for step in source.data:
        operation = step.operation
        at_qubits = [quantum[bit] for bit in step.qubits]
        at_clbits = [classical[bit] for bit in step.clbits]
        if isinstance(operation, ControlFlowOp) and operation.name != "box":
            if depth:
                # Its condition names the bits of the definition; only the transpiler renames those.
                raise _NeedsTranspiler
            operation = operation.replace_blocks(_write_out(block, native) for block in operation.blocks)
            out._append(CircuitInstruction(operation, at_qubits, at_clbits))
        elif _is_native(operation, native):
            out._append(CircuitInstruction(operation, at_qubits, at_clbits))
        else:
            inner = operation.blocks[0] if operation.name == "box" else getattr(operation, "definition", None)
            if inner is None:
                raise _NeedsTranspiler
            _append(out, inner, at_qubits, at_clbits, native, depth + 1)


# -------------------------------------------------------------------------------------------- counts


def _bit_0_first(counts: dict[str, int], width: int) -> dict[str, int]:
    """Aer's keys are hexadecimal numbers whose lowest bit is the first classical bit."""
    return {f"{int(key, 16):0{width}b}"[::-1]: int(number) for key, number in counts.items()}
