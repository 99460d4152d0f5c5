"""Manifests and the circuits beside them are claimed together, or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.intake.conftest import OpenHouse
from tests.support.spool import GHZ, House, qasm

SWEEP = "jobs:\n  - circuit: a.qasm\n    shots: 10\n  - circuit: deep/b.qasm\n"


def drop_sweep(house: House, folder: str = "night/", *, age_s: float = 60.0) -> None:
    house.drop(f"{folder}a.qasm", qasm(1), age_s=age_s)
    house.drop(f"{folder}deep/b.qasm", qasm(2), age_s=age_s)
    house.drop(f"{folder}sweep.yaml", SWEEP, age_s=age_s)


@pytest.mark.parametrize("folder", ["", "night/", "night/of/the/"])
async def test_a_manifest_and_its_circuits_are_one_batch(house: House, folder: str) -> None:
    drop_sweep(house, folder)
    await house.settle()
    assert [(job.batch_id, job.name, job.shots) for job in await house.jobs()] == [
        (1, "a.qasm", 10),
        (1, "b.qasm", 100),
    ]
    assert house.names(house.home.inbox) == []
    assert house.nothing_is_claimed
    queued = {Path(name).name for name in house.names(house.home.queue)}
    assert {"a.qasm", "b.qasm", "sweep.yaml"} <= queued


async def test_a_folder_renamed_in_is_one_batch_at_once(house: House) -> None:
    drop_sweep(house, ".staging/", age_s=0)
    os.rename(house.home.inbox / ".staging", house.home.inbox / "night")
    house.spool.heard_rename("night")
    await house.settle()
    assert [job.batch_id for job in await house.jobs()] == [1, 1]


async def test_circuits_wait_while_their_manifest_is_written(house: House) -> None:
    """`cp -r night inbox/` writes the circuits first; they must not run as jobs of their own."""
    drop_sweep(house)
    house.age(house.home.inbox / "night/sweep.yaml", 0)
    assert await house.settle() == 0
    assert house.spool.pending == 3
    house.age(house.home.inbox / "night/sweep.yaml")
    await house.settle()
    assert [job.batch_id for job in await house.jobs()] == [1, 1]


async def test_a_manifest_waits_while_one_of_its_circuits_is_written(house: House) -> None:
    drop_sweep(house)
    house.age(house.home.inbox / "night/deep/b.qasm", 0)
    assert await house.settle() == 0
    assert await house.jobs() == []
    assert house.spool.pending == 3
    house.age(house.home.inbox / "night/deep/b.qasm")
    await house.settle()
    assert [job.batch_id for job in await house.jobs()] == [1, 1]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away or make devices")
async def test_nobody_else_waits_for_a_manifest_that_never_ends(open_spool: OpenHouse) -> None:
    async with open_spool(owners=("any",)) as house:
        os.chown(house.drop("endless.yaml", "jobs: [", age_s=0), 54321, 54321)
        house.drop("mine.qasm")
        await house.settle()
        assert [job.name for job in await house.jobs()] == ["mine.qasm"]


async def test_a_manifest_whose_circuit_is_missing_is_refused_with_all_that_came_with_it(
    house: House,
) -> None:
    house.drop("a.qasm", qasm(1))
    house.drop("sweep.yaml", SWEEP)
    await house.settle()
    assert (
        "sweep.yaml:4: circuit: deep/b.qasm is not beside this file in the inbox" in house.whys["sweep.yaml"]
    )
    assert "sweep.yaml/a.qasm" in house.names(house.home.rejected)
    assert await house.jobs() == []


OUTSIDE = [
    ("../../state/nightshot.qasm", "leaves the folder"),
    ("deep/../../x.qasm", "leaves the folder"),
    ("/etc/passwd.qasm", "is absolute"),
    ("~root/x.qasm", "is absolute"),
    ("/etc/passwd", "is absolute"),
    ("deep\\\\x.qasm", "has a backslash"),
    ("sweep.yaml", "is no circuit file"),
]


@pytest.mark.parametrize(("path", "reason"), OUTSIDE, ids=[row[0] for row in OUTSIDE])
async def test_a_circuit_outside_is_neither_read_nor_moved(house: House, path: str, reason: str) -> None:
    secret = house.home.state / "nightshot.qasm"
    secret.write_text(GHZ)
    house.drop("sweep.yaml", f'circuit: "{path}"\n')
    await house.settle()
    assert reason in house.whys["sweep.yaml"]
    assert secret.exists()


def make_link(path: Path) -> None:
    path.symlink_to("/etc/passwd")


def make_folder(path: Path) -> None:
    path.mkdir()
    (path / "others.txt").write_text("keep me")


THINGS = [
    (make_link, "c.qasm: is a symbolic link, not a file"),
    (os.mkfifo, "c.qasm: is a named pipe, not a file"),
    (make_folder, "c.qasm: is a folder, not a file"),
]


@pytest.mark.parametrize(("make", "reason"), THINGS, ids=["link", "FIFO", "folder"])
async def test_a_circuit_that_is_no_plain_file_is_named_and_not_swept_along(
    house: House, make: object, reason: str
) -> None:
    make(house.home.inbox / "c.qasm")  # type: ignore[operator]
    if not (house.home.inbox / "c.qasm").is_dir():
        house.age(house.home.inbox / "c.qasm")
    house.drop("m.yaml", "circuit: c.qasm\n")
    await house.settle()
    assert f"m.yaml:1: circuit: {reason}" in house.whys["m.yaml"]
    assert await house.jobs() == []
    if make is make_folder:
        assert (house.home.inbox / "c.qasm/others.txt").read_text() == "keep me"


async def test_a_folder_with_the_name_of_our_mark_breaks_no_claim(house: House) -> None:
    house.drop(".complete/x.qasm")
    house.drop("m.yaml", "circuit: .complete/x.qasm\n")
    await house.settle()
    assert "is in a folder whose name is reserved" in house.whys["m.yaml"]
    assert house.nothing_is_claimed
    assert (house.home.inbox / ".complete/x.qasm").exists()


async def test_manifests_that_share_a_circuit_do_not_both_take_it(house: House) -> None:
    house.drop("c.qasm", qasm(1))
    house.drop("1.yaml", "circuit: c.qasm\nshots: 10\n")
    house.drop("2.yaml", "circuit: c.qasm\nshots: 20\n")
    await house.settle()
    assert len(await house.jobs()) == 1
    assert "is not beside this file in the inbox" in house.whys["2.yaml"]


async def test_a_huge_circuit_is_refused_by_its_size(house: House) -> None:
    house.drop("c.qasm", b" " * 3_000_000)
    house.drop("m.yaml", "circuit: c.qasm\n")
    await house.settle()
    assert "circuit: c.qasm: it has 3,000,000 bytes; at most 1,048,576 are taken" in house.whys["m.yaml"]
