"""Job files that are understood, and what they become."""

# ruff: noqa: E501 - the rows of a table stay on one line

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable

import pytest

from scheduler.core.job import BatchSpec, JobSpec
from scheduler.errors import SpecError
from scheduler.intake.document import Defaults, is_manifest, read_document, referenced_files

QASM3 = "OPENQASM 3.0;\nqubit q;\n"
QASM2 = 'OPENQASM 2.0;\ninclude "qelib1.inc";\nqreg q[1];\n'
DEFAULTS = Defaults()


def folder(**files: str) -> Callable[[str], bytes]:
    """Circuit files by name, dots written as `__`."""
    by_name = {name.replace("__", "."): text.encode() for name, text in files.items()}

    def attachment(path: str) -> bytes:
        if path not in by_name:
            raise SpecError("no such file", file=path)
        return by_name[path]

    return attachment


NOTHING = folder()


def read(name: str, text: str | bytes, attachment: Callable[[str], bytes] = NOTHING) -> BatchSpec:
    data = text.encode() if isinstance(text, str) else text
    return read_document(name, data, DEFAULTS, attachment)


def only_job(name: str, text: str | bytes, attachment: Callable[[str], bytes] = NOTHING) -> JobSpec:
    (job,) = read(name, text, attachment).jobs
    return job


# -------------------------------------------------------------------------------------- circuit files


def test_a_circuit_without_a_header_takes_the_defaults() -> None:
    batch = read("runs/bell.qasm", QASM3)
    assert batch == BatchSpec(
        name="bell.qasm",
        jobs=(
            JobSpec(
                name="bell.qasm",
                code=QASM3,
                framework="openqasm3",
                backend="simulator",
                shots=100,
                source_name="bell.qasm",
            ),
        ),
        digest=hashlib.sha256(QASM3.encode()).hexdigest(),
    )


def test_the_defaults_are_the_callers() -> None:
    batch = read_document("a.qasm", QASM3.encode(), Defaults(backend="coda:iqm", shots=7), folder())
    assert (batch.jobs[0].backend, batch.jobs[0].shots) == ("coda:iqm", 7)


def test_a_header_is_read_and_removed_and_nothing_else_is() -> None:
    header = '// mine\n\n// /// nightshot\n// backend = "iqm"\n//shots = 7\n//\n// again = true\n// ///\n'
    job = only_job("a.qasm", header + "/* kept */\n" + QASM3)
    assert (job.backend, job.shots, job.again) == ("iqm", 7, True)
    assert job.code == "// mine\n\n/* kept */\n" + QASM3


