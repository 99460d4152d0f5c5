from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import signal
import sys
import textwrap
import time
import venv
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from scheduler.core.pricing import PriceList
from scheduler.core.task import (
    BIT_0_FIRST,
    Accepted,
    CannotTell,
    Completed,
    CostFacts,
    Failed,
    Found,
    NeverArrived,
    NotKnown,
    NotSent,
    RefusalKind,
    Refused,
    RunRequest,
    StillOpen,
    TaskReport,
)
from scheduler.ports import EstimateFailed, PollFailed, Site
from scheduler.providers.simulator import Settings, Simulator, build
from tests.support.coda_account import BELL, yes

REQUEST = RunRequest("attempt-1", "simulator", BELL, "openqasm3", 100)
ENDLESS = replace(REQUEST, code="while True: pass", framework="qiskit")
REPOSITORY = str(Path(__file__).parents[2])

Make = Callable[..., Simulator]


@pytest.fixture
async def simulators(make_site: Callable[..., Site]) -> AsyncIterator[Make]:
    """Makes simulators on one state directory, as restarts of a daemon would, and closes them."""
    made: list[Simulator] = []

    def make(*, prices: dict[str, PriceList] | None = None, **options: Any) -> Simulator:
        site = replace(make_site("local"), prices=prices or {})
        made.append(build(Settings(**options), site))
        return made[-1]

    yield make
    for simulator in made:
        await simulator.close()


async def ended(simulator: Simulator, request: RunRequest, patience_s: float = 30.0) -> TaskReport:
    ends_at = time.monotonic() + patience_s
    while isinstance(report := await simulator.poll(request.attempt_id, request), StillOpen):
        assert time.monotonic() < ends_at, report
        await asyncio.sleep(0.01)
    return report


async def until(fact: Callable[[], object], patience_s: float = 20.0) -> None:
    ends_at = time.monotonic() + patience_s
    while not fact():
        assert time.monotonic() < ends_at, "the fact did not come true"
        await asyncio.sleep(0.01)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# ---------------------------------------------------------------------------------- one run, and its price


async def test_a_run_completes_with_counts_facts_and_the_raw_answer(simulators: Make) -> None:
    simulator = simulators(seed=7)
    accepted = await simulator.submit(REQUEST, yes)
    assert accepted == Accepted("attempt-1", "queued", CostFacts(0, 0, 0))
    report = await ended(simulator, REQUEST)
    assert isinstance(report, Completed)
    assert report.bit_order == BIT_0_FIRST
    assert set(report.counts[0]) == {"00", "11"}
    assert dict(report.facts)["qubits"] == "2"
    assert json.loads(report.raw)["counts"] == list(report.counts)


async def test_the_status_word_follows_the_run(simulators: Make) -> None:
    simulator = simulators(wall_time_s=30.0, jobs=1)
    second = replace(ENDLESS, attempt_id="attempt-2")
    await simulator.submit(ENDLESS, yes)
    await simulator.submit(second, yes)
    words = []
    while words[-1:] != ["running"]:
        report = await simulator.poll("attempt-1", ENDLESS)
        assert isinstance(report, StillOpen)
        words.append(report.status_word)
        await asyncio.sleep(0.01)
    assert await simulator.poll("attempt-2", second) == StillOpen("queued")


async def test_the_end_is_hinted_at_so_that_nobody_has_to_poll_blindly(simulators: Make) -> None:
    simulator = simulators()
    hinted = asyncio.get_running_loop().create_future()
    simulator.tell_finished(hinted.set_result)
    await simulator.submit(REQUEST, yes)
    async with asyncio.timeout(30):
        assert await hinted == "attempt-1"
    assert isinstance(await simulator.poll("attempt-1", REQUEST), Completed)


async def test_a_price_list_makes_it_cost_play_money(simulators: Make) -> None:
    simulator = simulators(prices={"simulator": PriceList(300_000, 80_000)})
    estimate = await simulator.estimate(REQUEST)
    assert estimate.cost_microusd == 300_000 + 100 * 80_000
    accepted = await simulator.submit(REQUEST, yes)
    assert isinstance(accepted, Accepted)
    assert accepted.cost == CostFacts(8_300_000, 0, 0), "play money is never spent beyond credits"
    assert await simulator.find("attempt-1") == Found("attempt-1", CostFacts(8_300_000, 0, 0))


