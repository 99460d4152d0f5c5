"""Hostile job files are refused after work that their size bounds, whatever they ask for."""

# ruff: noqa: E501 - the rows of a table stay on one line

from __future__ import annotations

import string
import time
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.job import BatchSpec
from scheduler.errors import SpecError
from scheduler.intake.document import SUFFIXES, Defaults, read_document, referenced_files

#: Each of these takes a second at most; without its bound minutes, gigabytes or the process. CPU seconds, so that
#: a busy machine does not matter.
CPU_SECONDS_MAX = 20.0


@contextmanager
def bounded_work() -> Iterator[None]:
    before = time.process_time()
    yield
    assert time.process_time() - before < CPU_SECONDS_MAX


def no_file(path: str) -> bytes:
    raise SpecError("no such file", file=path)


def laughs(levels: int) -> str:
    """The billion laughs: each line is nine times the one above."""
    lines = [f"a0: &a0 {'[' + ','.join(['lol'] * 9) + ']'}"]
    lines += [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]" for n in range(1, levels)]
    return "\n".join(lines)


HALF_A_MEGABYTE = 500_000
BOMBS = {
    "a billion laughs": ("a.yaml", laughs(12), "unfold to a huge document"),
    "laughs in the jobs": ("a.yaml", laughs(12) + "\njobs: *a11\n", "unfold to a huge document"),
    "an anchor in itself": ("a.yaml", "&a [*a]", "no finished &a"),
    "a long string in many places": (
        "a.yaml",
        f"x: &x {'y' * 100_000}\nz: [{','.join(['*x'] * 1000)}]",
        "unfold to a huge document",
    ),
    "a long tag": ("a.yaml", "!" * HALF_A_MEGABYTE, "a word of more than 20,000 characters"),
    "deep YAML flow": ("a.yaml", "[" * HALF_A_MEGABYTE, "nested deeper than 32"),
    "deep YAML blocks": ("a.yaml", "- " * HALF_A_MEGABYTE, "nested deeper than 32"),
    "many YAML values": ("a.yaml", "[" + "a," * 200_000 + "]", "more than 50,000 values"),
    "large YAML": ("a.yaml", "a: " + "b" * 2_000_000, "characters of YAML; at most 1,048,576"),
    "a huge code point in YAML": ("a.yaml", r'"\UFFFFFFFF"', "not YAML"),
    "a long number in YAML": ("a.yaml", "shots: " + "9" * 5000, "thousands of digits"),
    "deep JSON": ("a.json", "[" * HALF_A_MEGABYTE, "nested deeper"),
    "deep JSON objects": ("a.json", '{"a":' * HALF_A_MEGABYTE, "nested deeper"),
    "deep JSON that fits the stack": ("a.json", '{"a":' + "[" * 900 + "]" * 900 + "}", "a: unknown key"),
    "deep JSON in a line": ("a.jsonl", "[" * HALF_A_MEGABYTE, "nested too deeply"),
    "many unknown JSON keys": (
        "a.json",
        "{" + ",".join(f'"k{n}":1' for n in range(200_000)) + "}",
        "200,000 fields; a job has at most 18",
    ),
    "the last of many JSON keys twice": (
        "a.json",
        "{" + ",".join(f'"k{n}":1' for n in [*range(200_000), 199_999]) + "}",
        "k199999: written twice",
    ),
    "many empty jobs": ("a.json", '{"jobs": [' + "{}," * 200_000 + "{}]}", "200,001 jobs; at most 50,000"),
    "many wrong jobs": ("a.json", '{"jobs": [' + "3," * 40_000 + "3]}", "there are more problems"),
    "many wrong lines": ("a.jsonl", '{"x":\n' * 40_000, "there are more problems"),
    "large JSON": ("a.json", '"' + "x" * 9_000_000 + '"', "at most 8,388,608 are read as one document"),
    "a long number in JSON": ("a.json", '{"shots": ' + "9" * 5000 + "}", "thousands of digits"),
    "a long dotted TOML key": ("a.toml", "a" + ".a" * 200_000 + " = 1", "nested deeper than 32"),
    "a long dotted TOML heading": ("a.toml", "[a" + ' . "a"' * 50_000 + "]", "nested deeper than 32"),
    "a dotted key inside a TOML table": ("a.toml", "x = {a" + ".a" * 200_000 + " = 1}", "nested deeper than 32"),
    "deep TOML arrays": ("a.toml", "a = " + "[" * 200_000, "nested deeper than 32"),
    "deep TOML tables": ("a.toml", "a = " + "{a=" * 100_000, "nested deeper than 32"),
    "unclosed TOML strings": ("a.toml", '"""\\' * 100_000, "not TOML"),
    "many TOML quotes": ("a.toml", '"\n' * 200_000, "not TOML"),
    "a long number in TOML": ("a.toml", "shots = " + "9" * 5000, "cannot be read"),
    "a long hexadecimal number in TOML": ("a.toml", "shots = 0x" + "9" * 5000, "a very long number is too large"),
    "a deep header": (
        "a.qasm",
        "// /// nightshot\n// a" + ".a" * 200_000 + " = 1\n// ///\nOPENQASM 3;",
        "nested deeper than 32",
    ),
    "many openings": ("a.qasm", "// /// nightshot\n" * 30_000, "not closed"),
    "many blocks": ("a.qasm", "// /// nightshot\n// ///\n" * 20_000, "a second"),
    "many unclosed comments": ("a.qasm", "/*" * HALF_A_MEGABYTE, "no version line"),
    "many stars": ("a.qasm", "/* /// *" + "*" * HALF_A_MEGABYTE, "no version line"),
    "deep Python": ("a.py", "(" * HALF_A_MEGABYTE, "cannot tell the framework"),
    "deep Python operators": ("a.py", "x = " + "-" * HALF_A_MEGABYTE + "1", "cannot tell the framework"),
    "unclosed Python strings": ("a.py", "'''\\'" * 100_000 + "///", "cannot tell the framework"),
    "many Python quotes": ("a.py", "'\\\n" * 100_000, "cannot tell the framework"),
    "many imports": ("a.py", "import a\n" * 100_000, "cannot tell the framework"),
}  # fmt: skip


