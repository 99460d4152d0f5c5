"""The jobs of `nightshot demo`: every kind of file a user may drop, and one mistake."""

from __future__ import annotations

BELL_PY = """\
# The documented example of the Coda API: a Bell pair, 100 shots.
from qiskit import QuantumCircuit

qc = QuantumCircuit(2, 2)
qc.h(0)
qc.cx(0, 1)
qc.measure([0, 1], [0, 1])
"""

GHZ_QASM = """\
// /// nightshot
// shots = 200
// tags  = ["demo", "ghz"]
// ///
OPENQASM 3.0;
include "stdgates.inc";
qubit[4] q;
bit[4] c;
h q[0];
cx q[0], q[1];
cx q[1], q[2];
cx q[2], q[3];
c = measure q;
"""

QFT_QASM = """\
OPENQASM 2.0;
include "qelib1.inc";
qreg q[3];
creg c[3];
x q[0];
h q[2];
cu1(pi/2) q[1], q[2];
h q[1];
cu1(pi/4) q[0], q[2];
cu1(pi/2) q[0], q[1];
h q[0];
swap q[0], q[2];
measure q -> c;
"""

BROKEN_QASM = """\
// /// nightshot
// backend = "simulator"
// shotz   = 100
// ///
OPENQASM 3.0;
qubit q;
bit c;
c = measure q;
"""

_ROTATED = 'OPENQASM 3.0; include "stdgates.inc"; qubit q; bit c; ry({angle}) q; c = measure q;'


def batch_jsonl() -> str:
    """Six jobs in one file: a qubit turned a little further each time."""
    import json

    steps = 6
    lines = [json.dumps({"nightshot": 1, "count": steps})]
    for step in range(steps):
        code = _ROTATED.format(angle=f"{step}*pi/{steps - 1}")
        lines.append(json.dumps({"name": f"turn-{step}", "code": code, "shots": 100}))
    return "\n".join(lines) + "\n"


def samples() -> dict[str, str]:
    return {
        "bell.py": BELL_PY,
        "ghz.qasm": GHZ_QASM,
        "qft.qasm": QFT_QASM,
        "batch.jsonl": batch_jsonl(),
        "broken.qasm": BROKEN_QASM,
    }


#: Play money, so that the table shows what such a night would cost; the simulator itself is free.
CONFIGURATION = """\
# Written by `nightshot demo`. The simulator charges nothing: these are the prices of a QPU, as play money.
[backends."local:simulator"]
price_per_task = "0.30 USD"
price_per_shot = "0.00145 USD"
"""