def test_a_header_survives_windows_line_ends_and_a_byte_order_mark() -> None:
    text = "// /// nightshot\n// shots = 7\n// ///\n" + QASM3
    job = only_job("a.qasm", b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert job.shots == 7
    assert job.code == QASM3.replace("\n", "\r\n")


@pytest.mark.parametrize(
    ("version", "framework"),
    [
        ("OPENQASM 2.0;", "openqasm2"),
        ("OPENQASM 2;", "openqasm2"),
        ("OPENQASM 3;", "openqasm3"),
        ("OPENQASM 3.1 ;", "openqasm3"),
        ("// OPENQASM 2.0;\n/* OPENQASM\n2.0; **/ OPENQASM 3.0;", "openqasm3"),
    ],
)
def test_openqasm_is_told_apart_by_its_version_line(version: str, framework: str) -> None:
    assert only_job("a.qasm", version + "\nx q;\n").framework == framework


def test_the_version_line_is_not_needed_when_the_framework_is_said() -> None:
    header = '// /// nightshot\n// source_framework = "openqasm3"\n// ///\n'
    assert only_job("a.qasm", header + "qubit q;\n").framework == "openqasm3"


def test_codas_one_word_for_openqasm_does_not_hide_what_the_file_is() -> None:
    text = json.dumps({"code": QASM2, "source_framework": "openqasm3"})
    assert only_job("a.json", text).framework == "openqasm2"


@pytest.mark.parametrize(
    ("code", "framework"),
    [
        ("from qiskit import QuantumCircuit", "qiskit"),
        ("import qiskit.circuit as c", "qiskit"),
        ("import numpy as np, cirq", "cirq"),
        ("x = 1; import pennylane as qml", "pennylane"),
        ("def f():\n    from braket.circuits import Circuit", "braket"),
        ("import \\\n    pyquil", "pyquil"),
        ("if True: import cudaq", "cudaq"),
        ("import qiskit\nfrom qiskit_aer import AerSimulator", "qiskit"),
        ("import qiskit\n# import cirq\ns = '''\nimport cirq\n'''\nt = \"import braket\"", "qiskit"),
    ],
)
def test_the_framework_of_python_is_read_from_its_imports(code: str, framework: str) -> None:
    assert only_job("a.py", code).framework == framework


def test_the_nightshot_table_leaves_a_pep_723_block_and_the_rest_stays() -> None:
    text = (
        '"""A docstring.\n\n# /// script\n"""\n'
        '# /// script\n# dependencies = [\n#   "qiskit",\n# ]\n#\n# [tool.nightshot]\n# # mine\n# shots = 7\n'
        "# tags = [\n#   'a',\n# ]\n# [tool.uv]\n# offline = true\n# ///\nimport qiskit\n"
    )
    job = only_job("a.py", text)
    assert (job.shots, job.tags) == (7, ("a",))
    assert job.code == (
        '"""A docstring.\n\n# /// script\n"""\n'
        '# /// script\n# dependencies = [\n#   "qiskit",\n# ]\n#\n# [tool.uv]\n# offline = true\n# ///\nimport qiskit\n'
    )


def test_a_pep_723_block_with_nothing_else_is_removed_whole() -> None:
    text = "# /// script\n# [tool.nightshot]\n# shots = 7\n# ///\nimport qiskit\n"
    assert only_job("a.py", text).code == "import qiskit\n"


def test_a_pep_723_block_of_other_tools_may_stand_anywhere() -> None:
    text = "import qiskit\n# /// script\n# dependencies = []\n# ///\n"
    assert only_job("a.py", text).code == text


def test_a_block_in_a_docstring_or_a_string_is_prose() -> None:
    text = "import qiskit\ns = '''\n# /// script\n# [tool.nightshot]\n# shots = 7\n# ///\n'''\n"
    job = only_job("a.py", text)
    assert (job.shots, job.code) == (100, text)


# ----------------------------------------------------------------------------------------- manifests

FULL = {
    "name": "bell",
    "code": QASM3,
    "source_framework": "openqasm3",
    "backend": "coda:iqm",
    "shots": 7,
    "accept_overage": True,
    "braket_execution_mode_hint": "program_set",
    "cap": "2.00 USD",
    "retries": 3,
    "priority": -3,
    "project": "p",
    "tags": ["a", "b"],
    "again": True,
}
FULL_JOB = JobSpec(
    name="bell",
    code=QASM3,
    framework="openqasm3",
    backend="coda:iqm",
    shots=7,
    accept_overage=True,
    execution_hint="program_set",
    cap_microusd=2_000_000,
    retries=3,
    priority=-3,
    project="p",
    tags=("a", "b"),
    source_name="circuit.qasm",
    again=True,
)


def as_toml(fields: dict[str, object]) -> str:
    return "".join(f"{key} = {json.dumps(value)}\n" for key, value in fields.items())


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", json.dumps(FULL)),
        ("a.JSON", json.dumps(FULL, indent=2)),
        ("a.yaml", json.dumps(FULL)),
        ("a.yml", "".join(f"{key}: {json.dumps(value)}\n" for key, value in FULL.items())),
        ("a.toml", as_toml(FULL)),
        ("a.jsonl", json.dumps(FULL)),
    ],
)
def test_every_format_carries_every_field(name: str, text: str) -> None:
    batch = read(name, text)
    assert batch.jobs == (FULL_JOB,)
    assert batch.again


BATCHES = {
    "b.json": '{"shots": 5, "tags": ["t"], "name": "B", "jobs": [{"code": "%s"}, {"code": "%s", "shots": 6, "tags": []}]}',
    "b.yaml": 'shots: 5\ntags: [t]\nname: B\njobs:\n  - code: "%s"\n  - {code: "%s", shots: 6, tags: []}\n',
    "b.toml": 'shots = 5\ntags = ["t"]\nname = "B"\n[[jobs]]\ncode = "%s"\n[[jobs]]\ncode = "%s"\nshots = 6\ntags = []\n',
    "b.jsonl": (
        '{"nightshot": 1, "count": 2, "shots": 5, "tags": ["t"], "name": "B"}\n'
        '{"code": "%s"}\n\n{"code": "%s", "shots": 6, "tags": []}\n'
    ),
}