@pytest.mark.parametrize("what", BOMBS)
def test_a_bomb_is_refused_before_it_unfolds(what: str) -> None:
    name, text, problem = BOMBS[what]
    with bounded_work(), pytest.raises(SpecError, match=problem):
        read_document(name, text.encode(), Defaults(), no_file)
    with bounded_work():
        referenced_files(name, b"# circuit\n" + text.encode())


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    "unit", ["[", "{", "(", '"', "'", '"""', "\\", "/", "// ///\n", "#", "a.", "9", ",", "é"]
)
def test_a_file_of_one_sign_is_refused(suffix: str, unit: str) -> None:
    with bounded_work(), pytest.raises(SpecError):
        read_document("a" + suffix, (unit * 100_000).encode(), Defaults(), no_file)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_huge_file_is_refused_by_its_size(suffix: str) -> None:
    with pytest.raises(SpecError, match="at most"):
        read_document("a" + suffix, b" " * (33 * 1024 * 1024), Defaults(), no_file)


# ------------------------------------------------------------------- whatever it is: a batch or a sentence

FRAGMENTS = [
    *string.punctuation,
    *("\n", "\r\n", "\t", " ", "  ", "\0", "\x1b", "\ufeff", "\u2028", "é", "\\u0000", "\\ud800", "\\UFFFFFFFF"),
    *('"""', "'''", "- ", "? ", ": ", "&a ", "*a", "!!str ", "|\n", ">-\n", "<<: ", "---\n", "...\n", "%YAML 1.1\n"),
    *("// /// nightshot\n", "// ///\n", "# /// script\n", "# ///\n", "# [tool.nightshot]\n", "/*", "*/", "[[jobs]]\n"),
    *("OPENQASM 3.0;", "OPENQASM 2.0;\n", "import qiskit\n", "from cirq import x\n", "x.qasm", "x.py", "'x.qasm'"),
    *('"code"', '"circuit"', '"jobs"', "code", "circuit", "jobs", "shots", "tags", "cap", '"nightshot"', '"count"'),
    *("1", "true", "null", "NaN", "0x1", "1e5", "2024-01-01", '{"code":"OPENQASM 3;"}', '{"nightshot":1,"count":1}\n'),
]  # fmt: skip
DOCUMENTS = st.one_of(
    st.binary(max_size=200),
    st.text(max_size=100).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.lists(st.sampled_from(FRAGMENTS), max_size=30).map(lambda parts: "".join(parts).encode()),
)
NAMES = st.one_of(
    st.sampled_from([f"a{suffix}" for suffix in SUFFIXES]),
    st.builds(lambda stem, suffix: stem + suffix, st.text(max_size=20), st.sampled_from(SUFFIXES)),
)


def outcome(name: str, data: bytes, attached: bytes) -> BatchSpec | SpecError:
    defaults = Defaults(max_jobs=20, max_depth=8, max_code_bytes=500, max_document_bytes=1000)
    try:
        return read_document(name, data, defaults, lambda _path: attached)
    except SpecError as refusal:
        return refusal


@given(name=NAMES, data=DOCUMENTS, attached=DOCUMENTS)
def test_any_bytes_under_any_name_are_a_batch_or_a_sentence(name: str, data: bytes, attached: bytes) -> None:
    match outcome(name, data, attached):
        case SpecError() as refusal:
            assert refusal.problem
            assert all(line.isprintable() for line in refusal.message.split("\n"))
        case BatchSpec() as batch:
            assert batch.jobs
            for job in batch.jobs:
                assert not any(
                    unicodedata.category(char) in ("Cc", "Cs") for char in job.name + job.source_name
                )
                assert "/" not in job.name + job.source_name
                assert job.code.encode()
                assert "\0" not in job.code
                assert 1 <= job.shots <= 1_000_000
    referenced_files(name, data)
