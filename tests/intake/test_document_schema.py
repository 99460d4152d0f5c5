"""The published JSON Schema says what the model says, and the reference for users names every field."""

# ruff: noqa: E501 - the rows of a table stay on one line

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import UTC, time
from pathlib import Path
from typing import Any

import pytest

from scheduler.core.job import BatchSpec
from scheduler.core.windows import Hours
from scheduler.errors import SpecError
from scheduler.intake.document import SUFFIXES, Defaults, read_document
from scheduler.intake.schema import job_file_schema
from scheduler.intake.wire import FIELDS, NOT_YET

DOCS = Path(__file__).parents[2] / "docs"
CODE = "OPENQASM 3.0; qubit q;"


def agrees(schema: dict[str, Any], value: Any, root: dict[str, Any]) -> bool:
    """The part of JSON Schema that ours uses; an unknown keyword is an error, so that none is overlooked."""
    checks = {
        "$ref": lambda ref: agrees(root["$defs"][ref.removeprefix("#/$defs/")], value, root),
        "type": lambda name: is_of_type(value, name),
        "enum": lambda values: value in values,
        "const": lambda const: type(value) is type(const) and value == const,
        "minimum": lambda least: not is_number(value) or value >= least,
        "maximum": lambda most: not is_number(value) or value <= most,
        "minLength": lambda least: not isinstance(value, str) or len(value) >= least,
        "maxLength": lambda most: not isinstance(value, str) or len(value) <= most,
        "pattern": lambda pattern: not isinstance(value, str) or bool(re.search(pattern, value)),
        "minItems": lambda least: not isinstance(value, list) or len(value) >= least,
        "maxItems": lambda most: not isinstance(value, list) or len(value) <= most,
        "items": lambda each: not isinstance(value, list) or all(agrees(each, item, root) for item in value),
        "required": lambda keys: not isinstance(value, dict) or all(key in value for key in keys),
        "properties": lambda known: (
            not isinstance(value, dict)
            or all(agrees(known[key], item, root) for key, item in value.items() if key in known)
        ),
        "additionalProperties": lambda allowed: (
            allowed or not isinstance(value, dict) or set(value) <= set(schema["properties"])
        ),
        "anyOf": lambda options: any(agrees(option, value, root) for option in options),
        "oneOf": lambda options: sum(agrees(option, value, root) for option in options) == 1,
        "not": lambda other: not agrees(other, value, root),
        "if": lambda test: agrees(schema["then" if agrees(test, value, root) else "else"], value, root),
    }
    silent = {"$schema", "$defs", "title", "description", "then", "else"}
    return all(checks[keyword](wanted) for keyword, wanted in schema.items() if keyword not in silent)


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_of_type(value: Any, name: str) -> bool:
    match name:
        case "integer":
            return is_number(value) and value == int(value)
        case "boolean":
            return isinstance(value, bool)
        case "string":
            return isinstance(value, str)
        case "null":
            return value is None
        case "array":
            return isinstance(value, list)
        case "object":
            return isinstance(value, dict)
        case _:
            raise AssertionError(name)


def no_file(path: str) -> bytes:
    raise AssertionError(f"{path} was asked for")


def read(name: str, text: str) -> BatchSpec | SpecError:
    try:
        return read_document(name, text.encode(), DEFAULTS, no_file)
    except SpecError as refusal:
        return refusal


VALUES: list[Any] = [
    None,
    True,
    False,
    0,
    1,
    100,
    -1000,
    -1001,
    1000,
    1001,
    5,
    6,
    10**6,
    10**6 + 1,
    1.5,
    "",
    "a",
    "100",
    "2.00 USD",
    "$2",
    "0",
    "2.0000001 USD",
    "-2 USD",
    "2026-11-30T06:00",
    "2026-11-30 06:00:30.5+01:00",
    "2026-11-30",
    "2026-11-30T06:00+1",
]
VALUES += [
    "auto",
    "program_set",
    "qiskit",
    "openqasm3",
    "x y",
    "a/b",
    "a\nb",
    "é",
    "x" * 41,
    "x" * 101,
    "x" * 201,
]
VALUES += [[], ["a"], [""], ["a", 3], ["x" * 41], ["a"] * 20, ["a"] * 21, {}, {"a": 1}]
#: Which windows are configured no schema can know: here all that is asked for.
HOURS = Hours("any", time(22), time(6), UTC)
DEFAULTS = Defaults(hours={value: HOURS for value in VALUES if isinstance(value, str)})
OPTIONS = [field for field in FIELDS if field not in ("code", "circuit", "after")]
DOCUMENTS: list[Any] = [{"code": CODE, field: value} for field in OPTIONS for value in VALUES]
DOCUMENTS += [{"code": CODE, field: 1} for field in [*sorted(NOT_YET), "shotz", "user", "count"]]
#: Which names are jobs of the file no schema can know either: numbers of queued ones.
AFTERS: list[Any] = [[], ["12"], ["any:12.3", "ok:7"], [""], [3], [None], [["12"]], "12", 3, None, True, {}]
AFTERS += [["a/b"], [str(n) for n in range(1, 101)], [str(n) for n in range(1, 102)], ["x" * 205]]
DOCUMENTS += [{"code": CODE, "after": value} for value in AFTERS]
DOCUMENTS += [{}, [], 3, None, {"code": ""}, {"code": 3}, {"code": CODE, "circuit": "a.qasm"}]
DOCUMENTS += [
    {"jobs": jobs} for jobs in ([], {}, [3], [{"code": CODE}], [{"code": CODE}, {"code": CODE, "cap": 1}])
]
DOCUMENTS += [
    {"name": "B", "shots": 3, "code": CODE, "jobs": [{}, {"shots": 4}]},
    {"shots": True, "jobs": [{"code": CODE}]},
    {"code": CODE, "circuit": "a.qasm", "jobs": [{}]},
    {"cap": "1", "jobs": [{"code": CODE}]},
    {"cap": "1 EUR", "jobs": [{"code": CODE}]},
    {"retries": 5, "jobs": [{"code": CODE}, {"code": CODE, "retries": 6}]},
]


