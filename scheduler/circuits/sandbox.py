"""The layers a job's process puts on itself, with the standard library and no privilege.

Each layer is applied or raises LayerMissing; none is silently skipped. Whoever calls decides what may run
without which layer, and says which ones a job had. A layer cannot be taken off again.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import signal
import struct
import sys
import sysconfig
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from scheduler.circuits import syscalls

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP = 1, 4, 22
PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 36, 38
CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWNET = 0x08000000, 0x10000000, 0x40000000
LINUX_CAPABILITY_VERSION_3 = 0x20080522
#: Address space for the stack and the arena of the one thread Aer works in; never touched to the full.
THREAD_ROOM_BYTES = 160 << 20
#: The same numbers on every processor.
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446

_libc = ctypes.CDLL(None, use_errno=True)


class LayerMissing(RuntimeError):
    """This machine does not offer the layer; the message says what it answered."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one job may use; `memory_bytes` comes on top of what the worker itself has mapped."""

    memory_bytes: int
    cpu_s: int


@dataclass(frozen=True, slots=True)
class Lockdown:
    """Which layers hold (name -> description) and which could not be applied (name -> reason)."""

    applied: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def describe(self) -> str:
        held = ", ".join(self.applied.values()) or "none"
        lacks = "".join(f"; no {name} ({why})" for name, why in self.missing.items())
        return held + lacks


def _check(returned: int, what: str) -> int:
    if returned < 0:
        raise LayerMissing(f"{what}: {os.strerror(ctypes.get_errno())}")
    return returned


def _linux_only() -> None:
    if not sys.platform.startswith("linux"):
        raise LayerMissing(f"{sys.platform} does not have it")


def die_with_parent(parent: int) -> None:
    """Be killed when the process `parent` ends; exits at once when it has ended already."""
    if sys.platform.startswith("linux"):
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    # The parent may have ended before the line above: then nobody would ever send the signal.
    if os.getppid() != parent:
        os._exit(1)


def adopt_orphans() -> None:
    """Become the parent of whatever a child leaves behind, so that it can be found and ended."""
    if sys.platform.startswith("linux"):
        _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def lock_down(wanted: Iterable[str], limits: Limits) -> Lockdown:
    """Put on the wanted layers in their fixed order. The process must have one thread only."""
    layers: dict[str, Callable[[], str]] = {
        "rlimits": lambda: limit_resources(limits),
        "hygiene": refuse_privileges,
        "namespaces": leave_namespaces,
        "capabilities": drop_capabilities,
        "landlock": hide_files,
        "seccomp": forbid_calls,
    }
    wanted = frozenset(wanted)
    done = Lockdown()
    for name, put_on in layers.items():
        if name not in wanted:
            done.missing[name] = "switched off"
            continue
        try:
            done.applied[name] = put_on()
        except LayerMissing as missing:
            done.missing[name] = str(missing)
    return done


def limit_resources(limits: Limits) -> str:
    """Bound memory, processor time, open files and core dumps; no file may grow at all."""
    mapped = _mapped_bytes()
    bounds = {
        resource.RLIMIT_CPU: (limits.cpu_s, limits.cpu_s + 1),
        resource.RLIMIT_FSIZE: (0, 0),
        resource.RLIMIT_NOFILE: (64, 64),
        resource.RLIMIT_CORE: (0, 0),
    }
    if mapped:
        room = mapped + limits.memory_bytes + THREAD_ROOM_BYTES
        bounds[resource.RLIMIT_AS] = (room, room)
    for which, (soft, hard) in bounds.items():
        try:
            _, ceiling = resource.getrlimit(which)
            if ceiling != resource.RLIM_INFINITY:  # somebody outside is stricter already
                soft, hard = min(soft, ceiling), min(hard, ceiling)
            resource.setrlimit(which, (soft, hard))
        except (OSError, ValueError) as error:
            raise LayerMissing(f"setrlimit: {error}") from error
    return f"{limits.memory_bytes >> 20} MiB and {limits.cpu_s} s of processor time"


def _mapped_bytes() -> int:
    """Address space in use now; 0 where /proc does not tell."""
    try:
        with open("/proc/self/statm") as statm:
            return int(statm.read().split()[0]) * resource.getpagesize()
    except OSError:
        return 0


def refuse_privileges() -> str:
    """No setuid program helps from here on, and no process of the same user may look inside."""
    _linux_only()
    _check(_libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    _check(_libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0), "dumpable")
    return "no new privileges"


def leave_namespaces() -> str:
    """Move to a user, network and IPC namespace of one's own: no interface, not even loopback."""
    _linux_only()
    _check(_libc.unshare(CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWIPC), "unshare")
    return "own user, network and IPC namespaces"


def drop_capabilities() -> str:
    """Give up every capability, those of a new user namespace and those of root alike."""
    _linux_only()
    header = ctypes.create_string_buffer(struct.pack("<Ii", LINUX_CAPABILITY_VERSION_3, 0))
    none_at_all = ctypes.create_string_buffer(24)
    _check(_libc.capset(header, none_at_all), "capset")
    return "no capabilities"


# ------------------------------------------------------------------------------------------- Landlock

_READ_FILE, _READ_DIR = 1 << 2, 1 << 3
#: How many kinds of file access each version of Landlock knows.
_ACCESS_BITS = {1: 13, 2: 14, 3: 15, 4: 15}
_ACCESS_BITS_NOW = 16


