"""A process that dies anywhere leaves a state from which the next one goes on: nothing twice, nothing lost.

The states are made by the functions that would have made them, and then a new spool starts on the home.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from scheduler.core.job import BatchSpec
from scheduler.core.timing import iso
from scheduler.errors import TryAgain
from scheduler.intake.claims import claim_file, claim_with_circuits, left_behind
from scheduler.intake.owners import user_name
from scheduler.intake.taking import read_claim
from scheduler.rejected import note_alone
from tests.intake.conftest import OpenHouse
from tests.support.spool import GHZ, House, build_spool, qasm

KEY = "0006434567890abcdeadbeef"
NAMES = [b"a.qasm", b"with~tilde.qasm", b"caf\xe9.qasm", b"a" * 250 + b".qasm"]


def claim(house: House, name: bytes = b"a.qasm") -> None:
    house.drop(name)
    claim_file(house.home.inbox, os.fsdecode(name), house.home.claimed, KEY)


async def receive(house: House) -> int:
    """Commit what is claimed, as the step that died did."""
    (found,) = left_behind(house.home.inbox, house.home.claimed)
    batch = read_claim(house.spool.kit, house.spool.plan, found).batch
    assert batch is not None
    (received,) = await house.store.write(lambda tx: tx.receive([batch]))
    return received.batch_id


@pytest.mark.parametrize("name", NAMES)
async def test_died_between_claim_and_transaction(open_spool: OpenHouse, name: bytes) -> None:
    async with open_spool() as house:
        claim(house, name)
        assert house.names(house.home.inbox) == []
    async with open_spool() as house:
        assert house.spool.unread
        await house.settle()
        assert len(await house.jobs()) == 1
        assert house.nothing_is_claimed
        assert [path.read_text() for path in house.home.queue.iterdir()] == [GHZ]


@pytest.mark.parametrize("name", NAMES)
async def test_died_between_transaction_and_move(open_spool: OpenHouse, name: bytes) -> None:
    async with open_spool() as house:
        claim(house, name)
        assert await receive(house) == 1
    async with open_spool() as house:
        await house.settle()
        assert len(await house.jobs()) == 1, "the key is known: nothing is queued twice"
        assert house.whys == {}
        assert house.nothing_is_claimed
        assert len(list(house.home.queue.iterdir())) == 1


async def test_a_deadline_that_passed_since_the_crash_refuses_no_file_that_is_queued_already(
    open_spool: OpenHouse,
) -> None:
    claimed_us = int(KEY[:16], 16)
    deadline = iso(claimed_us + 3_600_000_000)
    async with open_spool() as house:
        assert house.spool.kit.clock.now_us() > claimed_us + 3_600_000_000
        house.drop(b"a.qasm", qasm(1, deadline=f'"{deadline}"'))
        claim_file(house.home.inbox, "a.qasm", house.home.claimed, KEY)
        assert await receive(house) == 1
    async with open_spool() as house:
        await house.settle()
        assert house.whys == {}
        assert len(house.names(house.home.queue)) == 1
        house.drop(b"b.qasm", qasm(2, deadline=f'"{deadline}"'))
        await house.settle()
        assert "is over" in house.whys["b.qasm"], "what comes now is judged by now"


async def test_died_while_a_batch_was_claimed(open_spool: OpenHouse) -> None:
    """The circuits were taken, the manifest was not: they go back, and then all is taken together."""
    async with open_spool() as house:
        house.drop("night/c/a.qasm", qasm(1))
        house.drop("night/m.yaml", "circuit: c/a.qasm\n")
        whole = house.home.claimed / KEY / "night/c"
        whole.mkdir(parents=True)
        os.rename(house.home.inbox / "night/c/a.qasm", whole / "a.qasm")
    async with open_spool() as house:
        await house.settle()
        assert [job.name for job in await house.jobs()] == ["a.qasm"]
        assert house.whys == {}
        assert house.nothing_is_claimed


@pytest.mark.parametrize("mark", [None, b"", b"night/m"])
async def test_died_before_a_whole_claim_was_marked(open_spool: OpenHouse, mark: bytes | None) -> None:
    async with open_spool() as house:
        house.drop("night/a.qasm", qasm(1))
        house.drop("night/m.yaml", "circuit: a.qasm\n")
        uid = os.getuid()
        made = claim_with_circuits(
            house.home.inbox, "night/m.yaml", uid, ["night/a.qasm"], house.home.claimed, KEY, user_name
        )
        (made.folder / ".complete").unlink()
        if mark is not None:
            (made.folder / ".complete").write_bytes(mark)
    async with open_spool() as house:
        await house.settle()
        assert [job.name for job in await house.jobs()] == ["a.qasm"]
        assert house.nothing_is_claimed


async def test_a_whole_claim_survives(open_spool: OpenHouse) -> None:
    async with open_spool() as house:
        house.drop("night/a.qasm", qasm(1))
        house.drop("night/m.yaml", "circuit: a.qasm\n")
        claim_with_circuits(
            house.home.inbox,
            "night/m.yaml",
            os.getuid(),
            ["night/a.qasm"],
            house.home.claimed,
            KEY,
            user_name,
        )
        assert await receive(house) == 1
    async with open_spool() as house:
        await house.settle()
        assert [job.name for job in await house.jobs()] == ["a.qasm"]
        assert house.nothing_is_claimed
        assert "1-m.yaml/night/a.qasm" in house.names(house.home.queue)


async def test_files_that_go_back_follow_no_link(open_spool: OpenHouse, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    async with open_spool() as house:
        whole = house.home.claimed / KEY / "night"
        whole.mkdir(parents=True)
        (whole / "a.qasm").write_text(GHZ)
        (house.home.inbox / "night").symlink_to(elsewhere)
    async with open_spool() as house:
        await house.settle()
        assert list(elsewhere.iterdir()) == []
        assert house.nothing_is_claimed
        assert [job.name for job in await house.jobs()] == ["a.qasm"] or (
            house.home.inbox / "a.qasm"
        ).exists()


async def test_died_between_the_reason_and_the_move_to_rejected(open_spool: OpenHouse) -> None:
    async with open_spool() as house:
        house.drop("empty.qasm", "")
        await house.settle()
        why = house.whys["empty.qasm"].rstrip("\n")
        (house.home.rejected / "empty.qasm.WHY.txt").unlink()
        os.rename(house.home.rejected / "empty.qasm", house.home.claimed / f"{KEY}~empty.qasm")
        note_alone(house.home.rejected, "empty.qasm", why)
    async with open_spool() as house:
        await house.settle()
        assert house.names(house.home.rejected) == ["empty.qasm", "empty.qasm.WHY.txt"]


async def test_a_thousand_claims_are_taken_up_in_groups(open_spool: OpenHouse) -> None:
    async with open_spool() as house:
        for number in range(1000):
            house.drop("a.qasm", qasm(number))
            claim_file(house.home.inbox, "a.qasm", house.home.claimed, f"{number:024x}")
    async with open_spool() as house:
        house.drop("new.qasm", qasm(5000))
        assert await house.settle() == 1001
        assert len(await house.batches()) == 1001
        assert house.nothing_is_claimed


class StoreThatFails:
    """The real store, but for the writes that fail first."""

    def __init__(self, house: House, failures: list[Exception]) -> None:
        self._store, self._failures = house.store, failures

    async def write(self, work):  # type: ignore[no-untyped-def]
        if self._failures:
            raise self._failures.pop(0)
        return await self._store.write(work)


async def test_files_whose_transaction_failed_are_tried_again_without_a_restart(house: House) -> None:
    kit = house.spool.kit
    house.spool.kit = replace(kit, store=StoreThatFails(house, [TryAgain("the disk is full")]))  # type: ignore[arg-type]
    house.drop("a.qasm")
    with pytest.raises(TryAgain):
        await house.spool.step()
    assert house.spool.unread
    await house.settle()
    assert len(await house.jobs()) == 1
    assert house.nothing_is_claimed


async def test_what_was_claimed_ahead_of_a_transaction_that_failed_is_taken_up_once(house: House) -> None:
    kit = house.spool.kit
    house.spool.kit = replace(kit, store=StoreThatFails(house, [TryAgain("the disk is full")]))  # type: ignore[arg-type]
    for number in range(520):
        house.drop(f"{number:03}.qasm", qasm(number))
    with pytest.raises(TryAgain):
        await house.spool.step()
    assert len(list(house.home.inbox.iterdir())) == 20, "two groups are claimed"
    assert await house.settle() == 520
    assert len(await house.batches()) == 520
    assert house.nothing_is_claimed


async def test_a_batch_that_the_store_cannot_hold_harms_no_other(house: House) -> None:
    def resolve(spec: BatchSpec) -> BatchSpec:
        if spec.name != "poison.qasm":
            return spec
        return replace(spec, jobs=(replace(spec.jobs[0], shots=1 << 80),))

    house.spool = build_spool(house.home, house.store, house.spool.kit.log, resolve=resolve)
    for name in ("a.qasm", "poison.qasm", "z.qasm"):
        house.drop(name, qasm(hash(name)))
    await house.settle()
    assert [batch.name for batch in await house.batches()] == ["a.qasm", "z.qasm"]
    assert "nightshot failed at storing it: OverflowError" in house.whys["poison.qasm"]
    assert house.nothing_is_claimed


async def test_a_mistake_of_ours_in_reading_one_file_harms_no_other(house: House) -> None:
    def resolve(spec: BatchSpec) -> BatchSpec:
        if spec.name == "poison.qasm":
            raise RuntimeError("nobody foresaw this")
        return spec

    house.spool = build_spool(house.home, house.store, house.spool.kit.log, resolve=resolve)
    for name in ("a.qasm", "poison.qasm", "z.qasm"):
        house.drop(name, qasm(hash(name)))
    await house.settle()
    assert [batch.name for batch in await house.batches()] == ["a.qasm", "z.qasm"]
    assert "nightshot failed at reading it: RuntimeError: nobody foresaw this" in house.whys["poison.qasm"]
    assert any(line.get("trace") for line in house.log)
