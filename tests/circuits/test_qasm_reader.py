# ruff: noqa: E501 - one row is one line: a circuit cut in pieces cannot be read
from __future__ import annotations

import re
from pathlib import Path

import pytest

from scheduler.circuits.answer import Refused, Simulated
from scheduler.circuits.pool import Work, WorkerPool

pytestmark = pytest.mark.asyncio(loop_scope="module")

Q3 = 'OPENQASM 3.0;\ninclude "stdgates.inc";\n'
Q2 = 'OPENQASM 2.0;\ninclude "qelib1.inc";\n'


async def ask(pool: WorkerPool, code: str, framework: str = "openqasm3") -> Simulated | Refused:
    answer = await pool.simulate(Work(code, framework, 100))
    assert isinstance(answer, Simulated | Refused), answer
    return answer


@pytest.mark.parametrize(
    ("code", "framework", "how"),
    [
        # the text itself says what it is; the Coda API has one word for both
        (Q2 + "qreg q[1]; creg c[1]; measure q -> c;", "openqasm3", "OpenQASM 2"),
        (Q3 + "qubit q; bit c; c = measure q;", "openqasm2", "OpenQASM 3"),
        ("// OPENQASM 2.0;\n/* OPENQASM\n2.0; */ OPENQASM 3;\nqubit q; bit c; c = measure q;", "openqasm3", "OpenQASM 3"),
        # without the line, the framework decides
        ('include "stdgates.inc";\nqubit q; bit c; c = measure q;', "openqasm3", "OpenQASM 3"),
        ('include "qelib1.inc";\nqreg q[1]; creg c[1]; measure q -> c;', "openqasm2", "OpenQASM 2"),
        # gates every tool knows although qelib1.inc does not have them
        (Q2 + "qreg q[2]; creg c[2]; rzz(0.1) q[0],q[1]; csx q[0],q[1]; measure q -> c;", "openqasm2", "OpenQASM 2"),
    ],
)  # fmt: skip
async def test_the_version_comes_from_the_text(pool: WorkerPool, code: str, framework: str, how: str) -> None:
    answer = await ask(pool, code, framework)
    assert isinstance(answer, Simulated), answer
    assert dict(answer.facts)["circuit found by"] == how


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (Q3 + "qubit[2] q;\nh q[0]\ncx q[0], q[1];", "line 5: 'cx' is not expected here; is a ';' missing before it?"),
        (Q3 + "qubit[2] q;\nfoo q[0];", "line 4: gate 'foo' is not defined."),
        (Q3 + "qubit[2] q;\nh q[5];", "line 4: Qiskit's OpenQASM 3 reader cannot take this: index out of range"),
        (Q3 + "qubit q;\nif (", "line 4: the text ends in the middle of a statement"),
        (Q3 + "\nuint[8] a = 3;", "line 4: declarations of type 'uint' are not supported"),
        (Q3 + "qubit[2] q;\nctrl @ x q[0], q[0];", "line 4: Qiskit's OpenQASM 3 reader cannot take this"),
        (Q3 + "qubit q; ~", "line 3: "),
        (Q3 + "(" * 5000, "nested too deeply"),
        (Q2 + "qreg q[2];\nh q[5];", "line 4: index 5 is out-of-range for register 'q' of size 2"),
        (Q2 + "qreg q[2];\nh q[0]\nh q[1];", "line 5: "),
        ("OPENQASM 4.0;\n", "line 1: there is no OpenQASM 4"),
        (Q3 + "qubit[99999999] q;", "line 3: too many qubits"),
        ("OPENQASM 2.0;\nqreg q[99999999999999999999];", "line 2: too many qubits"),
        # a Rust panic inside of Qiskit
        ("OPENQASM 2.0;\nqreg q[1];\nreset q[99999999999999999999999];", "Qiskit itself failed on this code"),
    ],
)  # fmt: skip
async def test_a_wrong_text_is_refused_with_its_line(pool: WorkerPool, code: str, words: str) -> None:
    answer = await ask(pool, code)
    assert isinstance(answer, Refused), answer
    assert words in answer.reason


@pytest.mark.parametrize("version", ["OPENQASM 2.0;", "OPENQASM 3.0;"])
@pytest.mark.parametrize(
    "include",
    ['include "{secret}";', "include '{secret}';", 'include\n/* x */ "{secret}";', 'include"{secret}";', 'include "../{secret}";'],
)  # fmt: skip
async def test_only_the_standard_files_can_be_included(
    pool: WorkerPool, tmp_path: Path, version: str, include: str
) -> None:
    secret = tmp_path / "secret.inc"
    secret.write_text("planted-canary q;")
    answer = await ask(pool, f"{version}\n{include.replace('{secret}', str(secret))}\n")
    assert isinstance(answer, Refused)
    assert re.match(r"line 2: include '.*' is not read: only stdgates.inc and qelib1.inc", answer.reason)
    assert "planted-canary" not in answer.reason


async def test_an_include_in_a_comment_is_a_comment(pool: WorkerPool) -> None:
    answer = await ask(pool, '// include "/etc/passwd";\n' + Q3 + "qubit q; bit c; c = measure q;")
    assert isinstance(answer, Simulated), answer


# --------------------------------------------------------------------------- circuits of other people

QASMBENCH = Path(__file__).parents[3] / "shared" / "circuits" / "qasmbench-small"
#: They use their register before it is declared.
INVALID = {"vqe_uccsd_n4.qasm": 225, "vqe_uccsd_n6.qasm": 2286, "vqe_uccsd_n8.qasm": 10813}


async def test_every_file_of_qasmbench_runs_or_is_refused_with_its_line(pool: WorkerPool) -> None:
    """Nothing to do where the collection does not lie beside the repository."""
    ran, refused = set(), {}
    for file in sorted(QASMBENCH.glob("*.qasm")):
        answer = await ask(pool, file.read_text("utf-8"))
        if isinstance(answer, Simulated):
            assert sum(answer.counts[0].values()) == 100
            ran.add(file.name)
        else:
            refused[file.name] = answer.reason
    if QASMBENCH.exists():
        assert len(ran) == 39
        assert refused == {
            name: f"line {line}: 'q' is not defined in this scope" for name, line in INVALID.items()
        }