def readable_paths() -> list[str]:
    """What a job may read: Python's own libraries, shared libraries, a few harmless device files."""
    paths = {path for name, path in sysconfig.get_paths().items() if name.endswith(("lib", "stdlib"))}
    paths |= {os.path.join(sys.base_prefix, "lib"), os.path.dirname(os.path.abspath(__file__))}
    paths |= {"/usr/lib", "/usr/lib64", "/lib", "/lib64", "/etc/ld.so.cache"}
    return sorted(paths | {"/dev/null", "/dev/urandom", "/proc/cpuinfo", "/proc/meminfo"})


def hide_files() -> str:
    """Let only `readable_paths()` be read, nothing written, nothing executed, no TCP, no signal outside."""
    _linux_only()
    version = _libc.syscall(CREATE_RULESET, None, ctypes.c_size_t(0), 1)
    _check(version, "landlock")
    access = (1 << _ACCESS_BITS.get(version, _ACCESS_BITS_NOW)) - 1
    tcp = 0b11 if version >= 4 else 0  # bind, connect
    scopes = 0b11 if version >= 6 else 0  # abstract Unix sockets, signals
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    handled = struct.pack("<QQQ", access, tcp, scopes)[:size]
    ruleset = _check(_libc.syscall(CREATE_RULESET, handled, ctypes.c_size_t(size), 0), "landlock ruleset")
    try:
        for path in readable_paths():
            _allow_reading(ruleset, path)
        _check(_libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
        _check(_libc.syscall(RESTRICT_SELF, ruleset, 0), "landlock restrict")
    finally:
        os.close(ruleset)
    return f"Landlock {version}"


def _allow_reading(ruleset: int, path: str) -> None:
    try:
        opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # not there, or not readable anyway: what is not allowed here stays hidden
    try:
        access = _READ_FILE | _READ_DIR if os.path.isdir(path) else _READ_FILE
        rule = struct.pack("<Qi", access, opened)
        _check(_libc.syscall(ADD_RULE, ruleset, 1, rule, 0), f"landlock rule for {path}")
    finally:
        os.close(opened)


# -------------------------------------------------------------------------------------------- seccomp

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_EPERM, _ENOSYS, _CLONE_THREAD = 1, 38, 0x00010000
_X32_NUMBERS = 0x40000000
#: Offsets in struct seccomp_data; the low half of the first argument, little-endian.
_AT_NUMBER, _AT_ARCHITECTURE, _AT_FIRST_ARGUMENT = 0, 4, 16

Instruction = tuple[int, int, int, int]  # operation, jump if true, jump if false, value


def filter_program(machine: str, pid: int) -> list[Instruction]:
    """The filter for one processor and one process. Raises LayerMissing for a processor without a table."""
    if machine not in syscalls.ARCHITECTURES:
        raise LayerMissing(f"no system call table for {machine}")
    architecture, column = syscalls.ARCHITECTURES[machine]
    clone, clone3 = syscalls.CLONE[column], syscalls.CLONE3[column]
    tgkill, prlimit = syscalls.TGKILL[column], syscalls.PRLIMIT64[column]
    program: list[Instruction] = [
        # A 32-bit call would be read with the wrong numbers.
        (_LOAD, 0, 0, _AT_ARCHITECTURE),
        (_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _AT_NUMBER),
    ]
    if machine == "x86_64":
        program += [(_AT_LEAST, 0, 1, _X32_NUMBERS), (_RETURN, 0, 0, _KILL)]
    program += [(_EQUAL, 0, 1, clone3), (_RETURN, 0, 0, _ERRNO | _ENOSYS)]
    program += [
        (_EQUAL, 0, 4, clone),
        (_LOAD, 0, 0, _AT_FIRST_ARGUMENT),
        (_ANY_BIT, 1, 0, _CLONE_THREAD),
        (_RETURN, 0, 0, _ERRNO | _EPERM),
        (_RETURN, 0, 0, _ALLOW),
    ]
    program += _only_for(tgkill, [pid]) + _only_for(prlimit, [0, pid])
    for number in syscalls.numbers(column):
        program += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _ERRNO | _EPERM)]
    return [*program, (_RETURN, 0, 0, _ALLOW)]


def _only_for(number: int, first_arguments: list[int]) -> list[Instruction]:
    """Allow a call with one of these first arguments and refuse it with any other."""
    count = len(first_arguments)
    tests = [(_EQUAL, count - place, 0, value) for place, value in enumerate(first_arguments)]
    return [
        (_EQUAL, 0, count + 3, number),
        (_LOAD, 0, 0, _AT_FIRST_ARGUMENT),
        *tests,
        (_RETURN, 0, 0, _ERRNO | _EPERM),
        (_RETURN, 0, 0, _ALLOW),
    ]


def forbid_calls() -> str:
    """Refuse sockets, new processes, other programs and everything in `syscalls.FORBIDDEN`."""
    _linux_only()
    program = filter_program(platform.machine(), os.getpid())
    code = ctypes.create_string_buffer(b"".join(struct.pack("<HBBI", *step) for step in program))
    head = ctypes.create_string_buffer(struct.pack("<HxxxxxxQ", len(program), ctypes.addressof(code)))
    _check(_libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    mode_filter = 2
    address = ctypes.c_void_p(ctypes.addressof(head))
    _check(_libc.prctl(PR_SET_SECCOMP, mode_filter, address, 0, 0), "seccomp")
    return "seccomp"
