"""Job files to measure with: small circuits, all different, about 500 bytes a job."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any


def circuit(number: int) -> str:
    """A GHZ circuit with an angle of its own, so that no two jobs share a circuit row."""
    return (
        'OPENQASM 3.0;\ninclude "stdgates.inc";\nqubit[3] q;\nbit[3] c;\n'
        f"rz({number} / 1000000) q[0];\nh q[0];\ncx q[0], q[1];\ncx q[1], q[2];\n"
        "c[0] = measure q[0];\nc[1] = measure q[1];\nc[2] = measure q[2];\n"
    )


def job(number: int, backend: str = "simulator") -> dict[str, Any]:
    return {
        "name": f"ghz-{number:06d}",
        "code": circuit(number),
        "backend": backend,
        "shots": 100,
        "priority": number % 10,
        "project": "calibration",
        "tags": ["ghz", "nightly"],
    }


def write_jsonl(path: Path, count: int, backend: str = "simulator") -> None:
    lines = [json.dumps({"nightshot": 1, "count": count})]
    lines += [json.dumps(job(number, backend)) for number in range(count)]
    path.write_text("\n".join(lines) + "\n")
    make_old(path)


def write_files(folder: Path, count: int, suffix: str) -> list[str]:
    """Write `count` single-job files; they were last changed long ago, so they are complete at once."""
    names = []
    for number in range(count):
        name = f"job-{number:06d}{suffix}"
        text = json.dumps(job(number)) if suffix == ".json" else with_header(number)
        (folder / name).write_text(text)
        make_old(folder / name)
        names.append(name)
    return names


def with_header(number: int) -> str:
    return (
        '// /// nightshot\n// backend = "simulator"\n// shots = 100\n// tags = ["ghz", "nightly"]\n// ///\n'
        + circuit(number)
    )


def make_old(path: Path) -> None:
    long_ago = time.time() - 3600
    os.utime(path, (long_ago, long_ago))
