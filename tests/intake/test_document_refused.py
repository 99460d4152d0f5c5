"""Job files that are refused: the file, the line, the problem and the fix, for every rule."""

# ruff: noqa: E501 - the rows of a table stay on one line

from __future__ import annotations

import json

import pytest

from scheduler.errors import SpecError
from scheduler.intake.document import Defaults, read_document
from scheduler.intake.wire import NOT_YET

QASM3 = "OPENQASM 3.0;\nqubit q;\n"
BELL = json.dumps(QASM3)
FILES = {
    "ok.qasm": QASM3.encode(),
    "no-version.qasm": b"// hello\nqreg q[1];\n",
    "header.qasm": b"// /// nightshot\n// shots = 3\n// ///\nOPENQASM 3.0;\n",
    "latin.qasm": b"OPENQASM 3.0;\n// \xe9t\xe9\n",
    "huge.qasm": b"OPENQASM 3.0;" + b" " * 2_000_000,
    "both.py": b"import qiskit, cirq\n",
}


def attachment(path: str) -> bytes:
    if path not in FILES:
        raise SpecError("no such file beside the manifest", file=path)
    return FILES[path]


def refusal(name: str, data: bytes | str, defaults: Defaults | None = None) -> SpecError:
    raw = data.encode() if isinstance(data, str) else data
    with pytest.raises(SpecError) as caught:
        read_document(name, raw, defaults or Defaults(), attachment)
    return caught.value


def job(**fields: object) -> str:
    return json.dumps({"code": QASM3, **fields})


# ------------------------------------------------------------------------------------- single fields

FIELDS = [
    ("shots", True, "true is not a whole number"),
    ("shots", "100", "'100' is not a whole number; write 100"),
    ("shots", 100.0, "100.0 is not a whole number; write 100"),
    ("shots", 1.5, "1.5 is not a whole number"),
    ("shots", None, "null is not a whole number"),
    ("shots", 0, "0 is too small; the least is 1"),
    ("shots", 1_000_001, "1000001 is too large; the most is 1000000"),
    ("shots", 10**30, "a very long number is too large; the most is 1000000"),
    ("shots", [1], "a list is not a whole number"),
    ("shots", {"a": 1}, "a table is not a whole number"),
    ("priority", -1001, "-1001 is too small; the least is -1000"),
    ("priority", 1001, "1001 is too large; the most is 1000"),
    (
        "backend",
        ["iqm", "ionq"],
        "a list to choose from is not yet supported by this version; name one backend",
    ),
    ("backend", "", "empty"),
    ("backend", "my iqm", "'my iqm' has blanks or characters that no backend's name has"),
    ("backend", 3, "3 is not text; put it between quotes"),
    ("accept_overage", "yes", "'yes' is not true or false"),
    ("accept_overage", 1, "1 is not true or false"),
    ("again", None, "null is not true or false"),
    (
        "braket_execution_mode_hint",
        "cheapest",
        "'cheapest' is not known; one of program_set, run_batch, auto",
    ),
    ("cap", 2, "2 is not text; put it between quotes"),
    ("cap", 2.0, "2.0 is not text; put it between quotes"),
    ("cap", None, "null is not text"),
    ("cap", "", "'' is not an amount; write it as '2.00 USD'"),
    ("cap", "2.00 EUR", "'2.00 EUR' is not an amount; write it as '2.00 USD'"),
    ("cap", "2,00 USD", "'2,00 USD' is not an amount; write it as '2.00 USD'"),
    ("cap", "-1", "'-1' is not an amount; write it as '2.00 USD'"),
    ("cap", "1e3", "'1e3' is not an amount; write it as '2.00 USD'"),
    ("cap", "0.0000001", "'0.0000001' is not an amount; write it as '2.00 USD'"),
    ("cap", "9999999999", "'9999999999' is not an amount; write it as '2.00 USD'"),
    ("cap", "unlimited", "'unlimited' is not an amount; write it as '2.00 USD'"),
    ("cap", "٣ USD", "'٣ USD' is not an amount; write it as '2.00 USD'"),
    ("cap", "2.00 USD\n", r"'2.00 USD\n' is not an amount; write it as '2.00 USD'"),
    ("retries", -1, "-1 is too small; the least is 0"),
    ("retries", 6, "6 is too large; the most is 5"),
    ("retries", True, "true is not a whole number"),
    ("retries", "1", "'1' is not a whole number; write 1"),
    ("retries", None, "null is not a whole number"),
    ("braket_execution_mode_hint", "programset", "'programset' is not known, did you mean 'program_set'?"),
    ("source_framework", "Qiskitt", "'Qiskitt' is not known, did you mean 'qiskit'?"),
    (
        "source_framework",
        "zz",
        "'zz' is not known; one of qiskit, cirq, pennylane, braket, pyquil, cudaq, openqasm3, openqasm2",
    ),
    ("source_framework", "openqasm2", "'openqasm2', but the circuit says OPENQASM 3"),
    ("name", "", "empty"),
    ("name", "x" * 201, "'" + "x" * 39 + "…' is longer than 200 characters"),
    ("name", "a\nb", r"'a\nb' has a slash, a backslash or a control character"),
    ("name", "../b", "'../b' has a slash, a backslash or a control character"),
    ("name", "a\u202eb", r"'a\u202eb' has a slash, a backslash or a control character"),
    ("name", "\ud800", r"a lone surrogate (\ud800 … \udfff) is no character; it cannot be stored"),
    ("project", "", "empty"),
    ("project", "a\0", r"'a\x00' has a slash, a backslash or a control character"),
    ("tags", "a", "'a' is not a list of texts"),
    ("tags", ["a", 3], "3 is not text; put it between quotes"),
    ("tags", ["x" * 41], "'" + "x" * 39 + "…' is longer than 40 characters"),
    ("tags", ["a"] * 21, "more than 20 entries"),
    ("tags", ["\udfff"], r"a lone surrogate (\ud800 … \udfff) is no character; it cannot be stored"),
]


