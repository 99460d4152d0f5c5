# ruff: noqa: E501 - one row is one line: a circuit cut in pieces cannot be read
from __future__ import annotations

import pytest

from scheduler.circuits.answer import Refused, Simulated
from scheduler.circuits.pool import Work, WorkerPool

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: `one(i)` is a circuit of three qubits with a single 1 at place i.
PREPARE = """from qiskit import QuantumCircuit
def one(i):
    made = QuantumCircuit(3, 3)
    made.x(i)
    made.measure(range(3), range(3))
    return made
"""


async def ask(pool: WorkerPool, code: str) -> Simulated | Refused:
    answer = await pool.simulate(Work(code, "qiskit", 10))
    assert isinstance(answer, Simulated | Refused), answer
    return answer


@pytest.mark.parametrize(
    ("code", "how", "outcomes"),
    [
        ("first = one(0)\nqc = one(1)\nlast = one(2)", "the name `qc`", ["010"]),
        ("qc = one(0)\ncircuit = one(1)", "the name `circuit`", ["010"]),
        ("qc = one(0)\ncircuits = [one(1), one(2)]", "the name `circuits`", ["010", "001"]),
        ("qc = [one(2), one(0)]", "the name `qc`", ["001", "100"]),
        ("qc = 'not a circuit'\nbell = one(0)", "the variable `bell`", ["100"]),
        ("first = one(0)\nlast = one(2)", "the variable `last`, the last of 2 circuits", ["001"]),
        ("several = [one(0)]\nlast = one(2)", "the variable `last`", ["001"]),
        ("many = [one(0), one(1)]\nmore = (one(2),)", "the list `more`", ["001"]),
        ("circuits = []\nmany = [one(0)]", "the list `many`", ["100"]),
        ("def build():\n    return one(1)", "the function `build()`", ["010"]),
        ("def build(n=2):\n    return [one(n), one(0)]", "the function `build()`", ["001", "100"]),
        ("def build(n):\n    return one(n)\ndef other():\n    return one(2)\ndef nothing():\n    pass", "the function `other()`", ["001"]),
        ("if __name__ == '__main__':\n    bell = one(1)", "the variable `bell`", ["010"]),
        ("from dataclasses import dataclass\n@dataclass\nclass Size:\n    n: int = 2\nqc = one(Size().n)", "the name `qc`", ["001"]),
    ],
)  # fmt: skip
async def test_the_circuit_is_found_by_rule_and_the_rule_is_told(
    pool: WorkerPool, code: str, how: str, outcomes: list[str]
) -> None:
    answer = await ask(pool, PREPARE + code)
    assert isinstance(answer, Simulated), answer
    assert dict(answer.facts)["circuit found by"] == how
    assert answer.counts == tuple({outcome: 10} for outcome in outcomes)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("", "no circuit found: the code must leave a QuantumCircuit"),
        ("from qiskit import QuantumCircuit\n\nqq.h(0)", "NameError: name 'qq' is not defined (line 3 of your code)"),
        ("x = 1\ndef f():\n    return 1 / 0\nf()", "ZeroDivisionError: division by zero (line 3 of your code)"),
        ("x = (\n\n", "SyntaxError: '(' was never closed (line 1 of your code)"),
        ("def f():\nreturn 1", "IndentationError: expected an indented block"),
        ("import nonexistent_thing", "ModuleNotFoundError: No module named 'nonexistent_thing' (line 1 of your code)"),
        ("from qiskit import QuantumCircuit\nqc = QuantumCircuit(1)\nqc.h(7)", "CircuitError"),
        ("def build():\n    raise ValueError('no luck')", "ValueError: no luck (line 2 of your code)"),
        ("x = '\0'", "source code string cannot contain null bytes"),
    ],
)  # fmt: skip
async def test_what_goes_wrong_in_the_code_is_told_with_its_line(
    pool: WorkerPool, code: str, words: str
) -> None:
    answer = await ask(pool, code)
    assert isinstance(answer, Refused), answer
    assert words in answer.reason


async def test_the_example_of_the_coda_api_runs(pool: WorkerPool) -> None:
    code = (
        "from qiskit import QuantumCircuit\n\nqc = QuantumCircuit(2, 2)\nqc.h(0)\nqc.cx(0, 1)\n"
        "qc.measure([0, 1], [0, 1])\n"
    )
    answer = await ask(pool, code)
    assert isinstance(answer, Simulated)
    assert set(answer.counts[0]) <= {"00", "11"}
