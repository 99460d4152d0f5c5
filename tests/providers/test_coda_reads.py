"""Estimate, status and devices: may be asked again, and what they do not say is never made up."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from scheduler.core.pricing import Estimate
from scheduler.core.task import (
    BIT_ORDER_OF_PROVIDER,
    Accepted,
    CannotTell,
    Completed,
    Device,
    Failed,
    NotKnown,
    StillOpen,
    TaskReport,
)
from scheduler.errors import Unreachable
from scheduler.ports import EstimateFailed, PollFailed
from tests.support import coda_server as server_side
from tests.support.coda_account import REQUEST, Build, yes
from tests.support.coda_server import CodaServer, Fault, answer

BROKEN = answer(503, {"detail": "in the works"})

# -------------------------------------------------------------------------------------------- estimate


async def test_an_estimate_is_codas_own_figure_and_costs_nothing(server: CodaServer, account: Build) -> None:
    estimate = await account().estimate(replace(REQUEST, framework="openqasm2", execution_hint="run_batch"))
    assert isinstance(estimate, Estimate)
    assert (estimate.cost_microusd, estimate.source) == (1_300_000, "coda")
    assert server.bills == []
    assert server.requests[0].document == {
        "code": REQUEST.code,
        "source_framework": "openqasm3",
        "backend": "iqm",
        "shots": 100,
        "braket_execution_mode_hint": "run_batch",
    }


#: fault, may it ever run, words
NO_ESTIMATE: dict[str, tuple[Fault, bool, str]] = {
    "422": (server_side.INVALID, True, "body.code: cannot be transpiled"),
    "400": (answer(400, {"error": "too many qubits"}), True, "too many qubits"),
    "404 backend": (answer(404, {"detail": "no backend 'iqn'"}), True, "no backend 'iqn'"),
    "404 path": (answer(404, {"detail": "Not Found"}), False, "404"),
    "404 HTML": (answer(404, "<html>"), False, "404"),
    "400 credits": (answer(400, {"detail": "out of credits"}), False, "credits"),
    "401": (answer(401, {"detail": "Invalid API key"}), False, "Invalid API key"),
    "402": (answer(402, {"detail": "pay"}), False, "pay"),
    "200 false": (answer(200, {"success": False, "error": "no quote"}), False, "no quote"),
    "200 HTML": (answer(200, "<html>"), False, "200"),
    "missing": (answer(200, {"success": True}), False, "has no estimated_cost_cents"),
    "null": (answer(200, {"success": True, "estimated_cost_cents": None}), False, "has no"),
    "negative": (answer(200, {"success": True, "estimated_cost_cents": -0.01}), False, "negative"),
    "NaN": (answer(200, {"success": True, "estimated_cost_cents": float("nan")}), False, "NaN"),
    "infinite": (answer(200, {"success": True, "estimated_cost_cents": float("inf")}), False, "Infinity"),
    "text": (answer(200, {"success": True, "estimated_cost_cents": "130"}), False, "not one number"),
    "false": (answer(200, {"success": True, "estimated_cost_cents": False}), False, "not one number"),
    "twice": (
        answer(200, b'{"estimated_cost_cents": 130, "estimated_cost_cents": 0}'),
        False,
        "not one number",
    ),
    "307": (answer(307, headers={"Location": "/v0/coda/qpus/estimate-cost"}), False, "307"),
}


@pytest.mark.parametrize(("fault", "never_runs", "words"), NO_ESTIMATE.values(), ids=NO_ESTIMATE.keys())
async def test_an_estimate_that_fails_is_a_failure_and_never_zero(
    server: CodaServer, account: Build, fault: Fault, never_runs: bool, words: str
) -> None:
    server.next_estimates.append(fault)
    with pytest.raises(EstimateFailed) as failure:
        await account().estimate(REQUEST)
    assert words in failure.value.message
    assert failure.value.never_runs is never_runs
    assert len(server.requests) == 1


async def test_a_fraction_of_a_cent_is_kept_and_rounded_up(server: CodaServer, account: Build) -> None:
    server.next_estimates.append(answer(200, b'{"success": true, "estimated_cost_cents": 0.123456}'))
    assert (await account().estimate(REQUEST)).cost_microusd == 1_235


# ---------------------------------------------------------------------------------------- asking again

SHAKY = [BROKEN, server_side.CLOSE, server_side.RESET, server_side.GARBAGE, answer(429, {}), answer(408, {})]


@pytest.mark.parametrize("fault", SHAKY, ids=["503", "closed", "reset", "garbage", "429", "408"])
async def test_a_read_is_repeated_after_what_may_pass(
    server: CodaServer, account: Build, fault: Fault
) -> None:
    server.next_estimates.extend([fault, fault])
    assert (await account().estimate(REQUEST)).cost_microusd == 1_300_000
    assert len(server.requests) == 3


async def test_a_read_is_given_up_after_three_tries_with_the_last_words(
    server: CodaServer, account: Build
) -> None:
    server.next_estimates.extend([BROKEN] * 9)
    with pytest.raises(EstimateFailed, match="503: in the works"):
        await account().estimate(REQUEST)
    assert len(server.requests) == 3


async def test_a_long_retry_after_is_the_callers_to_wait(server: CodaServer, account: Build) -> None:
    server.next_estimates.append(answer(429, {"detail": "slow"}, headers={"Retry-After": "90"}))
    with pytest.raises(EstimateFailed) as failure:
        await account().estimate(REQUEST)
    assert failure.value.retry_after_s == 90.0
    assert len(server.requests) == 1


async def test_a_short_retry_after_is_kept_to(server: CodaServer, account: Build) -> None:
    server.next_statuses.append(answer(503, {}, headers={"Retry-After": "0.3"}))
    loop = asyncio.get_running_loop()
    started_s = loop.time()
    assert isinstance(await account().poll("unheard-of", REQUEST), NotKnown)
    assert loop.time() - started_s >= 0.3


async def test_a_silent_read_ends_with_its_time_out(server: CodaServer, account: Build) -> None:
    server.next_statuses.append(server_side.HANG)
    with pytest.raises(PollFailed, match=r"did not answer within 0\.3 s"):
        await account(read_timeout_s=0.3).poll("any", REQUEST)
    assert len(server.requests) == 1


async def test_a_cancelled_read_is_cancelled(server: CodaServer, account: Build) -> None:
    server.next_statuses.append(server_side.HANG)
    polling = asyncio.create_task(account().poll("any", REQUEST))
    await server.until(lambda: len(server.requests) == 1)
    polling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await polling


# ------------------------------------------------------------------------------------------------ poll


async def test_a_job_is_followed_from_running_to_its_counts(server: CodaServer, account: Build) -> None:
    provider = account()
    server.polls_before_completion = 2
    taken = await provider.submit(REQUEST, yes)
    assert isinstance(taken, Accepted)
    reports = [await provider.poll(taken.provider_job_id, REQUEST) for _ in range(3)]
    assert [type(report) for report in reports] == [StillOpen, StillOpen, Completed]
    last = reports[-1]
    assert isinstance(last, Completed)
    assert last.counts == ({"11": 52, "00": 48},)
    assert last.bit_order == BIT_ORDER_OF_PROVIDER
    assert '"results"' in last.raw


def told(status: object, results: object = None, **more: object) -> Fault:
    return answer(200, {"success": True, "job_id": "j", "status": status, "results": results} | more)


REPORTS: dict[str, tuple[Fault, TaskReport]] = {
    **{word: (told(word), StillOpen(word)) for word in ("submitted", "queued", "running", "teleporting")},
    "odd word": (told("\x1b queued\n"), StillOpen("queued")),
    "completed": (told("completed", {"01": 7}), Completed(({"01": 7},), BIT_ORDER_OF_PROVIDER)),
    "COMPLETED": (told(" COMPLETED", {"01": 7}), Completed(({"01": 7},), BIT_ORDER_OF_PROVIDER)),
    "registers": (told("completed", {"01 1": 7.0}), Completed(({"01 1": 7},), BIT_ORDER_OF_PROVIDER)),
    "two circuits": (
        told("completed", [{"0": 7}, {"1": 3}]),
        Completed(({"0": 7}, {"1": 3}), BIT_ORDER_OF_PROVIDER),
    ),
    "no results yet": (told("completed"), StillOpen("completed, results not there yet")),
    "empty results": (told("completed", {}), StillOpen("completed, results not there yet")),
    "failed": (told("failed", error="device lost"), Failed("device lost")),
    "failed, mute": (told("failed"), Failed("Coda says that it failed, and not why")),
    "failed, no success": (told("failed", success=False, error="lost"), Failed("lost")),
    "404": (answer(404, {"detail": "Job not found"}), NotKnown("Coda answered 404: Job not found")),
    "success false": (answer(200, {"success": False, "error": "no such job"}), NotKnown("no such job")),
    "success false, mute": (answer(200, {"success": False}), NotKnown("Coda answered success: false")),
}


@pytest.mark.parametrize(("fault", "report"), REPORTS.values(), ids=REPORTS.keys())
async def test_a_status_is_read_as_what_it_plainly_says(
    server: CodaServer, account: Build, fault: Fault, report: TaskReport
) -> None:
    server.next_statuses.append(fault)
    heard = await account().poll("j", REQUEST)
    assert replace(heard, raw="") == report
    assert heard.raw


GARBLED: dict[str, tuple[Fault, str]] = {
    "no word": (told(None), "no status word"),
    "a number for a word": (told(7), "no status word"),
    "another job": (answer(200, {"job_id": "k", "status": "completed", "results": {"0": 1}}), "another job"),
    "results a text": (told("completed", "00:52"), "not a histogram"),
    "results a number": (told("completed", 7), "not a histogram"),
    "a list of texts": (told("completed", [{"0": 1}, "0"]), "circuit 2"),
    "an empty one in the list": (told("completed", [{"0": 1}, {}]), "circuit 2"),
    "hex": (told("completed", {"0x3": 7}), "'0x3' is not a bit string"),
    "no bits": (told("completed", {"": 7}), "not a bit string"),
    "other digits": (told("completed", {"٠١": 7}), "not a bit string"),
    "negative": (told("completed", {"0": -1}), "'-1' is not a number of shots"),
    "a fraction": (told("completed", {"0": 0.52}), "not a whole number"),
    "NaN": (told("completed", {"0": float("nan")}), "'NaN' is not a number"),
    "true": (told("completed", {"0": True}), "'True' is not a number"),
    "absurd": (told("completed", {"0": 10**30}), "not a number of shots"),
    "counted twice": (answer(200, b'{"status": "completed", "results": {"0": 1, "0": 2}}'), "counted twice"),
    "HTML": (answer(200, "<html>"), "no JSON object"),
    "404 HTML": (answer(404, "<html>"), "no JSON object"),
    "401": (answer(401, {"detail": "Invalid API key"}), "Invalid API key"),
    "307": (answer(307, {}, headers={"Location": "/v0/coda/qpus/status"}), "307"),
}


@pytest.mark.parametrize(("fault", "words"), GARBLED.values(), ids=GARBLED.keys())
async def test_a_status_that_makes_no_sense_is_asked_for_again_later(
    server: CodaServer, account: Build, fault: Fault, words: str
) -> None:
    server.next_statuses.append(fault)
    with pytest.raises(PollFailed) as failure:
        await account().poll("j", REQUEST)
    assert words in failure.value.message


# -------------------------------------------------------------------------------- devices and the rest


async def test_devices_go_by_id_or_by_name_and_keep_what_we_do_not_know(
    server: CodaServer, account: Build
) -> None:
    devices = list(await account().devices())
    assert [(device.name, device.online) for device in devices] == [
        ("iqm", True),
        ("ibm_fez", False),
        ("simulator", None),
    ]
    assert '"qubits": 20' in devices[0].raw


async def test_a_device_without_any_name_is_left_out_and_the_others_stay(
    server: CodaServer, account: Build
) -> None:
    listed = [{"id": None, "name": " "}, "iqm", {"id": "aqt", "online": False, "price": 0.3}]
    server.next_devices.append(answer(200, {"success": True, "devices": listed}))
    assert await account().devices() == [
        Device("aqt", False, "", '{"id": "aqt", "online": false, "price": "0.3"}')
    ]


@pytest.mark.parametrize(
    "fault",
    [answer(200, {"success": True}), answer(200, {"success": False}), answer(401, {}), answer(200, "<html>")],
)
async def test_a_list_that_is_none_is_unreachable(server: CodaServer, account: Build, fault: Fault) -> None:
    server.next_devices.append(fault)
    with pytest.raises(Unreachable):
        await account().devices()


async def test_health_is_the_services_own_word(account: Build) -> None:
    assert await account().health() == "ok"


async def test_paths_can_be_moved_in_the_configuration(server: CodaServer, account: Build) -> None:
    with pytest.raises(Unreachable, match="404: Not Found"):
        await account(paths={"health": "/healthz"}).health()
    assert server.requests[0].path == "/v0/coda/healthz"


async def test_nothing_can_be_found_at_coda(server: CodaServer, account: Build) -> None:
    assert isinstance(await account().find("attempt-1"), CannotTell)
    assert server.requests == []


async def test_a_closed_account_reads_nothing(server: CodaServer, account: Build) -> None:
    provider = account()
    await provider.health()
    await provider.close()
    await provider.close()
    with pytest.raises(PollFailed, match="closed"):
        await provider.poll("j", REQUEST)
    assert len(server.requests) == 1