@pytest.mark.parametrize(("field", "value", "problem"), FIELDS)
def test_a_wrong_value_is_named_with_its_line(field: str, value: object, problem: str) -> None:
    text = f'{{\n  "code": {BELL},\n  {json.dumps(field)}: {json.dumps(value)}\n}}'
    assert refusal("a.json", text).message == f"a.json:3: {field}: {problem}"


@pytest.mark.parametrize("field", sorted(NOT_YET))
def test_a_field_of_a_later_part_is_refused_and_never_ignored(field: str) -> None:
    sentence = f"{field}: not yet supported by this version; remove the line"
    assert refusal("a.yaml", f"code: OPENQASM 3;\n{field}: 1\n").message == f"a.yaml:2: {sentence}"
    header = f"// /// nightshot\n// {field} = 1\n// ///\n{QASM3}"
    assert refusal("a.qasm", header).message == f"a.qasm:2: {sentence}"


@pytest.mark.parametrize(
    ("key", "sentence"),
    [
        ("shotz", "shotz: unknown key, did you mean 'shots'?"),
        ("Backend", "Backend: unknown key, did you mean 'backend'?"),
        ("accept-overage", "accept-overage: unknown key, did you mean 'accept_overage'?"),
        ("xyzzy", "xyzzy: unknown key; remove it"),
        ("user", "user: the owner of the file is the user of the job; remove the line"),
        ("owner", "owner: the owner of the file is the user of the job; remove the line"),
        ("count", "count: not here; only the first line of a .jsonl file has it"),
        ("\x1b[2J", r"\x1b[2J: unknown key; remove it"),
        ("k" * 500, "k" * 39 + "…: unknown key; remove it"),
        ("\ud800", "a key is not valid Unicode (a lone surrogate)"),
    ],
)
def test_an_unknown_key_is_named_with_what_was_probably_meant(key: str, sentence: str) -> None:
    assert refusal("a.json", job(**{key: 1})).message == f"a.json:1: {sentence}"