async def test_it_is_free_without_a_price_list(simulators: Make) -> None:
    simulator = simulators()
    assert (await simulator.estimate(REQUEST)).cost_microusd == 0
    assert simulator.paid is False


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"framework": "cirq"}, "reads openqasm3, openqasm2, qiskit, not 'cirq'"),
        ({"device": "iqm"}, "local has no device 'iqm'; it has: simulator"),
        ({"shots": 0}, "0 shots: at least 1 is needed"),
        ({"code": "x\ud800"}, "half a character at offset 1"),
    ],
)
async def test_what_can_never_run_here_is_refused_at_once(
    simulators: Make, tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    simulator = simulators()
    request = replace(REQUEST, **change)
    outcome = await simulator.submit(request, yes)
    assert isinstance(outcome, Refused)
    assert outcome.kind is RefusalKind.INVALID
    assert words in outcome.reason
    with pytest.raises(EstimateFailed) as failure:
        await simulator.estimate(request)
    assert failure.value.never_runs
    assert names_in(tmp_path) == []


async def test_a_circuit_that_can_never_run_says_so_and_a_stopped_one_does_not(simulators: Make) -> None:
    simulator = simulators(wall_time_s=0.3, max_qubits=3)
    refused = replace(REQUEST, attempt_id="refused", code="qq.h(0)", framework="qiskit")
    stopped = replace(ENDLESS, attempt_id="stopped")
    for request in (refused, stopped):
        await simulator.submit(request, yes)
    report = await ended(simulator, refused)
    assert isinstance(report, Failed)
    assert report.never_runs
    assert "NameError" in report.reason
    report = await ended(simulator, stopped)
    assert isinstance(report, Failed)
    assert not report.never_runs
    assert "wall_time_s" in report.reason


async def test_a_missing_simulator_is_an_estimate_that_fails_with_the_cure(
    simulators: Make, tmp_path: Path
) -> None:
    venv.create(tmp_path / "bare", with_pip=False, symlinks=True)
    simulator = simulators(python=str(tmp_path / "bare" / "bin" / "python"))
    with pytest.raises(EstimateFailed, match=r'pip install "nightshot\[local\]"') as failure:
        await simulator.estimate(REQUEST)
    assert not failure.value.never_runs
    assert failure.value.needs_person
    # And one that was taken before waits for it, rather than failing.
    await simulator.submit(REQUEST, yes)
    with pytest.raises(PollFailed, match="pip install"):
        await ended(simulator, REQUEST)


# ------------------------------------------------------------------------------------------------- seeds


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [((7, "a"), (7, "a"), True), ((7, "a"), (7, "b"), False), ((7, "a"), (8, "a"), False)],
)
async def test_seed_and_attempt_together_decide_the_counts(
    simulators: Make, first: tuple[int, str], second: tuple[int, str], same: bool
) -> None:
    code = 'OPENQASM 3.0;\ninclude "stdgates.inc";\nqubit[6] q; bit[6] c; h q; c = measure q;'
    counts = []
    for seed, attempt in (first, second):
        simulator = simulators(seed=seed)
        request = replace(REQUEST, attempt_id=attempt, code=code)
        await simulator.submit(request, yes)
        report = await ended(simulator, request)
        assert isinstance(report, Completed)
        counts.append(report.counts)
        await simulator.forget(attempt)
        await simulator.close()
    assert (counts[0] == counts[1]) is same


# -------------------------------------------------------------------------------------- what lies on disk


async def test_a_vetoed_request_leaves_nothing(simulators: Make, tmp_path: Path) -> None:
    async def veto() -> str | None:
        return "the breaker is open"

    simulator = simulators()
    assert await simulator.submit(REQUEST, veto) == NotSent("the breaker is open")
    assert names_in(tmp_path) == []
    assert isinstance(await simulator.find("attempt-1"), NeverArrived)


async def test_a_request_that_cannot_be_written_was_not_sent(simulators: Make, tmp_path: Path) -> None:
    simulator = simulators()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))  # as good as a full disk
    try:
        outcome = await simulator.submit(REQUEST, yes)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert isinstance(outcome, NotSent)
    assert "File too large" in outcome.reason
    assert names_in(tmp_path) == []
    assert isinstance(await simulator.find("attempt-1"), NeverArrived)
    assert isinstance(await simulator.submit(REQUEST, yes), Accepted)


