"""Reruns: the same code as a new batch of whoever asks, also while the first one is unfinished."""

from __future__ import annotations

import pytest

from scheduler.errors import NotFound
from tests.api.conftest import Opening
from tests.support.stores import priced_jobs, query


async def test_a_rerun_is_a_new_batch_with_the_same_code(office: Opening) -> None:
    desk = await office()
    await desk.write(lambda tx: priced_jobs(tx, 1, shots=250, project="p", tags=("x",), cap_microusd=5))
    told = await desk.ask("rerun", user="bob", job="1")
    assert told["batches"][0]["batch"] == 2
    first, second = [(await desk.ask("show", job=job)) for job in ("1", "2")]
    assert first["code_sha256"] == second["code_sha256"]
    for name in ("shots", "project", "tags", "backend", "framework", "name"):
        assert first["job"][name] == second["job"][name]
    assert (first["job"]["user"], second["job"]["user"]) == ("ada", "bob")
    assert second["job"]["estimate_usd"] is None, "it has a price and a bill of its own"
    assert await desk.write(query("SELECT cap_microusd FROM jobs")) == [(5,), (5,)]
    assert "estimate" in desk.woken


async def test_the_same_rerun_twice_is_two_batches(office: Opening) -> None:
    desk = await office()
    await desk.write(priced_jobs)
    numbers = [(await desk.ask("rerun", job="1"))["batches"][0]["batch"] for _ in range(2)]
    assert numbers == [2, 3]


async def test_a_batch_is_rerun_whole_and_a_job_alone(office: Opening) -> None:
    desk = await office()
    await desk.write(lambda tx: priced_jobs(tx, 3))
    assert (await desk.ask("rerun", job="1"))["batches"][0]["jobs"] == 3
    assert (await desk.ask("rerun", job="1.2"))["batches"][0]["jobs"] == 1
    assert (await desk.ask("rerun", job="latest"))["batches"][0]["jobs"] == 1
    with pytest.raises(NotFound):
        await desk.ask("rerun", job="99")