# ------------------------------------------------------------------------ where the circuit comes from

PLACES = [
    ({}, ["neither code nor circuit: a job has exactly one of them"]),
    ({"code": QASM3, "circuit": "ok.qasm"}, ["code and circuit: a job has exactly one of them"]),
    ({"code": ""}, ["code: empty"]),
    ({"code": "OPENQASM 3;\0"}, ["code: a NUL character, which no circuit has"]),
    (
        {"code": "OPENQASM 3;\ud800"},
        [r"code: a lone surrogate (\ud800 … \udfff) is no character; it cannot be stored"],
    ),
    (
        {"code": "h q[0];"},
        [
            "code: cannot tell the language: it neither begins with OPENQASM nor imports a known framework. "
            'Add the field source_framework, for example "qiskit" or "openqasm3".'
        ],
    ),
    (
        {"code": "// /// nightshot\n// shots = 3\n// ///\nOPENQASM 3;"},
        ["code: this circuit has a header of its own; move its fields here and remove it"],
    ),
    (
        {"code": "# /// script\n# [tool.nightshot]\n# ///\nimport qiskit"},
        ["code: this circuit has a header of its own; move its fields here and remove it"],
    ),
    ({"circuit": "gone.qasm"}, ["circuit: gone.qasm: no such file beside the manifest"]),
    ({"circuit": "/etc/a.qasm"}, ["circuit: '/etc/a.qasm' is absolute; name a file beside this one"]),
    ({"circuit": "~a.qasm"}, ["circuit: '~a.qasm' is absolute; name a file beside this one"]),
    ({"circuit": "a/../../b.qasm"}, ["circuit: 'a/../../b.qasm' leaves the folder of this file"]),
    ({"circuit": "a\\b.qasm"}, ["circuit: 'a\\b.qasm' has a backslash; separate folders with /"]),
    ({"circuit": "a\0.qasm"}, [r"circuit: 'a\x00.qasm' has a control character"]),
    ({"circuit": "a.json"}, ["circuit: 'a.json' is no circuit file; .qasm and .py are"]),
    ({"circuit": "x" * 401}, ["circuit: '" + "x" * 39 + "…' is longer than 400 characters"]),
    (
        {"circuit": "header.qasm"},
        ["circuit: this circuit has a header of its own; move its fields here and remove it"],
    ),
    (
        {"circuit": "no-version.qasm"},
        [
            "circuit: no-version.qasm:2: no version line; an OpenQASM file begins with one. "
            "Put this line before the first statement: OPENQASM 2.0;"
        ],
    ),
    (
        {"circuit": "latin.qasm"},
        ["circuit: latin.qasm:2: byte 0xe9 is not UTF-8; the file looks like Latin-1 or Windows-1252"],
    ),
    (
        {"circuit": "huge.qasm"},
        ["circuit: huge.qasm: the file has 2,000,013 bytes; at most 1,048,576 are read"],
    ),
    (
        {"circuit": "both.py"},
        [
            "circuit: cannot tell the framework: qiskit and cirq are imported. "
            'Add the one that builds the circuit to the header: source_framework = "qiskit"'
        ],
    ),
    (
        {"circuit": "ok.qasm", "source_framework": "qiskit"},
        ["source_framework: 'qiskit', but a .qasm file holds OpenQASM; remove it"],
    ),
]


@pytest.mark.parametrize(("fields", "sentences"), PLACES)
def test_a_circuit_that_cannot_be_had_is_explained(fields: dict[str, object], sentences: list[str]) -> None:
    assert refusal("a.json", json.dumps(fields)).message == "\n".join(
        f"a.json:1: {each}" for each in sentences
    )