async def test_a_result_waits_for_room_on_the_disk(simulators: Make, tmp_path: Path) -> None:
    simulator = simulators()
    (tmp_path / "attempt-1.result.json.tmp").mkdir()  # nothing can be written where a folder lies
    await simulator.submit(REQUEST, yes)
    while True:
        report = await simulator.poll("attempt-1", REQUEST)
        assert isinstance(report, StillOpen)
        if report.status_word.startswith("the result cannot be written"):
            break
        await asyncio.sleep(0.01)
    assert not (tmp_path / "attempt-1.result.json").exists()
    (tmp_path / "attempt-1.result.json.tmp").rmdir()
    assert isinstance(await ended(simulator, REQUEST), Completed)


async def test_many_requests_at_once_are_all_on_disk_when_accepted(simulators: Make, tmp_path: Path) -> None:
    simulator = simulators(delay_s=3600.0)
    requests = [replace(REQUEST, attempt_id=f"attempt-{n}") for n in range(200)]
    outcomes = await asyncio.gather(*(simulator.submit(request, yes) for request in requests))
    assert all(isinstance(outcome, Accepted) for outcome in outcomes)
    assert names_in(tmp_path) == sorted(f"attempt-{n}.json" for n in range(200))


@pytest.mark.parametrize("name", ["../escape", "a/b", "a.result", ".", "..", "ü ", "a%2Eresult"])
async def test_any_name_is_a_safe_file_name(simulators: Make, tmp_path: Path, name: str) -> None:
    simulator = simulators()
    request = replace(REQUEST, attempt_id=name)
    await simulator.submit(REQUEST, yes)
    await simulator.submit(request, yes)
    assert isinstance(await ended(simulator, request), Completed)
    assert isinstance(await ended(simulator, REQUEST), Completed)
    assert len(names_in(tmp_path)) == 4
    assert all(path.is_file() for path in tmp_path.iterdir())


async def test_forgetting_removes_the_files_and_may_be_repeated(simulators: Make, tmp_path: Path) -> None:
    simulator = simulators()
    await simulator.submit(REQUEST, yes)
    assert isinstance(await ended(simulator, REQUEST), Completed)
    assert names_in(tmp_path) == ["attempt-1.json", "attempt-1.result.json"]
    await simulator.forget("attempt-1")
    await simulator.forget("attempt-1")
    assert names_in(tmp_path) == []
    assert isinstance(await simulator.poll("attempt-1", REQUEST), NotKnown)


async def test_forgetting_ends_what_still_runs(simulators: Make, tmp_path: Path) -> None:
    simulator = simulators(jobs=1)
    await simulator.submit(ENDLESS, yes)
    while await simulator.poll("attempt-1", ENDLESS) != StillOpen("running"):  # noqa: ASYNC110 - a fact of another process
        await asyncio.sleep(0.01)
    await simulator.forget("attempt-1")
    other = replace(REQUEST, attempt_id="attempt-2")
    await simulator.submit(other, yes)
    assert isinstance(await ended(simulator, other), Completed)
    assert names_in(tmp_path) == ["attempt-2.json", "attempt-2.result.json"]


async def test_damaged_files_are_no_answer(simulators: Make, tmp_path: Path) -> None:
    simulator = simulators()
    (tmp_path / "attempt-1.json").write_text('{"version": 1, "code"')
    with pytest.raises(PollFailed, match="the files of attempt-1 cannot be read"):
        await simulator.poll("attempt-1", REQUEST)
    assert isinstance(await simulator.find("attempt-1"), CannotTell)


# ------------------------------------------------------------------------------------- crashes and restarts


async def test_a_restart_runs_again_what_had_not_ended(simulators: Make) -> None:
    first = simulators(seed=3, delay_s=3600.0)
    await first.submit(REQUEST, yes)
    await first.close()
    second = simulators(seed=3)
    assert isinstance(await second.find("attempt-1"), Found)
    assert await second.poll("attempt-1", REQUEST) == StillOpen("queued")
    assert isinstance(await ended(second, REQUEST), Completed)


async def test_a_restart_finds_what_had_ended_without_running_it_again(simulators: Make) -> None:
    first = simulators()
    await first.submit(REQUEST, yes)
    report = await ended(first, REQUEST)
    assert await ended(first, REQUEST) == report
    await first.close()
    second = simulators()
    assert await second.poll("attempt-1", REQUEST) == report
    assert second.worker_pid is None