@pytest.mark.parametrize("name", BATCHES)
def test_fields_beside_the_jobs_hold_for_each_that_does_not_say_otherwise(name: str) -> None:
    batch = read(name, BATCHES[name] % ("OPENQASM 3; x q;", "OPENQASM 2.0; x q;"))
    assert batch.name == "B"
    assert [(job.name, job.shots, job.tags, job.framework) for job in batch.jobs] == [
        ("b-1", 5, ("t",), "openqasm3"),
        ("b-2", 6, (), "openqasm2"),
    ]


def test_a_shared_circuit_is_inherited_unless_a_job_has_its_own() -> None:
    jobs = [{}, {"code": QASM2}]
    batch = read("a.json", json.dumps({"circuit": "x.qasm", "jobs": jobs}), folder(x__qasm=QASM3))
    assert [job.framework for job in batch.jobs] == ["openqasm3", "openqasm2"]


def test_null_in_a_job_undoes_a_shared_hint() -> None:
    document = {
        "braket_execution_mode_hint": "run_batch",
        "jobs": [{"code": QASM3, "braket_execution_mode_hint": None}],
    }
    assert read("a.json", json.dumps(document)).jobs[0].execution_hint is None


def test_circuit_files_are_fetched_once_and_recorded() -> None:
    asked: list[str] = []
    files = folder(sub__qasm=QASM3)

    def attachment(path: str) -> bytes:
        asked.append(path)
        return files("sub.qasm")

    text = json.dumps({"jobs": [{"circuit": "./d/sub.qasm"}, {"circuit": "d/sub.qasm", "name": "two"}]})
    batch = read("m.json", text, attachment)
    assert asked == ["d/sub.qasm"]
    assert batch.attachments == ("d/sub.qasm",)
    assert [(job.name, job.source_name) for job in batch.jobs] == [
        ("sub.qasm", "sub.qasm"),
        ("two", "sub.qasm"),
    ]


def test_a_changed_circuit_makes_another_batch() -> None:
    text = '{"circuit": "x.qasm"}'
    digests = {read("m.json", text, folder(x__qasm=code)).digest for code in (QASM3, QASM2)}
    assert len(digests) == 2
    assert read("m.json", text, folder(x__qasm=QASM3)).digest in digests


def test_yaml_is_yaml_1_2_and_shares_anchors() -> None:
    text = "jobs:\n - {code: &c 'OPENQASM 3;', shots: 0o17, name: &n 22:30}\n - {code: *c, shots: 0x11, name: yes}\n"
    batch = read("a.yaml", text)
    assert [(job.name, job.shots) for job in batch.jobs] == [("22:30", 15), ("yes", 17)]


def test_a_yaml_string_may_be_marked_as_one() -> None:
    assert only_job("a.yaml", "code: OPENQASM 3;\nname: !!str 7\nproject: ! 8\n").project == "8"


def test_jsonl_lines_end_at_line_feeds_only() -> None:
    line = json.dumps({"code": QASM3, "project": "a\u0085b"}, ensure_ascii=False)
    with pytest.raises(SpecError, match="control character"):
        read("a.jsonl", line)
    job = only_job("a.jsonl", json.dumps({"code": "OPENQASM 3; // \u2028"}, ensure_ascii=False))
    assert job.code.endswith("\u2028")


def test_ten_thousand_lines_are_ten_thousand_jobs() -> None:
    lines = [json.dumps({"code": QASM3, "shots": 1 + number}) for number in range(10_000)]
    batch = read("a.jsonl", '{"nightshot": 1, "count": 10000}\n' + "\n".join(lines))
    assert [job.shots for job in batch.jobs] == list(range(1, 10_001))


# --------------------------------------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("name", "job_name", "source_name"),
    [
        ("dir/bell.qasm", "bell.qasm", "bell.qasm"),
        ("caf\udce9.qasm", "caf_xe9.qasm", "caf_.qasm"),
        ("a\x1b[2J\n.qasm", "a_x1b[2J_n.qasm", "a__2J_.qasm"),
        ("x" * 300 + ".qasm", "x" * 200, "x" * 60 + ".qasm"),
        ("été .QASM", "été .QASM", "été_.qasm"),
        (".a.qasm", ".a.qasm", "a.qasm"),
        ("✓.qasm", "✓.qasm", "_.qasm"),
    ],
)
def test_names_of_files_become_tame_names(name: str, job_name: str, source_name: str) -> None:
    job = only_job(name, QASM3)
    assert (job.name, job.source_name) == (job_name, source_name)
    assert job.name.encode()


