"""Folders that are missing, in the way, or full: files stay where they are, it is said, and it goes on."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from scheduler.intake.claims import claim_with_circuits
from scheduler.intake.inbox import scan
from scheduler.intake.owners import user_name
from scheduler.intake.spool import RETRY_S
from tests.intake.conftest import OpenHouse
from tests.support.disk import fill, small_disk
from tests.support.spool import House, qasm


class LaterClock:
    """The real clock, some seconds ahead, so that a retry is due."""

    def __init__(self, house: House) -> None:
        self._clock, self.ahead_s = house.spool.kit.clock, 0.0

    def now_us(self) -> int:
        return self._clock.now_us()

    def monotonic_s(self) -> float:
        return self._clock.monotonic_s() + self.ahead_s

    async def sleep(self, seconds: float) -> None:
        await self._clock.sleep(seconds)


@pytest.fixture
def clock(house: House) -> LaterClock:
    clock = LaterClock(house)
    house.spool.kit.clock = clock
    return clock


async def test_an_inbox_that_is_removed_is_made_again(house: House) -> None:
    house.home.inbox.rmdir()
    await house.settle()
    assert "the inbox cannot be read: No such file or directory" in house.spool.troubles["inbox"]
    house.drop("a.qasm")
    await house.settle()
    assert house.spool.troubles == {}
    assert len(await house.jobs()) == 1


async def test_a_file_in_the_place_of_the_inbox_is_left_alone(house: House) -> None:
    house.home.inbox.rmdir()
    house.home.inbox.write_text("not a folder")
    for _ in range(3):
        assert await house.settle() == 0
    assert "the inbox cannot be read: Not a directory" in house.spool.troubles["inbox"]
    assert house.home.inbox.read_text() == "not a folder"
    assert [line["event"] for line in house.log] == ["spool waits"], "it is logged once"
    house.home.inbox.unlink()
    house.home.inbox.mkdir()
    house.drop("a.qasm")
    await house.settle()
    assert house.spool.troubles == {}
    assert len(await house.jobs()) == 1


async def test_a_folder_that_disappears_during_the_scan_is_passed_over(house: House) -> None:
    for number in range(30):
        house.drop(f"{number:02}/a.qasm", qasm(number))
    found = []
    for seen in scan(house.home.inbox):
        found.append(seen.path)
        for folder in house.home.inbox.iterdir():
            if folder.name != seen.path.split("/")[0]:
                shutil.rmtree(folder)
    assert len(found) == 1


async def test_files_that_disappear_after_the_scan_are_passed_over(house: House) -> None:
    for number in range(550):
        house.drop(f"{number:03}.qasm", qasm(number))
    await house.spool.step()  # one group is settled by then, and the next one claimed
    for path in house.home.inbox.iterdir():
        path.unlink()
    await house.settle()
    assert len(await house.jobs()) == 500
    assert house.spool.troubles == {}
    assert house.whys == {}


async def test_refused_files_stay_where_they_are_while_rejected_is_in_the_way(
    house: House, clock: LaterClock
) -> None:
    house.home.rejected.rmdir()
    house.home.rejected.write_text("in the way")
    (house.home.inbox / "link.qasm").symlink_to("nothing")
    house.age(house.home.inbox / "link.qasm")
    house.drop("empty.qasm", "")
    house.drop("good.qasm")
    await house.settle()
    assert [batch.name for batch in await house.batches()] == ["good.qasm"], "the good ones go on"
    told = house.spool.troubles
    assert "it is a symbolic link" in told["inbox/link.qasm"]
    assert "cannot be moved to rejected/: File exists" in told["inbox/link.qasm"]
    assert "empty.qasm cannot be moved to rejected/ yet: File exists" in told["rejected"]
    assert await house.spool.due_in_s() is not None
    house.home.rejected.unlink()
    clock.ahead_s = RETRY_S + 1
    await house.settle()
    assert set(house.whys) == {"empty.qasm", "link.qasm"}
    assert house.spool.troubles == {}
    assert house.nothing_is_claimed


async def test_accepted_files_wait_while_the_queue_folder_is_in_the_way(
    house: House, clock: LaterClock
) -> None:
    house.home.queue.rmdir()
    house.home.queue.write_text("in the way")
    house.drop("good.qasm")
    await house.settle()
    assert "batch 1 is queued, but its file good.qasm cannot be moved" in house.spool.troubles["queue"]
    house.home.queue.unlink()
    clock.ahead_s = RETRY_S + 1
    await house.settle()
    assert len(await house.jobs()) == 1
    assert house.nothing_is_claimed
    assert house.spool.troubles == {}
    assert house.names(house.home.queue) == ["1-good.qasm"]


async def test_a_claimed_folder_that_is_removed_is_made_again(house: House) -> None:
    await house.settle()
    house.home.claimed.rmdir()
    house.drop("good.qasm")
    await house.settle()
    await house.settle()
    assert len(await house.jobs()) == 1
    assert house.spool.troubles == {}


async def test_a_note_in_rejected_overwrites_nobody_elses_reason(house: House) -> None:
    house.drop("d/bad.qasm", "")
    await house.settle()
    before = dict(house.whys)
    house.spool._notes.tell("x/bad.qasm", "it stays")
    assert house.whys["bad.qasm"] == before["bad.qasm"]
    assert house.whys["bad-2.qasm"] == "x/bad.qasm: it stays\n"


# ------------------------------------------------------------------------------------------------ full disk


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "home", "24m") as folder:
        yield folder


async def test_files_stay_in_the_inbox_while_the_disk_is_full(disk: Path, open_spool: OpenHouse) -> None:
    async with open_spool() as house:
        house.drop("a.qasm")
        house.drop("empty.qasm", "")
        ballast = fill(disk, 4096 * 16)
        for _ in range(3):
            assert await house.settle() == 0
        assert house.names(house.home.inbox) == ["a.qasm", "empty.qasm"]
        assert (
            "KiB of disk are free: files stay in the inbox until there is room"
            in house.spool.troubles["disk"]
        )
        assert [line["event"] for line in house.log] == ["spool waits"]
        ballast.unlink()
        await house.settle()
        assert len(await house.jobs()) == 1
        assert set(house.whys) == {"empty.qasm"}
        assert house.spool.troubles == {}


async def test_a_batch_that_cannot_be_claimed_whole_goes_back(disk: Path, open_spool: OpenHouse) -> None:
    async with open_spool() as house:
        house.drop("m.yaml", "circuit: a.qasm\n")
        house.drop("a.qasm")
        ballast = fill(disk, 0)
        with pytest.raises(OSError, match="No space left"):
            claim_with_circuits(
                house.home.inbox, "m.yaml", os.getuid(), ["a.qasm"], house.home.claimed, "0" * 24, user_name
            )
        assert house.names(house.home.inbox) == ["a.qasm", "m.yaml"]
        assert house.nothing_is_claimed
        ballast.unlink()
        await house.settle()
        assert len(await house.jobs()) == 1
