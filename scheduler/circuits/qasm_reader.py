"""OpenQASM 2 and 3 text -> a circuit, or a sentence with the line.

Nothing is parsed before the text has been looked over: an `include` of anything but the two standard files
could print a foreign file in an error message, and a register of a billion qubits would be allocated
bit by bit before anybody could say no.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import openqasm3
import qiskit.qasm2
from openqasm3.parser import QASM3ParsingError
from qiskit import QuantumCircuit
from qiskit_qasm3_import.converter import ConvertVisitor

from scheduler.circuits.words import CannotRun

STANDARD_INCLUDES = ("stdgates.inc", "qelib1.inc")
#: Idle qubits cost nothing to simulate, so this only keeps the reading itself small.
DECLARED_BITS_LIMIT = 10_000

_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
_VERSION = re.compile(r"\A\s*OPENQASM\s+([0-9]+)(?:\.[0-9]+)?\s*;")
_INCLUDE = re.compile(r"\binclude\b\s*(?P<file>\"[^\"\n]*\"|'[^'\n]*'|[^;\n]*)")
_REGISTER = re.compile(r"\b(?:qreg|creg)\s+\w+\s*\[\s*(\d+)\s*\]|\b(?:qubit|bit)\s*\[\s*(\d+)\s*\]")
_OWN_GATE = re.compile(r"\bgate\s+(\w+)")
_QISKIT_PLACE = re.compile(r"\A(?:<input>:)?(?P<line>\d+),\d+:\s*(?P<problem>.*)\Z", re.DOTALL)
_LEXER_PLACE = re.compile(r"\AL(?P<line>\d+):C\d+:\s*(?P<problem>.*)\Z", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Text:
    """OpenQASM text with its comments blanked out, line numbers kept."""

    original: str
    bare: str
    version: int


def read_openqasm(code: str, framework: str) -> tuple[str, QuantumCircuit]:
    """Return how the text was read and its circuit. Raises CannotRun with a sentence.

    The `OPENQASM` line decides the version; only without one does `framework`, because the Coda API calls
    both versions `openqasm3`.
    """
    bare = _COMMENT.sub(lambda comment: re.sub(r"[^\n]", " ", comment[0]), code)
    found = _VERSION.search(bare)
    version = int(found[1]) if found else 2 if framework == "openqasm2" else 3
    text = Text(code, bare, version)
    _look_over(text)
    match version:
        case 2:
            return "OpenQASM 2", _read_version_2(text)
        case 3:
            return "OpenQASM 3", _read_version_3(text)
        case _:
            raise _at(
                _line_of(bare, bare.index("OPENQASM")), f"there is no OpenQASM {version}; write 2.0 or 3.0"
            )


def _look_over(text: Text) -> None:
    for include in _INCLUDE.finditer(text.bare):
        file = include["file"].strip("\"' \t")
        if file not in STANDARD_INCLUDES:
            allowed = " and ".join(STANDARD_INCLUDES)
            raise _at(
                _line_of(text.bare, include.start()),
                f"include {file[:80]!r} is not read: only {allowed} can be included, "
                "put the text of other files into this one",
            )
    declared = 0
    for register in _REGISTER.finditer(text.bare):
        digits = register[1] or register[2]
        declared += int(digits) if len(digits) < 10 else DECLARED_BITS_LIMIT + 1
        if declared > DECLARED_BITS_LIMIT:
            raise _at(
                _line_of(text.bare, register.start()),
                f"too many qubits or bits: more than {DECLARED_BITS_LIMIT:,} are declared",
            )


def _read_version_2(text: Text) -> QuantumCircuit:
    own = set(_OWN_GATE.findall(text.bare))
    # Many files use gates that are not in qelib1.inc but that every tool knows (rzz, csx, cu …). One the
    # file defines itself means what the file says, even when its name is a well-known one.
    known = [gate for gate in qiskit.qasm2.LEGACY_CUSTOM_INSTRUCTIONS if gate.name not in own]
    try:
        return qiskit.qasm2.loads(
            text.original,
            include_path=(),
            custom_instructions=known,
            custom_classical=qiskit.qasm2.LEGACY_CUSTOM_CLASSICAL,
        )
    except qiskit.qasm2.QASM2ParseError as error:
        raise _placed(_words_of(error)) from None


class _LineKeeping(ConvertVisitor):  # type: ignore[misc]  # the library has no types
    """Remembers the line it is at, because a good part of what it raises does not say."""

    line: int | None = None

    def visit(self, node: openqasm3.ast.QASMNode, context: object = None) -> object:
        if node.span is not None:
            self.line = node.span.start_line
        return super().visit(node, context)


def _read_version_3(text: Text) -> QuantumCircuit:
    try:
        program = openqasm3.parse(text.original)
    except QASM3ParsingError as error:
        raise _syntax_error(error) from None
    except RecursionError:
        raise CannotRun("the text is nested too deeply to be read") from None
    converter = _LineKeeping()
    try:
        return converter.convert(program).circuit
    except RecursionError:
        raise _at(converter.line, "this is nested too deeply to be read") from None
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - see the next line
        # The importer lets IndexError, TypeError and Qiskit's own errors through, most without a place.
        problem = _words_of(error)
        if _QISKIT_PLACE.match(problem):
            raise _placed(problem) from None
        raise _at(converter.line, f"Qiskit's OpenQASM 3 reader cannot take this: {problem}") from None


def _syntax_error(error: QASM3ParsingError) -> CannotRun:
    """The parser's own message is empty more often than not; its cause knows the offending word."""
    found = _LEXER_PLACE.match(str(error))
    if found:
        return _at(int(found["line"]), found["problem"])
    cause = error.__cause__
    token = getattr(cause.args[0], "offendingToken", None) if cause is not None and cause.args else None
    if token is None:
        return CannotRun(f"this is not OpenQASM 3: {_words_of(error) or 'it does not parse'}")
    if token.text == "<EOF>":
        return _at(token.line, "the text ends in the middle of a statement; is a ';' or '}' missing?")
    return _at(token.line, f"{token.text[:60]!r} is not expected here; is a ';' missing before it?")


def _words_of(error: BaseException) -> str:
    # Qiskit's errors quote themselves when they are turned into text.
    message = getattr(error, "message", None)
    return message if isinstance(message, str) else str(error)


def _placed(problem: str) -> CannotRun:
    found = _QISKIT_PLACE.match(problem)
    return _at(int(found["line"]), found["problem"]) if found else CannotRun(problem)


def _at(line: int | None, problem: str) -> CannotRun:
    return CannotRun(f"line {line}: {problem}" if line else problem)


def _line_of(text: str, offset: int) -> int:
    return text.count("\n", 0, offset) + 1