@pytest.mark.parametrize(
    ("name", "data", "files"),
    [
        (
            "a.json",
            b'{"jobs": [{"circuit": "x.qasm"}, {"circuit": "./d/y.py"}, {"circuit": "x.qasm"}]}',
            ("x.qasm", "d/y.py"),
        ),
        ("a.json", b'{"\\u0063ircuit": "x.qasm"}', ("x.qasm",)),
        ("a.toml", b'"\\U00000063ircuit" = "x.qasm"', ("x.qasm",)),
        ("a.yaml", b'"\\x63ircuit": x.qasm', ("x.qasm",)),
        ("a.yaml", b'? "cir\\\r\n  cuit"\n: x.qasm', ("x.qasm",)),
        ("a.yaml", '? "cir\\\u2028  cuit"\n: x.qasm'.encode(), ("x.qasm",)),
        ("a.json", b'{"code": "OPENQASM 3.0;\\n\\"\\\\"}', ()),
        ("a.yaml", b"circuit: x.qasm\njobs: [{}, 3, {circuit: 7}]", ("x.qasm",)),
        ("a.toml", b'circuit = "x.qasm"', ("x.qasm",)),
        ("a.jsonl", b'{"circuit": "x.qasm"}\n{"circuit": "y.qasm"}', ("x.qasm", "y.qasm")),
        ("a.json", b'{"circuit": "../x.qasm"}', ()),
        ("a.json", b'{"circuit": "x.qasm"', ()),
        ("a.json", b'{"code": "x"}', ()),
        ("a.qasm", b"// circuit", ()),
        ("a.jsonl", b"circuit\xff", ()),
    ],
)
def test_the_circuits_of_a_manifest_are_listed_without_reading_them(
    name: str, data: bytes, files: tuple[str, ...]
) -> None:
    assert referenced_files(name, data) == files


def test_manifests_are_told_from_circuits_by_their_ending() -> None:
    assert [is_manifest(name) for name in ("a.yaml", "a.JSONL", "a.qasm", "a.py", "yaml", "a.txt")] == [
        True,
        True,
        False,
        False,
        False,
        False,
    ]


@pytest.mark.parametrize(
    ("cap", "microusd"),
    [
        ("2.00 USD", 2_000_000),
        ("2USD", 2_000_000),
        ("$2", 2_000_000),
        ("$2.5 USD", 2_500_000),
        ("0", 0),  # nothing, which is not the same as no cap
        ("0.000001", 1),
        ("999999999.999999 USD", 999_999_999_999_999),
    ],
)
def test_a_cap_is_read_to_the_micro_dollar(cap: str, microusd: int) -> None:
    assert only_job("a.json", json.dumps({"code": QASM3, "cap": cap})).cap_microusd == microusd
    header = f'// /// nightshot\n// cap = "{cap}"\n// ///\n{QASM3}'
    assert only_job("a.qasm", header).cap_microusd == microusd


def test_no_cap_is_no_limit_and_no_retries_is_one_try() -> None:
    job = only_job("a.json", json.dumps({"code": QASM3}))
    assert (job.cap_microusd, job.retries) == (None, 0)


def test_a_cap_beside_the_jobs_is_each_jobs_own() -> None:
    jobs = [{"code": QASM3}, {"code": QASM3, "cap": "0.50", "retries": 0}]
    batch = read("a.json", json.dumps({"cap": "2.00 USD", "retries": 3, "jobs": jobs}))
    assert [(job.cap_microusd, job.retries) for job in batch.jobs] == [(2_000_000, 3), (500_000, 0)]


@pytest.mark.parametrize("hint", [None, "program_set", "run_batch", "auto"])
def test_every_hint_is_kept_as_it_was_said(hint: str | None) -> None:
    text = json.dumps({"code": QASM3, "braket_execution_mode_hint": hint})
    assert only_job("a.json", text).execution_hint == hint
