"""Code that means harm, run for real: what it reaches for is there, and it must not get it.

Every snippet that gets through leaves a circuit whose only outcome is "1"; one that is stopped by the layers
leaves an exception or no answer at all.
"""

# ruff: noqa: E501 - one row is one line: a circuit cut in pieces cannot be read
from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from scheduler.circuits.answer import Answer, Refused, Simulated, Stopped
from scheduler.circuits.pool import Limits, Work, WorkerPool
from scheduler.circuits.words import LAYERS

pytestmark = pytest.mark.asyncio(loop_scope="module")

CANARY = "planted-canary-7f3a"
GOT_THROUGH = """
from qiskit import QuantumCircuit
qc = QuantumCircuit(1, 1)
qc.x(0)
qc.measure(0, 0)
"""
BELL = "OPENQASM 3.0;\nqubit q; bit c; U(pi, 0, pi) q; c = measure q;"


@dataclass
class Surroundings:
    """What a daemon has around it and code must not reach; snippets get it as `THERE`."""

    secret: Path
    folder: Path
    unix_socket: Path
    tcp_port: int
    udp_port: int
    pid: int
    listeners: list[socket.socket]

    def as_code(self) -> str:
        there = {
            "secret": str(self.secret),
            "folder": str(self.folder),
            "unix_socket": str(self.unix_socket),
            "tcp_port": self.tcp_port,
            "udp_port": self.udp_port,
            "pid": self.pid,
        }
        return f"THERE = {json.dumps(there)}\n"

    def anybody_came(self) -> list[str]:
        """Listeners that somebody reached."""
        reached = []
        for listener in self.listeners:
            with contextlib.suppress(BlockingIOError):
                if listener.type == socket.SOCK_DGRAM:
                    listener.recv(100)
                else:
                    listener.accept()[0].close()
                reached.append(str(listener.getsockname()))
        return reached


@pytest.fixture
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Surroundings]:
    monkeypatch.setenv("CODA_API_TOKEN", CANARY)
    secret = tmp_path / "credentials"
    secret.write_text(CANARY)
    tcp = socket.create_server(("127.0.0.1", 0))
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("127.0.0.1", 0))
    unix = socket.socket(socket.AF_UNIX)
    unix.bind(str(tmp_path / "s"))
    unix.listen()
    listeners = [tcp, udp, unix]
    for listener in listeners:
        listener.setblocking(False)
    yield Surroundings(
        secret, tmp_path, tmp_path / "s", tcp.getsockname()[1], udp.getsockname()[1], os.getpid(), listeners
    )
    for listener in listeners:
        listener.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pool() -> AsyncIterator[WorkerPool]:
    """Started while a canary is in the environment, with limits that end quickly."""
    os.environ["NIGHTSHOT_PLANTED"] = CANARY
    pool = WorkerPool(jobs=2, limits=Limits(wall_time_s=8.0, memory_bytes=128 << 20))
    try:
        await pool.start()
    finally:
        del os.environ["NIGHTSHOT_PLANTED"]
    yield pool
    await pool.close()


async def attack(pool: WorkerPool, code: str) -> Answer:
    return await pool.simulate(Work(code + GOT_THROUGH, "qiskit", 10))


async def test_harmless_code_does_get_through(pool: WorkerPool) -> None:
    answer = await attack(pool, "")
    assert isinstance(answer, Simulated)
    assert answer.counts == ({"1": 10},)