# -------------------------------------------------------------------------------------- header blocks

OPEN, CLOSE = "// /// nightshot\n", "// ///\n"
HEADERS = [
    ("a.qasm", QASM3 + OPEN + CLOSE, "a.qasm:3: the block stands after the first statement (line 1)"),
    ("a.qasm", "\n" + OPEN + CLOSE + OPEN + CLOSE + QASM3, "a.qasm:4: a second '// /// nightshot' block; the first is on line 2"),
    ("a.qasm", OPEN + "// shots = 1\n" + QASM3, "a.qasm:1: the block that opens here is not closed by a line '// ///'"),
    ("a.qasm", OPEN + "// shots = 1\n", "a.qasm:1: the block that opens here is not closed by a line '// ///'"),
    ("a.qasm", "// /// nightshoot\n" + CLOSE + QASM3, "a.qasm:1: '// /// nightshoot' does not open a block"),
    ("a.qasm", "///nightshot\n" + QASM3, "a.qasm:1: '///nightshot' does not open a block"),
    ("a.qasm", "/* x\n*/" + OPEN + CLOSE + QASM3, "a.qasm:2: a block opens behind something else"),
    ("a.qasm", "//\n" + OPEN + "// shots = = 1\n" + CLOSE + QASM3, "a.qasm:3: not TOML: Invalid value"),
    ("a.qasm", OPEN + "// shots = 1\n// shots = 2\n" + CLOSE + QASM3, "a.qasm:3: shots: written twice, first on line 2; keep one"),
    ("a.qasm", OPEN + "// code = 'x'\n" + CLOSE + QASM3, "a.qasm:2: code: the file itself is the circuit; remove the line"),
    ("a.qasm", OPEN + "// shots = 2024-01-01\n" + CLOSE + QASM3, "a.qasm:2: shots: a date or time is not a whole number"),
    (
        "a.qasm",
        OPEN + "// tags = ['a',\n//   3]\n// shots = true\n" + CLOSE + QASM3,
        "a.qasm:3: tags: 3 is not text; put it between quotes\na.qasm:4: shots: true is not a whole number",
    ),
    ("a.qasm", OPEN + "// source_framework = 'cirq'\n" + CLOSE + QASM3, "a.qasm:2: source_framework: 'cirq', but a .qasm file holds OpenQASM; remove it"),
    ("a.qasm", OPEN + "// shotz = 1\n" + CLOSE + "\nqreg q[1];", "a.qasm:2: shotz: unknown key, did you mean 'shots'?\na.qasm:5: no version line; an OpenQASM file begins with one"),
    ("a.py", "import qiskit\n# /// script\n# [tool.nightshot]\n# ///\n", "a.py:2: the block stands after the first statement (line 1)"),
    ("a.py", "# /// nightshot\n# shots = 1\n# ///\nimport qiskit\n", "a.py:1: '# /// nightshot' does not open a block"),
    ("a.py", "# /// script\n# tool.nightshot.shotz = 1\n# ///\nimport qiskit\n", "a.py:2: shotz: unknown key, did you mean 'shots'?"),
    ("a.py", "# /// script\n# [tool]\n# nightshot = 3\n# ///\nimport qiskit\n", "a.py:3: tool.nightshot is not a table"),
    ("a.py", "x = 1\n", "a.py: cannot tell the framework: none of qiskit, cirq, pennylane, braket, pyquil, cudaq is imported"),
    ("a.py", "import cirq\nimport braket\n", "a.py: cannot tell the framework: cirq and braket are imported"),
    ("a.qasm", "// x\n\nOPENQASM 4;", "a.qasm:3: OpenQASM 4 is not known; 2 and 3 are"),
    ("a.qasm", "// x\n\nOPENQASM 2.0", "a.qasm:3: the version line is not complete"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "text", "message"), HEADERS)
