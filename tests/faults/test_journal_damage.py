"""A damaged intent journal says of no attempt that it was never sent: a person compares first.

Only what stands behind the last newline is what a crash leaves. Bit rot, an editor or a lost page leave
something else, and the attempts whose lines they took may have been sent and billed.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from scheduler.core.lifecycle import AttemptState
from tests.support.fault_ground import Ground
from tests.support.stores import attempt_in

Spoil = Callable[[Path], object]


def bit_rot(path: Path) -> None:
    """One bit of the second of three lines."""
    found = bytearray(path.read_bytes())
    found[found.index(b"\n") + 20] ^= 0x01
    path.write_bytes(found)


def lost_page(path: Path) -> None:
    found = path.read_bytes()
    start = found.index(b"\n") + 1
    path.write_bytes(found[:start] + b"\0" * 40 + found[start + 40 :])


def editor(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))


def directory_in_its_place(path: Path) -> None:
    path.unlink()
    path.mkdir()


def link_in_its_place(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def file_in_the_folders_place(path: Path) -> None:
    shutil.rmtree(path.parent)
    path.parent.write_text("")


async def three_sent(ground: Ground) -> list[str]:
    """Three attempts that left and have no answer; returns their names."""
    now_us = ground.clock.now_us()
    names = []
    for _ in range(3):
        case = await ground.store.write(lambda tx: attempt_in(tx, AttemptState.SUBMITTING))  # type: ignore[arg-type]
        intent = await ground.store.write(lambda tx, c=case: tx.number_intent(c.attempt_id, now_us))  # type: ignore[misc]
        ground.journal.append(intent)
        names.append(case.attempt_id)
    return names


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (bit_rot, "line 2 of the intent journal is damaged"),
        (lost_page, "line 2 of the intent journal is damaged"),
        (editor, "line 1 of the intent journal is damaged"),
        (directory_in_its_place, "cannot be read"),
        (link_in_its_place, "cannot be read"),
        (file_in_the_folders_place, "cannot be read"),
    ],
)
async def test_a_damaged_journal_stops_paid_submission_and_calls_nothing_unsent(
    ground: Ground, spoil: Spoil, told: str
) -> None:
    names = await three_sent(ground)
    path = ground.home.journal / "intents-000001.log"
    spoil(path)
    left = path.read_bytes() if path.is_file() else None
    said = await ground.again()
    assert any(told in line for line in said), said
    states = dict(await ground.rows("SELECT id, state FROM attempts"))
    assert {states[name] for name in names} == {"in_doubt"}
    assert [code for (code,) in await ground.rows("SELECT code FROM pauses")] == ["journal"]
    if left is not None:
        assert path.read_bytes() == left, "the file is evidence"


async def test_after_a_new_epoch_the_damaged_file_stays_and_is_not_looked_at_any_more(ground: Ground) -> None:
    await three_sent(ground)
    path = ground.home.journal / "intents-000001.log"
    bit_rot(path)
    left = path.read_bytes()
    await ground.again()
    await ground.ask("backends_resume", backend="coda", gate="journal", reason="compared with the invoice")
    said = await ground.again()
    assert not any("stopped" in line for line in said), said
    assert await ground.rows("SELECT code FROM pauses") == []
    assert path.read_bytes() == left
