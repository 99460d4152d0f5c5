"""When a file is taken: on rename-in at once, otherwise when it has been quiet; never half of it."""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from scheduler.core.lifecycle import JobEvent
from scheduler.intake.claims import claim_file
from scheduler.intake.inbox import is_being_written
from scheduler.intake.taking import read_claim
from tests.intake.conftest import OpenHouse
from tests.support.spool import GHZ, House, qasm


async def until_quiet(house: House) -> None:
    """Step, and sleep as long as the spool itself wants to, until nothing waits any more."""
    await house.settle()
    while (due_s := await house.spool.due_in_s()) is not None:
        await asyncio.sleep(due_s)
        await house.settle()


async def test_a_file_renamed_in_is_taken_at_once(house: House) -> None:
    house.drop("new.qasm", age_s=0)
    house.spool.heard_rename("new.qasm")
    assert await house.settle() == 1


async def test_every_rename_counts_not_only_the_first(house: House) -> None:
    for name in ("one.qasm", "two.qasm", "three.qasm"):
        house.drop(name, qasm(hash(name)), age_s=0)
        house.spool.heard_rename(name)
        assert await house.settle() == 1


async def test_a_folder_renamed_in_is_complete_with_all_that_is_in_it(house: House) -> None:
    house.drop("night/deep/a.qasm", age_s=0)
    house.spool.heard_rename("night")
    assert await house.settle() == 1


async def test_a_file_that_was_last_changed_long_ago_is_taken_at_once(house: House) -> None:
    house.drop("old.qasm", age_s=2.5)
    assert await house.settle() == 1


async def test_a_file_is_not_taken_while_it_is_written(open_spool: OpenHouse) -> None:
    async with open_spool(quiet_s=0.4) as house:
        path = house.home.inbox / "slow.qasm"
        with path.open("w") as file:
            for line in qasm(1).splitlines(keepends=True):
                file.write(line)
                file.flush()
                await house.settle()
                await asyncio.sleep(0.1)
        assert house.spool.pending == 1
        assert await house.jobs() == []
        await until_quiet(house)
        (job,) = await house.jobs()
        (queued,) = house.home.queue.iterdir()
        assert queued.read_text() == qasm(1)
        assert job.name == "slow.qasm"


async def test_two_looks_that_are_close_together_prove_nothing(house: House) -> None:
    house.drop("fresh.qasm", age_s=0)
    for _ in range(5):
        assert await house.settle() == 0
    assert house.spool.pending == 1


async def test_a_time_in_the_future_keeps_no_file_for_ever(open_spool: OpenHouse) -> None:
    async with open_spool(quiet_s=0.3) as house:
        house.drop("future.qasm", age_s=-86_400.0)
        assert await house.settle() == 0, "once is not enough to know that it is quiet"
        await until_quiet(house)
        assert len(await house.jobs()) == 1


async def test_a_file_that_grows_under_a_future_time_waits(open_spool: OpenHouse) -> None:
    async with open_spool(quiet_s=0.3) as house:
        for number in range(4):
            house.drop("future.qasm", qasm(number) * (number + 1), age_s=-86_400.0 - number)
            assert await house.settle() == 0
            await asyncio.sleep(0.2)


async def test_a_refusal_waits_until_the_file_is_complete(house: House) -> None:
    """`cp` of a file that is made private only afterwards must not be refused in between."""
    path = house.drop("being_copied.qasm", age_s=0)
    path.chmod(0o666)
    assert await house.settle() == 0
    assert house.whys == {}
    path.chmod(0o644)
    house.age(path)
    await house.settle()
    assert len(await house.jobs()) == 1


async def test_a_file_that_is_open_for_writing_waits_however_long_its_writer_pauses(house: House) -> None:
    path = house.drop("stalled.qasm", age_s=30)
    house.spool.heard_rename("stalled.qasm")
    with path.open("a"):
        assert await house.settle() == 0
        assert house.spool.pending == 1
        assert await house.spool.due_in_s() is not None
    await house.settle()
    assert len(await house.jobs()) == 1


async def test_a_file_that_somebody_forgot_to_close_is_told_about_and_keeps_nobody_waiting(
    house: House,
) -> None:
    path = house.drop("forgotten.qasm", age_s=3600)
    house.drop("other.qasm", qasm(1))
    with path.open("a"):
        await house.settle()
        assert [job.name for job in await house.jobs()] == ["other.qasm"]
        assert "some program still has it open for writing" in house.whys["forgotten.qasm"]
        assert house.spool.pending == 0
    await house.settle()
    assert len(await house.jobs()) == 2
    assert house.whys == {}


