# ruff: noqa: E501 - one row is one line: a circuit cut in pieces cannot be read
from __future__ import annotations

import pytest

from scheduler.circuits.answer import Refused, Simulated
from scheduler.circuits.pool import Work, WorkerPool

pytestmark = pytest.mark.asyncio(loop_scope="module")

QISKIT = "from qiskit import QuantumCircuit, QuantumRegister, ClassicalRegister\n"
Q3 = 'OPENQASM 3.0;\ninclude "stdgates.inc";\n'
Q2 = 'OPENQASM 2.0;\ninclude "qelib1.inc";\n'


async def simulated(pool: WorkerPool, code: str, framework: str, shots: int = 200) -> Simulated:
    answer = await pool.simulate(Work(code, framework, shots, seed=11))
    assert isinstance(answer, Simulated), answer
    return answer


async def refusal(pool: WorkerPool, code: str, framework: str) -> str:
    answer = await pool.simulate(Work(code, framework, 100))
    assert isinstance(answer, Refused), answer
    return answer.reason


# Deterministic circuits that are not their own mirror image, so that a wrong bit order cannot hide.
@pytest.mark.parametrize(
    ("framework", "code", "expected"),
    [
        ("openqasm3", Q3 + "qubit[3] q; bit[3] c; x q[0]; c = measure q;", "100"),
        ("openqasm2", Q2 + "qreg q[3]; creg c[3]; x q[0]; measure q -> c;", "100"),
        ("qiskit", QISKIT + "qc = QuantumCircuit(3, 3)\nqc.x(0)\nqc.measure([0, 1, 2], [0, 1, 2])", "100"),
        # crossed wires: the classical bit counts, not the qubit
        ("openqasm3", Q3 + "qubit[2] q; bit[2] c; x q[0]; c[1] = measure q[0]; c[0] = measure q[1];", "01"),
        # registers in the order of their declaration
        (
            "openqasm3",
            Q3 + "qubit[3] q; bit[1] b; bit[2] a; x q[1]; b[0] = measure q[0]; a[0] = measure q[1];",
            "010",
        ),
        ("openqasm2", Q2 + "qreg q[2]; creg b[2]; creg a[1]; x q; measure q[1] -> b[1];", "010"),
        ("openqasm3", Q3 + "qubit q; bit first; bit second; x q; second = measure q;", "01"),
        # a register that measure_all adds comes after the one that was there
        ("qiskit", QISKIT + "qc = QuantumCircuit(2, 1)\nqc.x(1)\nqc.measure(1, 0)\nqc.measure_all()", "101"),
        # more than one hexadecimal digit
        ("openqasm3", Q3 + "qubit[9] q; bit[9] c; x q[0]; x q[7]; c = measure q;", "100000010"),
    ],
)
async def test_bit_0_is_leftmost_in_declaration_order(
    pool: WorkerPool, framework: str, code: str, expected: str
) -> None:
    assert (await simulated(pool, code, framework)).counts == ({expected: 200},)


@pytest.mark.parametrize(
    ("framework", "code", "outcomes"),
    [
        ("openqasm3", Q3 + "qubit[2] q; bit[2] c; h q[0]; cx q[0], q[1]; c = measure q;", {"00", "11"}),
        ("openqasm2", Q2 + "qreg q[3]; creg c[3]; h q[0]; cx q[0],q[1]; cx q[1],q[2]; measure q -> c;", {"000", "111"}),
        # what is measured in the middle steers what follows
        (
            "qiskit",
            QISKIT + "qc = QuantumCircuit(2, 2)\nqc.h(0)\nqc.measure(0, 0)\n"
            "with qc.if_test((qc.clbits[0], 1)):\n    qc.x(1)\nqc.measure(1, 1)",
            {"00", "11"},
        ),
        (
            "openqasm3",
            Q3 + "qubit[2] q; bit[2] c; h q[0]; c[0] = measure q[0]; if (c[0]) { x q[1]; } c[1] = measure q[1];",
            {"00", "11"},
        ),
        ("openqasm2", Q2 + "qreg q[2]; creg c[1]; creg d[1]; h q[0]; measure q[0] -> c[0]; if(c==1) x q[1]; measure q[1] -> d[0];", {"00", "11"}),
    ],
)  # fmt: skip
async def test_entangled_and_steered_circuits(
    pool: WorkerPool, framework: str, code: str, outcomes: set[str]
) -> None:
    (counts,) = (await simulated(pool, code, framework)).counts
    assert set(counts) == outcomes
    assert sum(counts.values()) == 200


