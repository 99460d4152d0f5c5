"""What the port promises, asked of every file in `scheduler/providers/`.

A new provider gets in by one entry in OPENERS; a file without one fails here rather than going unlooked at.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from typing import get_args

import pytest

from scheduler.core.pricing import Estimate
from scheduler.core.task import (
    Accepted,
    Completed,
    Evidence,
    NotKnown,
    NotSent,
    Outcome,
    RunRequest,
    StillOpen,
    TaskReport,
)
from scheduler.plugins import build_provider, provider_kinds
from scheduler.ports import EstimateFailed, PollFailed, Provider, Site
from tests.support.coda_account import BELL, TOKEN, yes
from tests.support.coda_server import CodaServer


@dataclass
class Opened:
    """A working provider and a request that it can run."""

    provider: Provider
    request: RunRequest


MakeSite = Callable[..., Site]


@asynccontextmanager
async def open_coda(make_site: MakeSite) -> AsyncIterator[Opened]:
    async with CodaServer(token=TOKEN) as server:
        site = make_site("coda", {"coda-token": TOKEN}.get)
        provider = build_provider("coda", {"base_url": server.base_url}, site)
        yield Opened(provider, RunRequest("attempt-1", "iqm", BELL, "openqasm3", 100))


@asynccontextmanager
async def open_simulator(make_site: MakeSite) -> AsyncIterator[Opened]:
    provider = build_provider("simulator", {}, make_site("local"))
    yield Opened(provider, RunRequest("attempt-1", "simulator", BELL, "openqasm3", 100))


OPENERS: dict[str, Callable[[MakeSite], AbstractAsyncContextManager[Opened]]] = {
    "coda": open_coda,
    "simulator": open_simulator,
}


@pytest.fixture(params=provider_kinds())
async def opened(request: pytest.FixtureRequest, make_site: MakeSite) -> AsyncIterator[Opened]:
    kind = request.param
    if kind not in OPENERS:
        pytest.fail(
            f"scheduler/providers/{kind}.py is not looked at: give it an opener in {__name__}.OPENERS"
        )
    async with OPENERS[kind](make_site) as working:
        yield working
        await working.provider.close()


async def test_a_run_is_accepted_and_ends_in_counts_of_as_many_shots(opened: Opened) -> None:
    outcome = await opened.provider.submit(opened.request, yes)
    assert isinstance(outcome, Accepted)
    assert outcome.provider_job_id
    report: TaskReport = StillOpen("not asked yet")
    async with asyncio.timeout(60):
        while isinstance(report, StillOpen):
            report = await opened.provider.poll(outcome.provider_job_id, opened.request)
            await asyncio.sleep(0.01)
    assert isinstance(report, Completed)
    assert report.bit_order
    assert [sum(counts.values()) for counts in report.counts] == [opened.request.shots]
    assert all(set(bits) <= {"0", "1", " "} for counts in report.counts for bits in counts)


async def test_an_accepted_run_can_be_asked_about_again(opened: Opened) -> None:
    outcome = await opened.provider.submit(opened.request, yes)
    assert isinstance(outcome, Accepted)
    for _ in range(3):
        report = await opened.provider.poll(outcome.provider_job_id, opened.request)
        assert isinstance(report, get_args(TaskReport))


async def test_the_gate_is_asked_exactly_once(opened: Opened) -> None:
    asked: list[str] = []

    async def gate() -> str | None:
        asked.append("may I?")
        return None

    await opened.provider.submit(opened.request, gate)
    assert asked == ["may I?"]


async def test_a_vetoed_run_is_not_sent_and_says_why(opened: Opened) -> None:
    async def veto() -> str | None:
        return "the breaker is open"

    outcome = await opened.provider.submit(opened.request, veto)
    assert isinstance(outcome, NotSent)
    assert "the breaker is open" in outcome.reason


@pytest.mark.parametrize(
    "nonsense",
    [
        {"code": ""},
        {"code": "OPENQASM 3.0;\x00\ud800"},
        {"code": "this is no circuit"},
        {"framework": "cobol"},
        {"shots": 0},
        {"device": "no such device"},
        {"device": ""},
    ],
    ids=str,
)
async def test_submit_answers_nonsense_with_an_outcome_and_never_raises(
    opened: Opened, nonsense: dict[str, str]
) -> None:
    outcome = await opened.provider.submit(replace(opened.request, **nonsense), yes)
    assert isinstance(outcome, get_args(Outcome))


async def test_a_foreign_id_is_not_known(opened: Opened) -> None:
    try:
        report = await opened.provider.poll("00000000-0000-4000-8000-000000000000", opened.request)
    except PollFailed:
        return
    assert isinstance(report, NotKnown)


async def test_an_estimate_is_an_amount_that_says_where_it_comes_from(opened: Opened) -> None:
    estimate = await opened.provider.estimate(opened.request)
    assert isinstance(estimate, Estimate)
    assert type(estimate.cost_microusd) is int
    assert estimate.cost_microusd >= 0
    assert estimate.source
    if estimate.lines:
        assert sum(line.amount_microusd for line in estimate.lines) == estimate.cost_microusd


async def test_an_estimate_of_nonsense_is_an_estimate_or_a_failure(opened: Opened) -> None:
    try:
        estimate = await opened.provider.estimate(replace(opened.request, shots=0, framework="cobol"))
    except EstimateFailed:
        return
    assert estimate.cost_microusd >= 0


async def test_evidence_is_one_of_the_three_kinds(opened: Opened) -> None:
    assert isinstance(await opened.provider.find("attempt-never-made"), get_args(Evidence))


async def test_devices_are_listed_with_names_that_differ(opened: Opened) -> None:
    names = [device.name for device in await opened.provider.devices()]
    assert names
    assert all(names)
    assert len(set(names)) == len(names)
    assert opened.request.device in names


async def test_forgetting_is_safe_to_repeat_and_for_ids_never_heard_of(opened: Opened) -> None:
    opened.provider.tell_finished(lambda _attempt_id: None)
    outcome = await opened.provider.submit(opened.request, yes)
    assert isinstance(outcome, Accepted)
    for provider_job_id in (outcome.provider_job_id, outcome.provider_job_id, "never-heard-of"):
        await opened.provider.forget(provider_job_id)


async def test_paid_is_said(opened: Opened) -> None:
    assert isinstance(opened.provider.paid, bool)


async def test_closing_twice_does_no_harm_and_a_closed_provider_sends_nothing(opened: Opened) -> None:
    await opened.provider.submit(opened.request, yes)
    await opened.provider.close()
    await opened.provider.close()
    assert isinstance(await opened.provider.submit(opened.request, yes), NotSent)