def test_a_header_block_that_would_go_unnoticed_is_an_error(name: str, text: str, message: str) -> None:
    assert refusal(name, text).message == message


def test_the_corrected_header_comes_with_the_refusal() -> None:
    fields = '// shotz = 7\n// deadline = "06:00"\n// cap = "2.00 USD"\n// tags = ["a"]\n// backend = "iqm"\n// priority = true\n'
    error = refusal("a.qasm", OPEN + fields + CLOSE + QASM3)
    assert error.hint == (
        'Corrected header:\n// /// nightshot\n// shots = 7\n// cap = "2.00 USD"\n// tags = ["a"]\n// backend = "iqm"\n// ///'
    )


def test_the_corrected_header_can_be_pasted() -> None:
    error = refusal("a.py", "# /// script\n# [tool.nightshot]\n# shotz = 7\n# ///\nimport qiskit\n")
    _, _, header = error.hint.partition(":\n")
    batch = read_document("a.py", f"{header}\nimport qiskit\n".encode(), Defaults(), attachment)
    assert batch.jobs[0].shots == 7


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("qreg q[1];", "OPENQASM 2.0;"),
        ('include "qelib1.inc";', "OPENQASM 2.0;"),
        ("qubit q;", "OPENQASM 3.0;"),
    ],
)
def test_the_missing_version_line_comes_with_the_refusal(text: str, line: str) -> None:
    error = refusal("a.qasm", f"// x\n{text}\n")
    assert (error.line, error.hint) == (2, f"Put this line before the first statement:\n{line}")


# ------------------------------------------------------------------------------------ whole documents

