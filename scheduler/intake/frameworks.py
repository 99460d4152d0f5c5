"""Which language a circuit is written in, found by reading it; nothing is imported or executed.

Python is read as text, not parsed: `ast` runs out of C stack on hostile nesting and would take the daemon
with it. Strings and comments are blanked first, so that only real imports count.
"""

from __future__ import annotations

import re

from scheduler.core.job import OPENQASM

#: Import name -> framework.
_BY_IMPORT = {
    "qiskit": "qiskit",
    "qiskit_aer": "qiskit",
    "qiskit_ibm_runtime": "qiskit",
    "cirq": "cirq",
    "pennylane": "pennylane",
    "braket": "braket",
    "pyquil": "pyquil",
    "cudaq": "cudaq",
}

_VERSION = re.compile(
    r"(?:\s++|//[^\n]*+|/\*(?:[^*]|\*(?!/))*+\*/)*+(?P<statement>OPENQASM\s++(?P<major>[0-9]+)(?:\.[0-9]+)?\s*+(?P<end>;)?)?"
)
_QASM2_SIGN = re.compile(r"qelib1\.inc|^\s*+(?:qreg|creg)\b", re.MULTILINE)

# Every alternative can end at the end of the text, so an unclosed string is read once and not once per quote.
STRING_OR_COMMENT = re.compile(
    r'''"""(?:[^\\]|\\.)*?(?:"""|\\?\Z)|\'\'\'(?:[^\\]|\\.)*?(?:\'\'\'|\\?\Z)'''
    r"""|"(?:[^"\\\n]|\\.)*+(?:"|(?=\n)|\\?\Z)|'(?:[^'\\\n]|\\.)*+(?:'|(?=\n)|\\?\Z)|\#[^\n]*+""",
    re.DOTALL,
)
_NOT_NEWLINE = re.compile(r"[^\n]")
_IMPORT = re.compile(
    r"(?:^|[;:])[ \t]*+(?:from[ \t]++(?P<source>\w++)|import[ \t]++(?P<modules>[^\n;]++))", re.MULTILINE
)


class FrameworkError(Exception):
    """The language cannot be told, or is not the one said; `line` is 1-based within the circuit."""

    def __init__(self, problem: str, *, line: int | None = None, hint: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.line = line
        self.hint = hint
        #: The field source_framework is what is wrong, not the circuit.
        self.about_field = problem.startswith("source_framework")


def recognise(code: str, suffix: str | None, asked: str | None) -> str:
    """Return the framework of a circuit; `suffix` is that of its file, None for code inside a manifest.

    OpenQASM is told apart by its version line whatever was asked, because Coda has one word for both.
    Raises FrameworkError.
    """
    if asked is not None and asked not in OPENQASM:
        if suffix == ".qasm":
            raise FrameworkError(f"source_framework: '{asked}', but a .qasm file holds OpenQASM; remove it")
        return asked
    if suffix == ".py":
        if asked:
            raise FrameworkError(f"source_framework: '{asked}', but a .py file holds Python; remove it")
        return _python_framework(code)
    found = _VERSION.match(code)
    if found and found["statement"]:
        return _openqasm(code, found, asked)
    if asked:
        return asked
    if suffix is None and _imported(code):
        return _python_framework(code)
    raise _no_version(code, found.end() if found else 0, suffix)


def _openqasm(code: str, found: re.Match[str], asked: str | None) -> str:
    line = code.count("\n", 0, found.start("statement")) + 1
    version = {"2": "openqasm2", "3": "openqasm3"}.get(found["major"])
    if version is None:
        raise FrameworkError(f"OpenQASM {found['major'][:9]} is not known; 2 and 3 are", line=line)
    if not found["end"]:
        fixed = f"OPENQASM {found['major']}.0;"
        raise FrameworkError("the version line is not complete", line=line, hint=f"Write: {fixed}")
    if asked == "openqasm2" and version == "openqasm3":
        raise FrameworkError("source_framework: 'openqasm2', but the circuit says OPENQASM 3", line=line)
    return version


def _no_version(code: str, first_statement: int, suffix: str | None) -> FrameworkError:
    if suffix is None:
        return FrameworkError(
            "cannot tell the language: it neither begins with OPENQASM nor imports a known framework",
            hint='Add the field source_framework, for example "qiskit" or "openqasm3".',
        )
    version = "2.0" if _QASM2_SIGN.search(code) else "3.0"
    return FrameworkError(
        "no version line; an OpenQASM file begins with one",
        line=code.count("\n", 0, first_statement) + 1,
        hint=f"Put this line before the first statement:\nOPENQASM {version};",
    )


def _imported(code: str) -> list[str]:
    blank = STRING_OR_COMMENT.sub(lambda found: _NOT_NEWLINE.sub(" ", found[0]), code).replace("\\\n", "  ")
    found: dict[str, None] = {}
    for statement in _IMPORT.finditer(blank):
        if statement["source"]:
            names = [statement["source"]]
        else:
            names = [
                part.strip().partition(" ")[0].partition(".")[0] for part in statement["modules"].split(",")
            ]
        for name in names:
            if name in _BY_IMPORT:
                found.setdefault(_BY_IMPORT[name])
    return list(found)


def _python_framework(code: str) -> str:
    frameworks = _imported(code)
    if len(frameworks) == 1:
        return frameworks[0]
    if not frameworks:
        known = ", ".join(dict.fromkeys(_BY_IMPORT.values()))
        raise FrameworkError(
            f"cannot tell the framework: none of {known} is imported",
            hint='Add to the header: source_framework = "qiskit" (or the one that is meant).',
        )
    named = " and ".join(frameworks)
    raise FrameworkError(
        f"cannot tell the framework: {named} are imported",
        hint=f'Add the one that builds the circuit to the header: source_framework = "{frameworks[0]}"',
    )