@pytest.mark.parametrize("document", DOCUMENTS, ids=json.dumps)
def test_the_schema_accepts_what_the_daemon_accepts(document: Any) -> None:
    if isinstance(document, dict) and document.get("source_framework") == "qiskit":
        document = {**document, "code": "import qiskit"}
    accepted = isinstance(read("a.json", json.dumps(document)), BatchSpec)
    schema = job_file_schema()
    # A lone number such as 100.0 is an integer to JSON Schema; that is the one difference, and not in the rows.
    assert agrees(schema, document, schema) == accepted


@pytest.mark.parametrize(
    ("header", "accepted"),
    [
        ({"nightshot": 1, "count": 1}, True),
        ({"nightshot": 1, "count": 1, "shots": 3, "name": "B"}, True),
        ({"nightshot": 1}, False),
        ({"nightshot": 2, "count": 1}, False),
        ({"nightshot": True, "count": 1}, False),
        ({"nightshot": 1, "count": 0}, False),
        ({"nightshot": 1, "count": 1, "cap": 3}, False),
        ({"nightshot": 1, "count": 1, "cap": "3.00 USD", "retries": 1}, True),
    ],
)
def test_the_schema_knows_the_header_of_jsonl(header: dict[str, Any], accepted: bool) -> None:
    schema = job_file_schema()
    assert agrees(schema["$defs"]["jsonl-header"], header, schema) == accepted
    text = f"{json.dumps(header)}\n{json.dumps({'code': CODE})}\n"
    assert isinstance(read("a.jsonl", text), BatchSpec) == accepted


def test_the_committed_schema_is_the_generated_one() -> None:
    printed = subprocess.run(
        [sys.executable, "-m", "scheduler.intake.schema"], capture_output=True, text=True, check=True
    ).stdout
    committed = (DOCS / "job-file.schema.json").read_text()
    assert committed == printed, "run: python -m scheduler.intake.schema > docs/job-file.schema.json"
    assert json.loads(committed) == job_file_schema()


# ------------------------------------------------------------------------------- the reference for users

REFERENCE = (DOCS / "job-files.md").read_text()
EXAMPLES = {
    name: text for name, text in re.findall(r"^```\w+ (\S+)\n(.*?)^```$", REFERENCE, re.MULTILINE | re.DOTALL)
}


def test_the_reference_names_every_field_and_every_ending() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", REFERENCE, re.MULTILINE)
    assert tuple(rows) == FIELDS
    for word in (*NOT_YET, *SUFFIXES):
        assert f"`{word}`" in REFERENCE, word


def test_the_reference_has_an_example_of_each_format() -> None:
    names = [name for name in EXAMPLES if "." in name]
    assert {Path(name).suffix for name in names} == {".qasm", ".py", ".yaml", ".toml", ".json", ".jsonl"}


@pytest.mark.parametrize("name", [name for name in EXAMPLES if "." in name])
def test_the_examples_of_the_reference_are_job_files(name: str) -> None:
    batch = read_document(name, EXAMPLES[name].encode(), Defaults(), lambda _path: CODE.encode())
    assert batch.jobs


def test_the_refusal_shown_in_the_reference_is_what_the_daemon_says() -> None:
    text = f'// mine\n// /// nightshot\n// shotz = 100\n// notify = "ada"\n// backend = "simulator"\n// ///\n{CODE}\n'
    refusal = read("ghz.qasm", text)
    assert isinstance(refusal, SpecError)
    assert str(refusal) == EXAMPLES["refused"].rstrip("\n")


def test_the_limits_in_the_reference_are_the_defaults() -> None:
    from scheduler.intake import json_text, toml_text, yaml_text

    defaults = Defaults()
    mebibyte = 1024 * 1024
    for row in (
        f"| a circuit | {defaults.max_code_bytes // mebibyte} MiB |",
        f"| all circuits of a batch together | {defaults.max_batch_code_bytes // mebibyte} MiB |",
        f"| a `.jsonl` file | {defaults.max_document_bytes // mebibyte} MiB |",
        f"| a `.json` file | {json_text.CHARACTERS_MAX // mebibyte} MiB |",
        f"| a `.yaml` file | {yaml_text.CHARACTERS_MAX // mebibyte} MiB and {yaml_text.VALUES_MAX:,} values |",
        f"| a `.toml` file or header | {toml_text.CHARACTERS_MAX // 1024} KiB |",
        f"| jobs in a file | {defaults.max_jobs:,} |",
        f"| nesting | {defaults.max_depth} levels |",
    ):
        assert row in REFERENCE