DOCUMENTS = [
    ("a.txt", "x", "a.txt: '.txt': not a job file; .qasm, .py, .yaml, .yml, .toml, .json, .jsonl are"),
    ("a", "x", "a: no ending: not a job file; .qasm, .py, .yaml, .yml, .toml, .json, .jsonl are"),
    ("a.qasm", "", "a.qasm: the file is empty"),
    ("a.qasm", " \n\ufeff", "a.qasm:2: no version line; an OpenQASM file begins with one"),
    ("a.json", "\n\n", "a.json: the file is empty"),
    ("a.json", "[]", "a.json:1: the file holds a list; a job file holds fields such as code, backend and shots"),
    ("a.json", "3", "a.json:1: the file holds 3; a job file holds fields such as code, backend and shots"),
    ("a.yaml", "# nothing\n", "a.yaml: the file holds null; a job file holds fields such as code, backend and shots"),
    ("a.json", '{"jobs": []}', "a.json:1: there is no job in this file; nothing was queued"),
    ("a.json", '{\n"jobs": {}}', "a.json:2: jobs: a table is not a list of jobs"),
    ("a.json", '{"jobs": [\n3]}', "a.json:2: a job is a table of fields; this is 3"),
    ("a.json", '{"shots": true,\n"jobs": [{"code": "OPENQASM 3;"}]}', "a.json:1: shots: true is not a whole number"),
    ("a.json", '{"code": "a", "circuit": "b",\n"jobs": [{}]}', "a.json:1: code and circuit: a job has exactly one of them"),
    ("a.json", '{"jobs": [{"code": "OPENQASM 3;",\n"jobs": []}]}', "a.json:2: jobs: not here; only the top of a .json, .yaml or .toml file has it"),
    ("a.json", '{"code": 1,\n"code": 2,\n"x": {"y": 1, "y": 2}}', "a.json:2: code: written twice, first on line 1; keep one\na.json:3: y: written twice, first on line 3; keep one"),
    ("a.json", '{"code": "x",\n"c\\u006fde": 2}', "a.json:2: code: written twice, first on line 1; keep one"),
    ("a.json", '{"code": "NaN",\n"shots": NaN}', "a.json:2: NaN is not a JSON number"),
    ("a.json", '{"code":\n-Infinity}', "a.json:2: -Infinity is not a JSON number"),
    ("a.json", '{"code":\n"x', "a.json:2: it ends in the middle of a value: the file looks truncated"),
    ("a.json", '{"code": "x",\n', "a.json:2: it ends in the middle of a value: the file looks truncated"),
    ("a.json", '{"code": "x",\n}', "a.json:2: not JSON: Expecting property name enclosed in double quotes (column 1)"),
    ("a.json", "{}\n{}", "a.json:2: something follows the end of the JSON value (column 1)"),
    ("a.json", '{"shots":\n' + "9" * 5000 + "}", "a.json:2: a number with thousands of digits"),
    ("a.toml", 'code = "x"\nshots = 1\nshots = 2', "a.toml:3: shots: written twice, first on line 2; keep one"),
    ("a.toml", '[[jobs]]\ncode = """\nOPENQASM 3;\n"""\n[[jobs]]\ncircuit = "ok.qasm"\n# x\nshots = true', "a.toml:8: shots: true is not a whole number"),
    ("a.toml", 'jobs = [\n  {code = "OPENQASM 3;", tags = ["a",\n  3]},\n  {code = "OPENQASM 3;", cap = 1},\n]', "a.toml:3: tags: 3 is not text; put it between quotes\na.toml:4: cap: 1 is not text; put it between quotes"),
    ("a.toml", "code = 'x\n", "a.toml:1: not TOML: Expected \"'\""),
    ("a.toml", "[sweep]\ntheta = 1\n", "a.toml: neither code nor circuit: a job has exactly one of them\na.toml:1: sweep: not yet supported by this version; remove the line"),
    ("qaoa.yaml", "circuit: ok.qasm\n\n# x\nbackend: iqm\n\nshotz: 3\n", "qaoa.yaml:6: shotz: unknown key, did you mean 'shots'?"),
    ("a.yaml", "code: x\nshots: 1\nshots: 2\n", "a.yaml:3: shots: written twice, first on line 2; keep one"),
    ("a.yaml", "jobs:\n  - code: OPENQASM 3;\n    tags:\n      - a\n      - 3\n", "a.yaml:5: tags: 3 is not text; put it between quotes"),
    ("a.yaml", "code: OPENQASM 3;\nshots: 1_000\n", "a.yaml:2: shots: '1_000' is not a whole number; write 1000"),
    ("a.yaml", "code: OPENQASM 3;\nagain: yes\n", "a.yaml:2: again: 'yes' is not true or false"),
    ("a.yaml", "code: x\n<<: {shots: 1}\n", "a.yaml:1: code: cannot tell the language"),
    ("a.yaml", "code: x\nshots: .inf\n", "a.yaml:1: code: cannot tell the language"),
    ("a.yaml", "a: 1\n---\nb: 1\n", "a.yaml:2: a second document begins here; put one document in each file"),
    ("a.yaml", "%YAML 1.1\n---\na: 1\n", "a.yaml:2: only YAML 1.2 is read; remove the %YAML line"),
    ("a.yaml", "\na: !!python/object/apply:os.system [x]\n", "a.yaml:2: the tag !!python/object/apply:os.system is not read; remove it"),
    ("a.yaml", "a: 1\n? [b]\n: 2\n", "a.yaml:2: a key must be plain text"),
    ("a.yaml", "a: &a [*a]\n", "a.yaml:1: *a: no finished &a stands above"),
    ("a.yaml", "a: 1\n\tb: 2\n", "a.yaml:2: not YAML: found character '\\t' that cannot start any token"),
    ("a.yaml", "a: {b\n", "a.yaml:2: not YAML: expected ',' or '}', but got '<stream end>'"),
    ("a.yaml", "a: \x07\n", "a.yaml:1: not YAML: a character that YAML does not allow"),
    ("a.jsonl", '{"nightshot": 1, "count": 3}\n' + f'{{"code": {BELL}}}\n' * 2, "a.jsonl:1: count: the header says 3 jobs, the file has 2; the file looks truncated"),
    ("a.jsonl", '{"nightshot": 1, "count": 1}\n' + f'{{"code": {BELL}}}\n' * 2, "a.jsonl:1: count: the header says 1 jobs, the file has 2; lines were added or the header is old"),
    ("a.jsonl", f'{{"nightshot": 1}}\n{{"code": {BELL}}}\n', 'a.jsonl:1: count: missing; the header says how many jobs follow: "count": 1'),
    ("a.jsonl", f'{{"nightshot": 1, "count": true}}\n{{"code": {BELL}}}\n', "a.jsonl:1: count: true is not a number of jobs"),
    ("a.jsonl", f'{{"nightshot": true, "count": 1}}\n{{"code": {BELL}}}\n', "a.jsonl:1: nightshot: version true is not known; write 1"),
    ("a.jsonl", f'{{"nightshot": 2, "count": 1, "cap": 1}}\n{{"code": {BELL}}}\n', "a.jsonl:1: nightshot: version 2 is not known; write 1\na.jsonl:1: cap: 1 is not text; put it between quotes"),
    ("a.jsonl", '{"nightshot": 1, "count": 0}', "a.jsonl:1: there is no job in this file; nothing was queued"),
    ("a.jsonl", f'\n{{"code": {BELL}, "shots": 1, "shots": 2}}\n{{"code": "x', "a.jsonl:2: shots: written twice in this line; keep one\na.jsonl:3: it ends in the middle of a value: the file looks truncated"),
    ("a.jsonl", f'{{"code": {BELL}}}\n\n{{"code": {BELL}, "shotz": 1}}\n[]\n', "a.jsonl:3: shotz: unknown key, did you mean 'shots'?\na.jsonl:4: a job is a table of fields; this is a list"),
    ("a.jsonl", '{"code": NaN}', "a.jsonl:1: NaN is not a JSON number"),
    ("a.jsonl", f'{{"code": {BELL}}}\n{{"code": {BELL}, "nightshot": 1}}', "a.jsonl:2: nightshot: not here; only the first line of a .jsonl file has it"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "text", "message"), DOCUMENTS)