@pytest.mark.parametrize(
    ("framework", "code", "expected"),
    [
        # Aer goes by names: a gate of one's own that is called like a well-known one must not become that one
        ("openqasm2", "OPENQASM 2.0;\ngate h a { U(pi, 0, pi) a; }\nqreg q[1]; creg c[1]; h q[0]; measure q -> c;", "1"),
        ("qiskit", QISKIT + "x = QuantumCircuit(1, name='h')\nx.x(0)\nqc = QuantumCircuit(1, 1)\nqc.append(x.to_gate(), [0])\nqc.measure(0, 0)", "1"),
        ("openqasm3", Q3 + "gate flip a { x a; } gate twice a { flip a; flip a; } qubit[2] q; bit[2] c; flip q[0]; twice q[1]; c = measure q;", "10"),
        ("openqasm3", Q3 + "qubit[2] q; bit[2] c; negctrl @ x q[0], q[1]; c = measure q;", "01"),
        # one's own gate inside of a branch
        ("openqasm3", Q3 + "gate flip a { x a; } qubit[2] q; bit[2] c; x q[0]; c[0] = measure q[0]; if (c[0]) { flip q[1]; } c[1] = measure q[1];", "11"),
        # a measurement inside of an instruction of one's own
        ("qiskit", QISKIT + "part = QuantumCircuit(1, 1)\npart.x(0)\npart.measure(0, 0)\nqc = QuantumCircuit(2, 2)\nqc.append(part.to_instruction(), [1], [1])", "01"),
        # neither native nor defined by gates: only the transpiler can write it out
        ("qiskit", QISKIT + "from qiskit.circuit.library import XGate\nqc = QuantumCircuit(3, 3)\nqc.x(0)\nqc.append(XGate().control(2, annotated=True, ctrl_state=1), [0, 1, 2])\nqc.measure(range(3), range(3))", "101"),
        ("qiskit", QISKIT + "qc = QuantumCircuit(1, 1)\nwith qc.for_loop(range(3)):\n    qc.x(0)\nqc.measure(0, 0)", "1"),
        ("qiskit", QISKIT + "qc = QuantumCircuit(1, 1)\nwith qc.box():\n    qc.x(0)\nqc.measure(0, 0)", "1"),
    ],
)  # fmt: skip
async def test_gates_that_aer_does_not_know_mean_what_they_say(
    pool: WorkerPool, framework: str, code: str, expected: str
) -> None:
    assert (await simulated(pool, code, framework)).counts == ({expected: 200},)


async def test_several_circuits_give_several_counts_in_the_order_of_the_code(pool: WorkerPool) -> None:
    code = QISKIT + (
        "circuits = []\nfor n in (1, 2):\n    c = QuantumCircuit(n)\n    c.x(0)\n    c.measure_all()\n"
        "    circuits.append(c)\n"
    )
    answer = await simulated(pool, code, "qiskit")
    assert answer.counts == ({"1": 200}, {"10": 200})
    assert dict(answer.facts)["circuit 2 qubits"] == "2"


async def test_the_facts_tell_what_ran_and_how(pool: WorkerPool) -> None:
    code = Q2 + "qreg q[3]; creg c[2]; creg d[1]; h q[0]; cx q[0],q[1]; measure q[0] -> c[1];"
    facts = dict((await simulated(pool, code, "openqasm3")).facts)
    expected = {
        "circuit found by": "OpenQASM 2",
        "qubits": "3",
        "depth": "3",
        "two-qubit gates": "1",
        "measured bits": "1",
        "registers": "c[2], d[1]",
        "seed": "11",
    }
    assert {word: facts[word] for word in expected} == expected
    assert facts["simulator"].startswith("qiskit-aer ")
    assert facts["reader"].startswith("qiskit ")
    assert "seccomp" in facts["sandbox"]


async def test_the_same_seed_gives_the_same_counts(pool: WorkerPool) -> None:
    code = Q3 + "qubit[8] q; bit[8] c; h q; c = measure q;"
    assert (await simulated(pool, code, "openqasm3")).counts == (
        await simulated(pool, code, "openqasm3")
    ).counts


async def test_idle_qubits_take_no_memory(pool: WorkerPool) -> None:
    code = QISKIT + "qc = QuantumCircuit(127, 1)\nqc.x(99)\nqc.t(99)\nqc.measure(99, 0)"
    assert (await simulated(pool, code, "qiskit")).counts == ({"1": 200},)


@pytest.mark.parametrize(
    ("framework", "code", "words"),
    [
        ("openqasm3", Q3 + "qubit q; h q;", "no measurement: add measure"),
        ("qiskit", QISKIT + "qc = QuantumCircuit(2)\nqc.h(0)", "no measurement: add measure"),
        ("qiskit", QISKIT + "from qiskit.circuit import Parameter\nqc = QuantumCircuit(1, 1)\nqc.rx(Parameter('theta'), 0)\nqc.measure(0, 0)", "free parameters (theta)"),
        ("qiskit", QISKIT + "from qiskit.circuit.classical import types\nqc = QuantumCircuit(1, 1)\nqc.add_input('flag', types.Bool())\nqc.measure(0, 0)", "input variables (flag)"),
        ("openqasm3", Q3 + "qubit[21] q; bit[21] c; h q; c = measure q;", "too many qubits: 21 in use need 32 MiB (16 bytes × 2^21)"),
        ("openqasm3", Q3 + "qubit[5000] q; bit[5000] c; h q; c = measure q;", "too many qubits: 5000 in use need more memory than there is"),
        ("qiskit", QISKIT + "qc = QuantumCircuit(21)\nqc.h(range(21))\nqc.measure_all()", "(its setting max_qubits)"),
        ("qiskit", QISKIT + "a = QuantumCircuit(1)\na.measure_all()\ncircuits = [a, QuantumCircuit(1)]", "circuit 2: no measurement"),
        # nothing but a name: Aer cannot know what it does
        ("qiskit", QISKIT + "from qiskit.circuit import Gate\nqc = QuantumCircuit(1, 1)\nqc.append(Gate('mystery', 1, []), [0])\nqc.measure(0, 0)", "mystery"),
        ("cirq", "import cirq", "reads openqasm3, openqasm2, qiskit, not 'cirq'"),
    ],
)  # fmt: skip
async def test_what_can_never_run_is_refused_with_a_sentence(
    pool: WorkerPool, framework: str, code: str, words: str
) -> None:
    assert words in await refusal(pool, code, framework)


async def test_the_memory_limit_is_named_when_it_is_the_smaller_one() -> None:
    from scheduler.circuits.pool import Limits

    pool = WorkerPool(limits=Limits(max_qubits=30, memory_bytes=64 << 20))
    try:
        reason = await refusal(pool, Q3 + "qubit[23] q; bit[23] c; h q; c = measure q;", "openqasm3")
    finally:
        await pool.close()
    assert "23 in use need 128 MiB" in reason
    assert "at most 64 MiB (its setting memory_bytes)" in reason
