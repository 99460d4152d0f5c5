from __future__ import annotations

import platform

import pytest

from scheduler.circuits import syscalls
from scheduler.circuits.sandbox import LayerMissing, Lockdown, filter_program, readable_paths

RETURN, JUMP_EQUAL = 0x06, 0x15


def test_a_processor_without_a_table_has_no_filter_rather_than_a_wrong_one() -> None:
    with pytest.raises(LayerMissing, match="no system call table for riscv64"):
        filter_program("riscv64", 1)


@pytest.mark.parametrize("machine", sorted(syscalls.ARCHITECTURES))
def test_a_filter_is_one_the_kernel_takes(machine: str) -> None:
    program = filter_program(machine, 4242)
    assert len(program) < 4096
    assert program[-1][0] == RETURN
    for place, (_, if_true, if_false, value) in enumerate(program):
        assert 0 <= if_true < 256
        assert 0 <= if_false < 256
        assert place + 1 + max(if_true, if_false) < len(program) or program[place][0] == RETURN
        assert 0 <= value < 2**32


@pytest.mark.parametrize(
    ("machine", "column"), [(name, row[1]) for name, row in syscalls.ARCHITECTURES.items()]
)
def test_no_number_is_written_twice(machine: str, column: int) -> None:
    special = [syscalls.CLONE, syscalls.CLONE3, syscalls.TGKILL, syscalls.PRLIMIT64]
    numbers = [*syscalls.numbers(column), *(row[column] for row in special)]
    assert len(numbers) == len(set(numbers))


def test_the_table_agrees_with_the_headers_of_this_machine() -> None:
    """Looks only at those calls that the installed headers know; there may be none at all."""
    column = syscalls.ARCHITECTURES[platform.machine()][1]
    known = header_numbers()
    rows = {**syscalls.FORBIDDEN, "clone": syscalls.CLONE, "clone3": syscalls.CLONE3}
    rows |= {"tgkill": syscalls.TGKILL, "prlimit64": syscalls.PRLIMIT64}
    wrong = {name: row[column] for name, row in rows.items() if known.get(name, row[column]) != row[column]}
    assert wrong == {}


def header_numbers() -> dict[str, int]:
    from pathlib import Path

    for place in ("/usr/include/x86_64-linux-gnu/asm/unistd_64.h", "/usr/include/asm/unistd_64.h"):
        if platform.machine() == "x86_64" and Path(place).exists():
            words = [line.split() for line in Path(place).read_text("ascii").splitlines()]
            return {w[1][5:]: int(w[2]) for w in words if len(w) == 3 and w[1].startswith("__NR_")}
    return {}


def test_a_home_directory_is_never_readable() -> None:
    assert not {"/", "/home", "/root", "/tmp", "/etc", "/var", "/proc", "/usr"} & set(readable_paths())


def test_a_lockdown_says_what_it_lacks() -> None:
    held = Lockdown({"seccomp": "seccomp"}, {"landlock": "Function not implemented"})
    assert held.describe() == "seccomp; no landlock (Function not implemented)"