def test_a_document_that_is_wrong_is_refused_with_its_lines(name: str, text: str, message: str) -> None:
    found = refusal(name, text).message
    assert found == message or (found.startswith(message) and "cannot tell the language" in message)


def test_ten_problems_are_shown_in_the_order_of_their_lines_and_the_rest_is_announced() -> None:
    text = "\n".join(f'{{"code": {BELL}, "shots": {-number}}}' for number in range(100))
    lines = refusal("a.jsonl", text).message.split("\n")
    assert lines[:10] == [
        f"a.jsonl:{number + 1}: shots: {-number} is too small; the least is 1" for number in range(10)
    ]
    assert lines[10:] == ["a.jsonl: there are more problems; these are the first 10"]


def test_a_job_with_a_wrong_field_is_still_looked_at_for_a_wrong_circuit() -> None:
    text = "jobs:\n- shots: 0\n  circuit: gone.qasm\n- circuit: /x.qasm\n- circuit: ok.qasm\n"
    assert refusal("a.yaml", text).message.split("\n") == [
        "a.yaml:2: shots: 0 is too small; the least is 1",
        "a.yaml:3: circuit: gone.qasm: no such file beside the manifest",
        "a.yaml:4: circuit: '/x.qasm' is absolute; name a file beside this one",
    ]


# ------------------------------------------------------------------------------------------ encodings

