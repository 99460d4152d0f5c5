"""Reply files: what was kept is read back, what was cut short is not, and a full disk takes none away."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from scheduler.core.task import Accepted, CostFacts, NotSent, Outcome, RefusalKind, Refused, Unknown
from scheduler.errors import TryAgain
from scheduler.replies import SLOT_BYTES, ReplySlots
from tests.support.disk import fill, small_disk

OUTCOMES: list[Outcome] = [
    Accepted("job-1", "submitted", CostFacts(130_000, 2_000_000, 0), raw='{"ok": true}'),
    Accepted("job-2", "queued", CostFacts()),
    Refused(RefusalKind.BUSY, "slow down", retry_after_s=1.5, raw="429"),
    NotSent("no route", retry_after_s=None),
    Unknown("the connection was reset", raw="half an answ"),
    Unknown("half a character \ud800, a NUL \0 and 1F600 \U0001f600"),
]


@pytest.mark.parametrize("outcome", OUTCOMES, ids=lambda outcome: type(outcome).__name__)
def test_an_outcome_is_read_back_by_the_next_process(tmp_path: Path, outcome: Outcome) -> None:
    ReplySlots(tmp_path).reserve().keep("attempt-1", outcome)
    assert ReplySlots(tmp_path).kept() == {"attempt-1": outcome}


def test_the_largest_outcome_fits_and_keeps_what_matters(tmp_path: Path) -> None:
    slot = ReplySlots(tmp_path).reserve()
    slot.keep("a" * 60, Accepted("\u4e00" * 5000, "\u4e00" * 5000, CostFacts(), raw="\u4e00" * 100_000))
    assert slot.path.stat().st_size == SLOT_BYTES
    (kept,) = ReplySlots(tmp_path).kept().values()
    assert isinstance(kept, Accepted)
    assert kept.provider_job_id == "\u4e00" * 1000


@pytest.mark.parametrize("size", [0, 1, 20, 43, 44, 60])
def test_a_record_that_was_cut_short_is_none(tmp_path: Path, size: int) -> None:
    slot = ReplySlots(tmp_path).reserve()
    slot.keep("attempt-1", OUTCOMES[0])
    os.truncate(slot.path, size)
    slots = ReplySlots(tmp_path)
    assert slots.kept() == {}
    slots.adopt()
    assert slots.reserve().path != slot.path, "a slot without its blocks is not used again"


def test_a_damaged_record_is_none(tmp_path: Path) -> None:
    slot = ReplySlots(tmp_path).reserve()
    slot.keep("attempt-1", OUTCOMES[0])
    data = bytearray(slot.path.read_bytes())
    data[60] ^= 1
    slot.path.write_bytes(data)
    assert ReplySlots(tmp_path).kept() == {}


def test_what_else_lies_in_the_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "slot-mine.reply").write_text("a note")
    (tmp_path / "slot-0007.reply").mkdir()
    slots = ReplySlots(tmp_path)
    slots.adopt()
    assert slots.kept() == {}
    slots.reserve().keep("attempt-1", OUTCOMES[0])
    assert set(ReplySlots(tmp_path).kept()) == {"attempt-1"}


def test_slots_of_the_last_process_are_used_again_only_when_their_answers_are_safe(tmp_path: Path) -> None:
    first = ReplySlots(tmp_path).reserve()
    first.keep("attempt-1", OUTCOMES[0])
    slots = ReplySlots(tmp_path)
    assert slots.reserve().path != first.path
    slots.adopt()
    assert slots.reserve().path == first.path


def test_a_slot_that_is_given_back_keeps_its_answer_until_it_is_used(tmp_path: Path) -> None:
    slots = ReplySlots(tmp_path)
    slot = slots.reserve()
    slot.keep("attempt-1", OUTCOMES[0])
    slot.release()
    assert set(slots.kept()) == {"attempt-1"}
    slots.reserve().keep("attempt-2", OUTCOMES[3])
    assert set(slots.kept()) == {"attempt-2"}


def test_a_disk_that_fills_up_between_request_and_reply_loses_no_answer(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "1m") as disk:
        fill_up_between_request_and_reply(disk)


def fill_up_between_request_and_reply(disk: Path) -> None:
    slots = ReplySlots(disk / "replies")
    slot = slots.reserve()
    ballast = fill(disk)
    slot.keep("attempt-1", OUTCOMES[0])
    assert ReplySlots(disk / "replies").kept() == {"attempt-1": OUTCOMES[0]}
    with pytest.raises(TryAgain, match="no room for a provider's reply"):
        slots.reserve()
    assert len(list((disk / "replies").iterdir())) == 1, "what could not be reserved leaves nothing"
    ballast.unlink()
    slots.reserve().keep("attempt-2", OUTCOMES[1])