async def test_a_manifest_waits_while_its_circuit_is_open_for_writing(house: House) -> None:
    circuit = house.drop("a.qasm", qasm(1))
    house.drop("m.yaml", "circuit: a.qasm\n", age_s=30)
    with circuit.open("a"):
        assert await house.settle() == 0
        assert await house.jobs() == []
    await house.settle()
    assert [job.name for job in await house.jobs()] == ["a.qasm"]
    assert house.whys == {}


async def test_readers_keep_no_file_waiting(house: House) -> None:
    with house.drop("read.qasm").open():
        assert await house.settle() == 1


async def test_a_look_at_a_file_hurts_nobody_who_opens_it_at_that_moment(house: House) -> None:
    """The kernel tells a lease's holder of each opener by a signal: it must be one that kills nobody."""
    path = house.drop("busy.qasm", age_s=30)
    over = threading.Event()

    def open_and_close() -> None:
        while not over.is_set():
            with path.open("a"):
                pass

    with ThreadPoolExecutor(1) as pool:
        opening = pool.submit(open_and_close)
        for _ in range(3000):
            is_being_written(house.home.inbox, "busy.qasm")
        over.set()
        opening.result(10)


async def test_a_file_that_changes_while_it_is_read_is_refused_and_kept(house: House) -> None:
    """The writer still has the file open: what it writes after the claim must not run as half a circuit."""
    path = house.drop("open.qasm")
    with path.open("a") as writer:
        claim = claim_file(house.home.inbox, "open.qasm", house.home.claimed, "0" * 24)

        def owner_who_writes_on(_uid: int) -> bool:
            writer.write("x q[0];\n")
            writer.flush()
            return True

        plan = house.spool.plan
        rules = replace(plan.files, is_owner=owner_who_writes_on)
        taken = read_claim(house.spool.kit, replace(plan, files=rules), claim)
    assert taken.problem is not None
    assert "it changed while it was read" in str(taken.problem)
    assert claim.at.read_text() == GHZ + "x q[0];\n"


async def test_a_byte_identical_copy_of_an_unfinished_job_is_refused(house: House) -> None:
    house.drop("first.qasm")
    await house.settle()
    house.drop("copy.qasm")
    await house.settle()
    assert house.whys["copy.qasm"].startswith("copy.qasm: the same bytes are queued already, as 1\n")
    assert "again = true" in house.whys["copy.qasm"]
    assert len(await house.batches()) == 1


async def test_the_copy_runs_when_it_says_so(house: House) -> None:
    text = qasm(1, again="true")
    house.drop("first.qasm", text)
    house.drop("second.qasm", text)
    await house.settle()
    assert len(await house.batches()) == 2


async def test_copies_that_come_together_are_one_job(house: House) -> None:
    for number in range(5):
        house.drop(f"{number}.qasm")
    await house.settle()
    assert len(await house.batches()) == 1
    assert len(house.whys) == 4


async def test_the_same_bytes_are_taken_again_when_the_first_have_ended(house: House) -> None:
    house.drop("first.qasm")
    await house.settle()

    def end(tx: object) -> None:
        tx.move_job(1, JobEvent.CANCEL, 1, "enough")  # type: ignore[attr-defined]
        tx.mark_published([1], 2)  # type: ignore[attr-defined]

    await house.store.write(end)
    house.drop("again.qasm")
    await house.settle()
    assert len(await house.batches()) == 2


async def test_two_thousand_files_at_once_are_two_thousand_batches(house: House) -> None:
    for number in range(2000):
        house.drop(f"{number % 20}/{number}.qasm", qasm(number))
    assert await house.settle() == 2000
    assert sorted(b.name for b in await house.batches()) == sorted(f"{n}.qasm" for n in range(2000))
    assert len(list(house.home.queue.iterdir())) == 2000
    assert house.nothing_is_claimed
    assert house.names(house.home.inbox) == []


async def test_what_was_accepted_is_a_read_only_copy_in_the_queue(house: House) -> None:
    house.drop("sub/a.qasm")
    await house.settle()
    (queued,) = house.home.queue.iterdir()
    assert queued.name == "1-a.qasm"
    assert os.stat(queued).st_mode & 0o777 == 0o444
