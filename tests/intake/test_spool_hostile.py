"""What strangers drop: every file is taken, refused with a sentence, or left with a note; none is lost."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.intake.conftest import OpenHouse
from tests.support.spool import GHZ, House, qasm

IS_ROOT = os.geteuid() == 0
only_root = pytest.mark.skipif(not IS_ROOT, reason="only root can give files away or make devices")

#: Name, content and a part of the reason.
CONTENTS: list[tuple[str, str | bytes, str]] = [
    ("empty.qasm", "", "empty.qasm: the file is empty"),
    ("blank.yaml", " \n\n", "blank.yaml: the file is empty"),
    (
        "truncated.jsonl",
        '{"nightshot": 1, "count": 3}\n{"code": "OPENQASM 3;"}\n',
        "the file looks truncated",
    ),
    ("cut.json", '{"code": "OPENQASM', "cut.json:1:"),
    ("binary.qasm", bytes(range(256)) * 20, "binary data, not text"),
    ("program.py", b"\x7fELF" + bytes(200), "this is a program, not text"),
    ("zipped.qasm", b"\x1f\x8b\x08" + bytes(90), "this is a gzip archive"),
    ("utf16.qasm", GHZ.encode("utf-16"), "UTF-16 text, not UTF-8"),
    ("latin.py", "# gr\xfc\xdfe\nimport qiskit\n".encode("latin-1"), "byte 0xfc is not UTF-8"),
    ("deep.json", "[" * 100_000, "nested deeper"),
    ("deep.yaml", "- " * 100_000, "nested deeper"),
    ("twice.json", '{"shots": 10, "shots": 1000, "code": "OPENQASM 3;"}', "shots: written twice"),
    ("twice.yaml", "shots: 10\nshots: 20\ncode: x\n", "shots: written twice"),
    ("typo.qasm", qasm(1, shotz=100), "typo.qasm:2: shotz: unknown key, did you mean 'shots'?"),
    ("notes.txt", "remember the milk", "not a job file"),
    ("README", "hello", "no ending: not a job file"),
    ("nowhere.qasm", qasm(1, backend='"moon:base"'), "no provider is called 'moon'"),
]


@pytest.mark.parametrize(("name", "content", "reason"), CONTENTS, ids=[row[0] for row in CONTENTS])
async def test_a_bad_file_is_moved_away_with_its_reason(
    house: House, name: str, content: str | bytes, reason: str
) -> None:
    house.drop(name, content)
    house.drop("good.qasm")
    await house.settle()
    assert reason in house.whys[name]
    wanted = content.encode() if isinstance(content, str) else content
    assert (house.home.rejected / name).read_bytes() == wanted, "not a byte of it is lost"
    assert [batch.name for batch in await house.batches()] == ["good.qasm"], "the others go on"
    assert house.names(house.home.inbox) == []
    assert house.nothing_is_claimed


async def test_a_sparse_terabyte_is_refused_without_being_read(house: House) -> None:
    path = house.drop("huge.qasm")
    os.truncate(path, 1 << 40)
    house.age(path)
    await house.settle()
    assert "it has 1,099,511,627,776 bytes; at most 16,777,216 are taken" in house.whys["huge.qasm"]
    assert (house.home.rejected / "huge.qasm").stat().st_size == 1 << 40


async def test_no_more_is_read_at_a_time_than_fits_into_memory(house: House) -> None:
    padding = "x" * 15_000_000
    for number in range(12):
        house.drop(f"{number}.json", f'{{"code": "OPENQASM 3;", "name": "{padding}"}}')
    taken = []
    while done := await house.spool.step():
        taken.append(done)
    assert sum(taken) == 12
    assert max(taken) <= 4


# -------------------------------------------------------------------------------- things that are no files


def link_to(target: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(target)


def make_socket(path: Path) -> None:
    at = os.open(path.parent, os.O_PATH)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"/proc/self/fd/{at}/{path.name}")
    os.close(at)


def make_hard_link(path: Path) -> None:
    twin = path.parent.parent / "twin.qasm"
    twin.write_text(GHZ)
    os.link(twin, path)


def make_world_writable(path: Path) -> None:
    path.write_text(GHZ)
    path.chmod(0o666)


THINGS: list[tuple[str, Callable[[Path], None], str]] = [
    ("link to a file", link_to("../good.qasm"), "it is a symbolic link"),
    ("link to a folder", link_to(".."), "it is a symbolic link"),
    ("link to nothing", link_to("nothing"), "it is a symbolic link"),
    ("link to itself", link_to("thing.qasm"), "it is a symbolic link"),
    ("link to a secret", link_to("/etc/shadow"), "it is a symbolic link"),
    ("FIFO", os.mkfifo, "it is a named pipe, not a file"),
    ("socket", make_socket, "it is a socket, not a file"),
    ("hard link", make_hard_link, "it has 2 names (hard links)"),
    ("open to all", make_world_writable, "everybody may write to it"),
]


@pytest.mark.parametrize(("kind", "make", "reason"), THINGS, ids=[row[0] for row in THINGS])
async def test_what_is_no_plain_file_is_moved_away_unopened(
    house: House, kind: str, make: Callable[[Path], None], reason: str
) -> None:
    path = house.home.inbox / "thing.qasm"
    make(path)
    house.age(path)
    house.drop("good.qasm")
    await house.settle()
    assert reason in house.whys["thing.qasm"]
    assert "\n  " in house.whys["thing.qasm"], "it says what to do"
    assert (house.home.rejected / "thing.qasm").is_symlink() or (house.home.rejected / "thing.qasm").exists()
    assert [batch.name for batch in await house.batches()] == ["good.qasm"]


@only_root
@pytest.mark.parametrize("kind", [stat.S_IFCHR, stat.S_IFBLK])
async def test_a_device_is_moved_away_unopened(house: House, kind: int) -> None:
    path = house.home.inbox / "null.qasm"
    try:
        os.mknod(path, 0o644 | kind, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("this machine lets nobody make devices")
    house.age(path)
    await house.settle()
    assert "it is a device, not a file" in house.whys["null.qasm"]


async def test_a_clever_link_in_rejected_leads_no_reason_into_somebodys_file(
    house: House, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (house.home.inbox / "x.qasm.WHY.txt").symlink_to(victim)
    house.age(house.home.inbox / "x.qasm.WHY.txt")
    await house.settle()
    house.drop("x.qasm", "")
    await house.settle()
    assert victim.read_text() == "precious"
    assert "the file is empty" in house.whys["x-2.qasm"]
    assert (house.home.rejected / "x-2.qasm").read_bytes() == b""


async def test_files_of_one_name_keep_their_own_reasons(house: House) -> None:
    for number in range(60):
        house.drop(f"{number}/same.qasm", "" if number % 2 else b"\xff\xff")
    await house.settle()
    assert len(house.whys) == 60
    for name, why in house.whys.items():
        content = (house.home.rejected / name).read_bytes()
        assert ("the file is empty" if content == b"" else "is not UTF-8") in why


# --------------------------------------------------------------------------------------------------- names

NAMES: list[tuple[str, bytes]] = [
    ("not UTF-8", b"caf\xe9.qasm"),
    ("255 bytes", b"a" * 250 + b".qasm"),
    ("255 bytes of UTF-8", "ü".encode() * 125 + b".qasm"),
    ("newline", b"a\nb.qasm"),
    ("escape sequence", b"\x1b[31mred.qasm"),
    ("leading dash", b"-rf.qasm"),
    ("two dots", b"a..qasm"),
    ("backslash", b"x\\..\\y.qasm"),
    ("spaces", b"  a  .qasm"),
    ("a tilde inside", b"a~b.qasm"),
    ("a status file's name", b"7-x.status.txt.qasm"),
    ("looks like a claim", b"00064f0000000000deadbeef~x.qasm"),
]


@pytest.mark.parametrize(("kind", "name"), NAMES, ids=[row[0] for row in NAMES])
@pytest.mark.parametrize("good", [True, False], ids=["good", "bad"])
async def test_any_name_is_taken_or_refused(house: House, kind: str, name: bytes, good: bool) -> None:
    house.drop(name, GHZ if good else "")
    await house.settle()
    assert house.names(house.home.inbox) == []
    assert house.nothing_is_claimed
    if good:
        (job,) = await house.jobs()
        assert job.name.isprintable()
        (queued,) = house.names(house.home.queue)
        assert queued.startswith("1-")
        assert queued.endswith(".qasm")
    else:
        (why,) = house.whys.values()
        assert "the file is empty" in why
        assert all(line.isprintable() for line in why.splitlines())
        assert len(house.names(house.home.rejected)) == 2


async def test_a_refused_link_with_the_longest_name_still_has_its_reason(house: House) -> None:
    path = house.home.inbox / ("a" * 250 + ".qasm")
    path.symlink_to("nothing")
    house.age(path)
    await house.settle()
    assert len(house.whys) == 1
    assert house.names(house.home.inbox) == []


@pytest.mark.parametrize(
    "name",
    [
        "a.qasm.tmp",
        "a.qasm.part",
        "a.qasm.crdownload",
        "a.qasm~",
        ".a.qasm.swp",
        ".hidden/a.qasm",
        "up.part/a.qasm",
    ],
)
async def test_unfinished_names_wait(house: House, name: str) -> None:
    house.drop(name)
    assert await house.settle() == 0
    assert house.names(house.home.inbox) == [name]
    assert house.spool.pending == 0, "they keep nobody waiting"


# -------------------------------------------------------------------------------------------------- owners


@only_root
async def test_a_file_of_somebody_else_is_not_taken_from_strangers(house: House) -> None:
    path = house.drop("other.qasm")
    os.chown(path, 54321, 54321)
    await house.settle()
    assert (
        "it belongs to uid:54321, whose files are not taken here (spool.owners)" in house.whys["other.qasm"]
    )


@only_root
async def test_the_owner_of_a_file_is_the_user_of_its_jobs(open_spool: OpenHouse) -> None:
    async with open_spool(owners=("any",)) as house:
        path = house.drop("other.qasm")
        os.chown(path, 54321, 54321)
        await house.settle()
        assert [job.user for job in await house.jobs()] == ["uid:54321"]


@only_root
async def test_members_of_a_named_group_are_taken(open_spool: OpenHouse) -> None:
    import grp
    import pwd

    nobody = pwd.getpwnam("nobody")
    group = grp.getgrgid(nobody.pw_gid).gr_name
    async with open_spool(owners=(group,)) as house:
        os.chown(house.drop("theirs.qasm"), nobody.pw_uid, nobody.pw_gid)
        house.drop("ours.qasm")
        await house.settle()
        assert [job.user for job in await house.jobs()] == ["nobody"]
        assert "whose files are not taken here" in house.whys["ours.qasm"]


@only_root
async def test_a_manifest_takes_no_circuit_of_somebody_else(open_spool: OpenHouse) -> None:
    async with open_spool(owners=("any",)) as house:
        circuit = house.drop("theirs.qasm", qasm(7))
        os.chown(circuit, 54321, 54321)
        house.drop("mine.yaml", "circuit: theirs.qasm\n")
        await house.settle()
        assert "theirs.qasm: belongs to uid:54321, and this file to root" in house.whys["mine.yaml"]
        assert [(job.user, job.name) for job in await house.jobs()] == [("uid:54321", "theirs.qasm")]


# ------------------------------------------------------------------------------------------------- folders


async def test_a_folder_that_is_too_deep_is_told_about_and_hides_nothing(house: House) -> None:
    deep = "/".join(["d"] * 40)
    house.drop(f"{deep}/a.qasm")
    house.drop("good.qasm")
    await house.settle()
    assert [batch.name for batch in await house.batches()] == ["good.qasm"]
    assert "this one is deeper" in house.whys["d"]
    assert house.names(house.home.inbox) == [f"{deep}/a.qasm"]


async def test_a_folder_behind_a_link_is_not_looked_into(house: House, tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir()
    (private / "secret.qasm").write_text(GHZ)
    (house.home.inbox / "door").symlink_to(private)
    house.age(house.home.inbox / "door")
    house.drop("m.yaml", "circuit: door/secret.qasm\n")
    await house.settle()
    assert (private / "secret.qasm").exists(), "nothing is moved out of a place behind a link"
    assert "door/secret.qasm is not beside this file in the inbox" in house.whys["m.yaml"]
    assert "it is a symbolic link" in house.whys["door"]
    assert await house.jobs() == []