async def test_a_worker_that_dies_costs_no_job(simulators: Make) -> None:
    simulator = simulators(jobs=1)
    code = "from qiskit import QuantumCircuit\nqc = QuantumCircuit(1)\nqc.measure_all()\n"
    slow = replace(REQUEST, code=code + "import time\ntime.sleep(1)", framework="qiskit")
    await simulator.submit(slow, yes)
    await until(lambda: simulator.worker_pid)
    os.kill(simulator.worker_pid or 0, signal.SIGKILL)
    assert isinstance(await ended(simulator, slow), Completed)


async def test_a_job_that_always_takes_the_worker_down_fails_in_the_end(simulators: Make) -> None:
    simulator = simulators(jobs=1)
    await simulator.submit(ENDLESS, yes)
    killed = 0
    while isinstance(report := await simulator.poll("attempt-1", ENDLESS), StillOpen):
        with contextlib.suppress(ProcessLookupError):  # the last kill may not have been noticed yet
            if simulator.worker_pid:
                os.kill(simulator.worker_pid, signal.SIGKILL)
                killed += 1
        await asyncio.sleep(0.02)
    assert isinstance(report, Failed)
    assert "3 times in a row" in report.reason
    assert not report.never_runs
    assert killed >= 3


@pytest.mark.parametrize("moment", ["queued", "running", "ended"])
async def test_a_daemon_killed_at_any_moment_loses_nothing(
    simulators: Make, tmp_path: Path, moment: str
) -> None:
    """A stand-in for the daemon submits, says so, and is killed with SIGKILL."""
    script = tmp_path / "daemon.py"
    state = tmp_path / "state"
    script.write_text(
        textwrap.dedent(
            f"""
            import asyncio, sys
            from pathlib import Path
            from scheduler.core.task import RunRequest, StillOpen
            from scheduler.ports import Site
            from scheduler.providers.simulator import Settings, build

            class Clock:
                sleep = staticmethod(asyncio.sleep)

            async def yes():
                return None

            async def main():
                moment = {moment!r}
                site = Site("local", Path({str(state)!r}), Clock())
                simulator = build(Settings(seed=1, delay_s=3600.0 if moment == "queued" else 0.0), site)
                request = RunRequest("attempt-1", "simulator", {BELL!r}, "openqasm3", 100)
                await simulator.submit(request, yes)
                while moment != "queued":
                    report = await simulator.poll("attempt-1", request)
                    if moment == "running" or not isinstance(report, StillOpen):
                        break
                    await asyncio.sleep(0.01)
                print("killed now", flush=True)
                await asyncio.sleep(3600)

            asyncio.run(main())
            """
        )
    )
    daemon = await asyncio.create_subprocess_exec(
        sys.executable, str(script), stdout=asyncio.subprocess.PIPE, env={"PYTHONPATH": REPOSITORY}
    )
    assert daemon.stdout is not None
    assert await daemon.stdout.readline() == b"killed now\n"
    daemon.kill()
    await daemon.communicate()
    simulator = build(Settings(seed=1), Site("local", state, Clock()))
    try:
        assert isinstance(await simulator.find("attempt-1"), Found)
        assert isinstance(await ended(simulator, REQUEST), Completed)
    finally:
        await simulator.close()


class Clock:
    def now_us(self) -> int:
        return 0

    def monotonic_s(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


# ------------------------------------------------------------------------------------------------ settings


@pytest.mark.parametrize(
    "options",
    [
        {"kind": "coda"},
        {"seeed": 1},
        {"seed": -1},
        {"seed": True},
        {"seed": 1.5},
        {"devices": []},
        {"devices": "simulator"},
        {"devices": [1]},
        {"max_qubits": 0},
        {"jobs": 0},
        {"wall_time_s": 0.0},
        {"wall_time_s": float("inf")},
        {"memory_bytes": 1024},
        {"delay_s": -1.0},
        {"python": ""},
    ],
    ids=str,
)
def test_settings_are_strict(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Settings(**options)


async def test_every_configured_device_is_listed(simulators: Make) -> None:
    simulator = simulators(devices=["simulator", "dear-simulator"])
    devices = await simulator.devices()
    assert [(device.name, device.online) for device in devices] == [
        ("simulator", True),
        ("dear-simulator", True),
    ]
    assert isinstance(await simulator.submit(replace(REQUEST, device="dear-simulator"), yes), Accepted)