@pytest.mark.parametrize(
    "code",
    {
        "read a secret": "open(THERE['secret']).read()",
        "list a folder": "import os; os.listdir(THERE['folder'])",
        "read /etc/passwd": "open('/etc/passwd').read()",
        "write beside the secret": "open(THERE['folder'] + '/new', 'w')",
        "overwrite the secret": "open(THERE['secret'], 'a')",
        "delete the secret": "import os; os.unlink(THERE['secret'])",
        "make the secret unreadable": "import os; os.chmod(THERE['secret'], 0)",
        "change its time": "import os; os.utime(THERE['secret'], (0, 0))",
        "truncate it": "import os; os.truncate(THERE['secret'], 0)",
        "link to it": "import os; os.symlink(THERE['secret'], '/tmp/nightshot-escape')",
        "write to the temporary folder": "import tempfile; tempfile.TemporaryFile(dir='/tmp')",
        "environment of the daemon": "open(f\"/proc/{THERE['pid']}/environ\", 'rb').read()",
        "memory of the worker": "import os; open(f'/proc/{os.getppid()}/mem', 'rb')",
        "its own memory file": "open('/proc/self/mem', 'rb')",
        "tcp": "import socket; socket.create_connection(('127.0.0.1', THERE['tcp_port']), 2)",
        "udp": "import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', THERE['udp_port']))",
        "unix": "import socket; socket.socket(socket.AF_UNIX).connect(THERE['unix_socket'])",
        "exec": "import os; os.execv('/bin/sh', ['sh', '-c', 'exit 0'])",
        "subprocess": "import subprocess; subprocess.run(['/bin/true'])",
        "fork": "import os\nif os.fork() == 0: os._exit(0)",
        "signal the daemon": "import os; os.kill(THERE['pid'], 0)",
        "slow the daemon down": "import os; os.setpriority(os.PRIO_PROCESS, THERE['pid'], 19)",
        "starve the daemon": "import resource; resource.prlimit(THERE['pid'], resource.RLIMIT_NOFILE, (3, 3))",
        "raise its own limits": "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (999, 999))",
        "become root": "import os; os.setuid(0)",
        "new namespace": "import ctypes; assert ctypes.CDLL(None).unshare(0x10000000) == 0",
        "trace the worker": "import ctypes, os; assert ctypes.CDLL(None).ptrace(16, os.getppid(), 0, 0) == 0",
        "io_uring": "import ctypes; assert ctypes.CDLL(None).syscall(425, 8, bytes(120)) >= 0",
        "memory file": "import os; os.memfd_create('x')",
        "no privileges by calling the kernel directly": "import ctypes; assert ctypes.CDLL(None).syscall(56, 0, 0, 0, 0, 0) >= 0",
    }.items(),
    ids=lambda item: item[0],
)  # fmt: skip
async def test_it_is_not_allowed_to(
    pool: WorkerPool, surroundings: Surroundings, code: tuple[str, str]
) -> None:
    answer = await attack(pool, surroundings.as_code() + code[1])
    assert isinstance(answer, Refused), answer
    assert "of your code)" in answer.reason
    assert CANARY not in answer.reason
    assert surroundings.anybody_came() == []
    assert surroundings.secret.read_text() == CANARY
    assert sorted(path.name for path in surroundings.folder.iterdir()) == ["credentials", "s"]


async def test_the_environment_of_the_daemon_is_not_there(pool: WorkerPool) -> None:
    code = "import os\nraise RuntimeError(' '.join(f'{k}={v}' for k, v in sorted(os.environ.items())))"
    answer = await attack(pool, code)
    assert isinstance(answer, Refused)
    assert CANARY not in answer.reason
    assert "HOME=/nonexistent" in answer.reason