ENCODINGS = [
    (QASM3.encode("utf-16"), "the file is UTF-16 text, not UTF-8", "iconv -f UTF-16 -t UTF-8"),
    (QASM3.encode("utf-32"), "the file is UTF-32 text, not UTF-8", "iconv -f UTF-32 -t UTF-8"),
    (QASM3.encode("utf-16-le"), "the file is UTF-16LE text, not UTF-8", "iconv -f UTF-16LE -t UTF-8"),
    (QASM3.encode("utf-16-be"), "the file is UTF-16BE text, not UTF-8", "iconv -f UTF-16BE -t UTF-8"),
    (b"OPENQASM 3;\n// \xe9", "byte 0xe9 is not UTF-8; the file looks like Latin-1", "iconv -f WINDOWS-1252"),
    (b"OPENQASM 3;\n// \0", "binary data, not text (byte 0x00 at position 16)", "UTF-8 text"),
    (b"\x01\x02\xff\xfe\x03", "binary data, not text (byte 0xff at position 3)", "UTF-8 text"),
    (b"\x1f\x8b\x08\x00\x00", "this is a gzip archive, not text", "gunzip"),
    (b"PK\x03\x04\x00\x00", "this is a zip archive, not text", "unzip"),
    (b"\x7fELF\x02\x01\x00", "this is a program, not text", "source text"),
    (b"\xed\xa0\x80", "byte 0xed is not UTF-8", "iconv"),
]


@pytest.mark.parametrize("name", ["a.qasm", "a.py", "a.json", "a.yaml", "a.toml", "a.jsonl"])
@pytest.mark.parametrize(("data", "problem", "hint"), ENCODINGS)
def test_what_is_not_utf_8_is_named_and_how_to_convert_it(
    name: str, data: bytes, problem: str, hint: str
) -> None:
    error = refusal(name, data)
    assert problem in error.message
    assert hint in error.hint


def test_the_name_of_the_file_cannot_reach_a_terminal_raw() -> None:
    error = refusal("caf\udce9\x1b[2J\n.qasm", "x")
    assert error.file == r"caf\xe9\x1b[2J\n.qasm"
    assert str(error).encode()


# --------------------------------------------------------------------------------------------- limits

LIMITS = [
    (
        "a.qasm",
        QASM3 + " " * 200_000,
        Defaults(max_code_bytes=100_000),
        "the file has 200,023 bytes; at most 165,536",
    ),
    (
        "a.qasm",
        QASM3 + " " * 200,
        Defaults(max_code_bytes=100),
        "the circuit has 223 bytes; at most 100 are taken",
    ),
    ("a.json", job(code=QASM3 + "é" * 50), Defaults(max_code_bytes=100), "code: the circuit has 123 bytes"),
    ("a.json", job(), Defaults(max_document_bytes=10), "bytes; at most 10 are read"),
    ("a.json", '{"jobs": [{}, {}, {}]}', Defaults(max_jobs=2), "3 jobs; at most 2 are taken from one file"),
    (
        "a.jsonl",
        job() + "\n" + job() + "\n" + job(),
        Defaults(max_jobs=2),
        "3 jobs; at most 2 are taken from one",
    ),
    ("a.jsonl", "\n".join([job()] * 9), Defaults(max_jobs=2), "9 jobs; at most 2 are taken from one"),
    ("a.jsonl", job() + "\n" + job(), Defaults(max_batch_code_bytes=40), "have together more than 40 bytes"),
    ("a.toml", "a = [[[[1]]]]", Defaults(max_depth=3), "nested deeper than 3 levels"),
    ("a.toml", "a.b.c.d = 1", Defaults(max_depth=3), "nested deeper than 3 levels"),
    ("a.yaml", "a: [[[[1]]]]", Defaults(max_depth=3), "nested deeper than 3 levels"),
    (
        "a.json",
        "{" + ",".join(f'"k{n}": 1' for n in range(99)) + "}",
        Defaults(),
        "99 fields; a job has at most 18",
    ),
]


@pytest.mark.parametrize(("name", "text", "defaults", "problem"), LIMITS)
def test_what_is_too_large_is_refused_with_both_figures(
    name: str, text: str, defaults: Defaults, problem: str
) -> None:
    assert problem in refusal(name, text, defaults).message
