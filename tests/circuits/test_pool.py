from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
import venv
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from scheduler.circuits.answer import Refused, Simulated, WorkerDied
from scheduler.circuits.pool import Limits, Work, WorkerPool, WorkerUnavailable

BELL = Work(
    'OPENQASM 3.0;\ninclude "stdgates.inc";\nqubit[2] q; bit[2] c; h q[0]; cx q[0], q[1]; c = measure q;',
    "openqasm3",
    100,
)
ENDLESS = Work("while True: pass", "qiskit", 100)


@pytest.fixture
async def pools() -> AsyncIterator[Callable[..., WorkerPool]]:
    """Makes pools and closes them."""
    made: list[WorkerPool] = []

    def make(**options: object) -> WorkerPool:
        made.append(WorkerPool(**options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for pool in made:
        await pool.close()


def children_of(pid: int) -> list[int]:
    try:
        return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()]
    except OSError:
        return []


def is_gone(pid: int) -> bool:
    """A zombie counts as gone: it holds nothing and runs nothing."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("ascii").rsplit(")", 1)[1].split()[0] in "ZX"
    except OSError:
        return True


async def until(fact: Callable[[], object], patience_s: float = 20.0) -> None:
    ends_at = time.monotonic() + patience_s
    while not fact():
        assert time.monotonic() < ends_at, "the fact did not come true"
        await asyncio.sleep(0.01)


async def test_nothing_is_started_before_the_first_job(pools: Callable[..., WorkerPool]) -> None:
    pool = pools()
    assert pool.worker_pid is None
    assert isinstance(await pool.simulate(BELL), Simulated)
    assert pool.worker_pid is not None


async def test_one_worker_serves_many_jobs_at_once(pools: Callable[..., WorkerPool]) -> None:
    pool = pools(jobs=2)
    answers = await asyncio.gather(*(pool.simulate(BELL) for _ in range(20)))
    assert all(isinstance(answer, Simulated) for answer in answers)
    assert pool.worker_pid is not None
    await until(lambda: children_of(pool.worker_pid or 0) == [])


async def test_never_more_jobs_run_than_there_are_places(pools: Callable[..., WorkerPool]) -> None:
    pool = pools(jobs=2, limits=Limits(wall_time_s=0.5))
    await pool.start()
    jobs = [asyncio.create_task(pool.simulate(ENDLESS)) for _ in range(5)]
    seen = set()
    while not all(job.done() for job in jobs):
        seen.add(len(children_of(pool.worker_pid or 0)))
        await asyncio.sleep(0.01)
    assert max(seen) == 2


async def test_a_worker_killed_in_mid_job_is_reported_and_replaced(pools: Callable[..., WorkerPool]) -> None:
    pool = pools(jobs=2)
    await pool.start()
    first = pool.worker_pid
    assert first is not None
    jobs = [asyncio.create_task(pool.simulate(ENDLESS)) for _ in range(2)]
    await until(lambda: len(children_of(first)) == 2)
    children = children_of(first)
    os.kill(first, signal.SIGKILL)
    for answer in await asyncio.gather(*jobs):
        assert isinstance(answer, WorkerDied)
    await until(lambda: all(map(is_gone, children)))
    assert isinstance(await pool.simulate(BELL), Simulated)
    assert pool.worker_pid not in (None, first)


async def test_a_worker_killed_while_idle_is_replaced(pools: Callable[..., WorkerPool]) -> None:
    pool = pools()
    await pool.simulate(BELL)
    first = pool.worker_pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    await until(lambda: is_gone(first))
    # Whether the pool has heard of it yet or not: at worst, one job says so and the next one runs.
    answer = await pool.simulate(BELL)
    if isinstance(answer, WorkerDied):
        answer = await pool.simulate(BELL)
    assert isinstance(answer, Simulated)


async def test_a_worker_that_hangs_is_ended(pools: Callable[..., WorkerPool]) -> None:
    pool = pools(limits=Limits(wall_time_s=0.2), answer_patience_s=0.2)
    await pool.start()
    stuck = pool.worker_pid
    assert stuck is not None
    os.kill(stuck, signal.SIGSTOP)
    assert isinstance(await pool.simulate(BELL), WorkerDied)
    await until(lambda: is_gone(stuck))


async def test_a_job_its_caller_gives_up_is_ended(pools: Callable[..., WorkerPool]) -> None:
    pool = pools()
    await pool.start()
    pid = pool.worker_pid or 0
    job = asyncio.create_task(pool.simulate(ENDLESS))
    await until(lambda: children_of(pid))
    job.cancel()
    await until(lambda: not children_of(pid))
    assert isinstance(await pool.simulate(BELL), Simulated)
    assert pool.worker_pid == pid


async def test_an_idle_worker_gives_its_memory_back(pools: Callable[..., WorkerPool]) -> None:
    pool = pools(idle_stop_s=0.05)
    assert isinstance(await pool.simulate(BELL), Simulated)
    first = pool.worker_pid
    await until(lambda: pool.worker_pid is None)
    assert first is not None
    await until(lambda: is_gone(first))
    assert isinstance(await pool.simulate(BELL), Simulated)


async def test_closing_ends_the_worker_and_its_jobs(pools: Callable[..., WorkerPool]) -> None:
    pool = pools()
    await pool.start()
    pid = pool.worker_pid or 0
    job = asyncio.create_task(pool.simulate(ENDLESS))
    await until(lambda: children_of(pid))
    children = children_of(pid)
    await pool.close()
    assert isinstance(await job, WorkerDied)
    assert is_gone(pid)
    assert all(map(is_gone, children))
    await pool.close()
    with pytest.raises(WorkerUnavailable, match="closed"):
        await pool.simulate(BELL)


async def test_the_worker_and_its_jobs_die_with_the_daemon(tmp_path: Path) -> None:
    """A stand-in for the daemon is killed with SIGKILL, so that none of its own code can tidy up."""
    script = tmp_path / "daemon.py"
    script.write_text(
        textwrap.dedent(
            """
            import asyncio
            from scheduler.circuits.pool import WorkerPool, Work

            async def main():
                pool = WorkerPool()
                await pool.start()
                print(pool.worker_pid, flush=True)
                await pool.simulate(Work("while True: pass", "qiskit", 10))

            asyncio.run(main())
            """
        )
    )
    repository = str(Path(__file__).parents[2])
    daemon = await asyncio.create_subprocess_exec(
        sys.executable, str(script), stdout=asyncio.subprocess.PIPE, env={"PYTHONPATH": repository}
    )
    try:
        assert daemon.stdout is not None
        worker = int(await daemon.stdout.readline())
        await until(lambda: children_of(worker))
        (child,) = children_of(worker)
        daemon.kill()
        await until(lambda: is_gone(worker) and is_gone(child))
    finally:
        if daemon.returncode is None:
            daemon.kill()
        await daemon.communicate()


async def test_an_interpreter_without_qiskit_is_said_with_the_cure(
    pools: Callable[..., WorkerPool], tmp_path: Path
) -> None:
    venv.create(tmp_path / "bare", with_pip=False, symlinks=True)
    pool = pools(python=str(tmp_path / "bare" / "bin" / "python"))
    with pytest.raises(
        WorkerUnavailable, match=r'not installed .*No module named.*pip install "nightshot\[local\]"'
    ):
        await pool.simulate(BELL)


@pytest.mark.parametrize(
    ("python", "words"), [("/nonexistent/python", "No such file"), ("/bin/false", "ended while starting")]
)
async def test_an_interpreter_that_does_not_work_is_named(
    pools: Callable[..., WorkerPool], python: str, words: str
) -> None:
    with pytest.raises(WorkerUnavailable, match=words):
        await pools(python=python).simulate(BELL)


async def test_the_daemon_itself_never_imports_qiskit() -> None:
    code = (
        "import sys, scheduler.providers.simulator\n"
        "print([name for name in sys.modules if name.split('.')[0] in ('qiskit', 'qiskit_aer', 'numpy')])"
    )
    repository = str(Path(__file__).parents[2])
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", code], capture_output=True, text=True, cwd=repository
    )
    assert done.stdout == "[]\n", done.stderr


async def test_a_refusal_is_no_death(pools: Callable[..., WorkerPool]) -> None:
    pool = pools()
    assert isinstance(await pool.simulate(Work("qq.h(0)", "qiskit", 10)), Refused)
    assert pool.worker_pid is not None
