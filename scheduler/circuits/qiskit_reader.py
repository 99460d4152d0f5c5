"""Qiskit code -> its circuits: run the code in a fresh namespace, then look for what it left behind.

Runs only in a job's own process, after every layer has been put on. Which object was taken is always said,
because a file that builds three circuits means one of them.
"""

from __future__ import annotations

import inspect
import sys
import types
from dataclasses import dataclass

from qiskit import QuantumCircuit

from scheduler.circuits.words import CannotRun

#: Names that mean "this is the job", most explicit first.
AGREED_NAMES = ("circuits", "circuit", "qc", "qprog", "program")
CODE_NAME = "<your code>"


@dataclass(frozen=True, slots=True)
class Found:
    """The circuits of a code, and by which rule they were found."""

    how: str
    circuits: list[QuantumCircuit]


def read_qiskit(code: str) -> Found:
    """Run `code` and return its circuits. Raises CannotRun with a sentence and the line."""
    # A module of its own: pickling, dataclasses and `if __name__ == "__main__"` look it up by name.
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    try:
        exec(compile(code, CODE_NAME, "exec"), module.__dict__)
        found = find_circuits(module.__dict__)
    except MemoryError:
        raise
    except BaseException as error:  # noqa: BLE001 - sys.exit, KeyboardInterrupt and Rust panics too
        raise CannotRun(describe_exception(error)) from None
    if found is None:
        raise CannotRun(
            "no circuit found: the code must leave a QuantumCircuit (or a list of them) in a variable such "
            "as `circuit`, or define a function without arguments that returns one"
        )
    return found


def find_circuits(names: dict[str, object]) -> Found | None:
    """Agreed name, else the last circuit, else the last list of circuits, else what a function returns."""
    for name in AGREED_NAMES:
        if circuits := _circuits_in(names.get(name)):
            return Found(f"the name `{name}`", circuits)
    single = [name for name, value in names.items() if isinstance(value, QuantumCircuit)]
    if single:
        one_of = f", the last of {len(single)} circuits" if len(single) > 1 else ""
        return Found(f"the variable `{single[-1]}`{one_of}", _circuits_in(names[single[-1]]))
    several = [name for name, value in names.items() if _circuits_in(value)]
    if several:
        return Found(f"the list `{several[-1]}`", _circuits_in(names[several[-1]]))
    for name, value in reversed(list(names.items())):
        if _is_own_function_without_arguments(value) and (circuits := _circuits_in(value())):  # type: ignore[operator]
            return Found(f"the function `{name}()`", circuits)
    return None


def _circuits_in(value: object) -> list[QuantumCircuit]:
    if isinstance(value, QuantumCircuit):
        return [value]
    if isinstance(value, list | tuple) and all(isinstance(each, QuantumCircuit) for each in value):
        return list(value)
    return []


def _is_own_function_without_arguments(value: object) -> bool:
    if not inspect.isfunction(value) or value.__module__ != "__main__":
        return False
    try:
        inspect.signature(value).bind()
    except (TypeError, ValueError):
        return False
    return True


def describe_exception(error: BaseException) -> str:
    """`NameError: name 'qq' is not defined (line 3 of your code)`."""
    if isinstance(error, SystemExit):
        return f"the code ended itself with sys.exit(){_place(error)}"
    kind = type(error).__name__
    if kind == "PanicException":
        # pyo3 raises it when Rust code inside Qiskit gives up; it is not even an Exception.
        return f"Qiskit itself failed on this code{_place(error)}: {_text_of(error)}"
    message = error.msg if isinstance(error, SyntaxError) else _text_of(error)
    return f"{kind}: {message}{_place(error)}" if message else f"{kind}{_place(error)}"


def _text_of(error: BaseException) -> str:
    try:
        return str(getattr(error, "message", None) or error)[:1000]
    except BaseException:  # noqa: BLE001 - the exception may be the user's own, with a __str__ that fails
        return "(no message)"


def _place(error: BaseException) -> str:
    line = None
    if isinstance(error, SyntaxError) and error.filename == CODE_NAME:
        line = error.lineno
    step = error.__traceback__
    while step is not None:
        if step.tb_frame.f_code.co_filename == CODE_NAME:
            line = step.tb_lineno
        step = step.tb_next
    return f" (line {line} of your code)" if line else ""