async def test_no_descriptor_of_the_daemon_is_open(pool: WorkerPool) -> None:
    code = (
        "import os\nopen_ones = []\nfor n in range(64):\n    try:\n        os.fstat(n)\n"
        "        open_ones.append(n)\n    except OSError:\n        pass\nraise RuntimeError(str(open_ones))"
    )
    answer = await attack(pool, code)
    assert isinstance(answer, Refused)
    assert "[0, 1, 2, 3]" in answer.reason


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("endless loop", "while True: pass", "stopped after 1 s"),
        ("endless sleep", "import time; time.sleep(999)", "stopped after 1 s"),
        ("endless loop that catches", "while True:\n    try:\n        while True: pass\n    except BaseException: pass", "stopped after 1 s"),
        ("silent exit", "import os; os._exit(0)", "ended its own process"),
        ("exit with a status", "import os; os._exit(7)", "ended its own process"),
        ("segfault", "import ctypes; ctypes.string_at(0)", "crashed (SIGSEGV)"),
        ("abort", "import os; os.abort()", "SIGABRT"),
        ("huge answer", "import os\nwhile True: os.write(3, b'x' * 65536)", "more than 8 MiB of results"),
        ("garbage answer", "import os; os.write(3, b'PWNED'); os._exit(0)", "not a result"),
        ("half an answer", "import os; os.write(3, b'{\"counts\": [{'); os._exit(0)", "not a result"),
        ("an answer that does not add up", "import os; os.write(3, b'{\"counts\": [{\"1\": 9999}]}'); os._exit(0)", "do not add up"),
        ("an answer before the real one", "import os; os.write(3, b'{\"counts\": [{\"0\": 10}]}')", "not a result"),
        ("closed pipe, still running", "import os, time; os.close(3); time.sleep(999)", "killed from outside"),
    ],
    ids=lambda value: value if len(value) < 40 else "",
)  # fmt: skip
async def test_it_ends_with_a_sentence(name: str, code: str, words: str, short_pool: WorkerPool) -> None:
    answer = await attack(short_pool, code)
    assert isinstance(answer, Stopped), answer
    assert words in answer.reason


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def short_pool() -> AsyncIterator[WorkerPool]:
    pool = WorkerPool(limits=Limits(wall_time_s=1.0))
    yield pool
    await pool.close()


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("rooms = []\nwhile True: rooms.append(bytearray(16 << 20))", "128 MiB (setting memory_bytes)"),
        ("def deeper(): deeper()\ndeeper()", "RecursionError: maximum recursion depth exceeded (line 1 of your code)"),
        ("import sys; sys.exit(0)", "ended itself with sys.exit() (line 1 of your code)"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt (line 1 of your code)"),
        ("class Odd(Exception):\n    def __str__(self): raise ValueError\nraise Odd", "Odd: (no message) (line 3 of your code)"),
        ("raise RuntimeError('x' * 100_000)", "RuntimeError: xxx"),
        ("raise RuntimeError('\\x1b[31m\\nred')", "RuntimeError:  [31m red (line 1 of your code)"),
    ],
)  # fmt: skip
async def test_it_fails_with_a_sentence(pool: WorkerPool, code: str, words: str) -> None:
    answer = await attack(pool, code)
    assert isinstance(answer, Refused), answer
    assert words in answer.reason
    assert len(answer.reason) <= 2000


async def test_what_it_prints_is_not_its_answer(pool: WorkerPool) -> None:
    forged = "import sys\nprint('{\"counts\": [{\"0\": 10}]}')\nsys.stderr.write('x' * 100_000_000)\n"
    answer = await attack(pool, forged)
    assert isinstance(answer, Simulated)
    assert answer.counts == ({"1": 10},)


async def test_jobs_do_not_see_each_other(pool: WorkerPool) -> None:
    first = await attack(pool, "import qiskit, builtins\nqiskit.planted = builtins.planted = 1\n")
    second = await attack(pool, "import qiskit, builtins\nassert not hasattr(qiskit, 'planted')\nassert not hasattr(builtins, 'planted')\n")  # fmt: skip
    assert isinstance(first, Simulated)
    assert isinstance(second, Simulated)


# ------------------------------------------------------------------------------- layers that are missing


@pytest.mark.parametrize("lacking", ["seccomp", "landlock"])
async def test_without_a_needed_layer_code_is_refused_and_text_still_runs(lacking: str) -> None:
    pool = WorkerPool(layers=[layer for layer in LAYERS if layer != lacking])
    try:
        code = await pool.simulate(Work(GOT_THROUGH, "qiskit", 10))
        text = await pool.simulate(Work(BELL, "openqasm3", 10))
    finally:
        await pool.close()
    assert isinstance(code, Refused)
    assert code.reason.startswith("Python code is not run on this machine")
    assert f"{lacking} (switched off) is missing" in code.reason
    assert isinstance(text, Simulated)
    assert f"no {lacking}" in dict(text.facts)["sandbox"]


@pytest.mark.parametrize("lacking", ["namespaces", "capabilities"])
async def test_without_a_layer_that_another_backs_up_code_still_cannot_reach_the_network(
    lacking: str, surroundings: Surroundings
) -> None:
    pool = WorkerPool(layers=[layer for layer in LAYERS if layer != lacking])
    try:
        harmless = await attack(pool, "")
        tcp = "import socket; socket.create_connection(('127.0.0.1', THERE['tcp_port']), 2)"
        hostile = await attack(pool, surroundings.as_code() + tcp)
    finally:
        await pool.close()
    assert isinstance(harmless, Simulated)
    assert isinstance(hostile, Refused)
    assert surroundings.anybody_came() == []


async def test_the_worker_survives_all_of_that(pool: WorkerPool) -> None:
    pid = pool.worker_pid
    assert pid is not None
    assert isinstance(await attack(pool, ""), Simulated)
    assert pool.worker_pid == pid
