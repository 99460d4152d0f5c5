"""Result folders: whole or not there, the same when written twice, and never over somebody else's file."""

from __future__ import annotations

import csv
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scheduler.core.lifecycle import AttemptState, JobState
from scheduler.core.records import AttemptRecord, EndedJob, JobRecord, ResultRecord
from scheduler.core.settlement import Booked
from scheduler.core.spooling import WHOLE_MARK
from scheduler.core.task import BIT_0_FIRST, CostFacts
from scheduler.intake.spool import queue_name
from scheduler.results import AcceptedFiles, Folders, counts_csv, results_document, safe_name
from tests.support.disk import fill, small_disk

NIGHT = "2026-11-22"
JOB = JobRecord(
    job_id=7,
    batch_id=12,
    ordinal=1,
    batch_size=1,
    name="bell.py",
    user="ada",
    project=None,
    tags=("demo",),
    state=JobState.COMPLETED,
    backend="coda:iqm",
    shots=100,
    framework="qiskit",
    priority=0,
    source_name="bell.py",
    code_sha256="0" * 64,
    created_us=1_795_000_000_000_000,
    ended_us=1_795_000_100_000_000,
    estimate_microusd=445_000,
    cost_microusd=None,
    wait_code=None,
    wait_until_us=None,
    reason=None,
)
ATTEMPT = AttemptRecord(
    attempt_id="attempt-1",
    ordinal=1,
    state=AttemptState.SETTLED,
    provider_job_id="9f",
    provider_status="completed",
    prepared_us=1_795_000_000_000_000,
    sent_us=1_795_000_000_000_000,
    ended_us=1_795_000_100_000_000,
    hold_microusd=445_000,
    hold_state="posted",
    cost=CostFacts(445_000, 1_500_000, 0),
    reason=None,
    raw_reply='{"job_id": "9f"}',
    booked=Booked("posted", 445_000, 0, "the cost named in the reply"),
)
RESULT = ResultRecord(
    counts_json='[{"00": 48, "11": 52}]',
    bit_order=BIT_0_FIRST,
    shots_returned=(100,),
    raw='{"results": {"00": 48, "11": 52}}',
    facts=(("simulator", "Aer"),),
    received_us=1_795_000_100_000_000,
)
ENDED = EndedJob(JOB, "bell.py", "import qiskit\n", (ATTEMPT,), (RESULT,), "$0.445 from Coda")


def ended(**job: Any) -> EndedJob:
    return replace(ENDED, job=replace(JOB, **job))


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return Folders(tmp_path / "results", tmp_path / "rejected")


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_folder_has_counts_results_source_and_the_raw_answers(folders: Folders) -> None:
    folders.write(ENDED, NIGHT)
    assert set(tree(folders.results)) == {
        f"{NIGHT}/12 bell.py/{name}"
        for name in ("bell.py", "counts.csv", "results.json", "raw/attempt-1.submit.txt", "raw/status.txt")
    }
    told = json.loads((folders.results / NIGHT / "12 bell.py/results.json").read_text())
    assert told["shots_asked"] == 100
    assert told["shots_returned"] == [100]
    assert told["shots_match"] is True
    assert told["bit_order"] == BIT_0_FIRST
    assert told["cost"]["cost"] is None
    assert told["cost"]["said"] == "unknown", "unknown is never $0.00"
    assert told["cost"]["replies"] == [
        {
            "attempt": "attempt-1",
            "estimated_cost": "0.445",
            "credits_applied": "1.5",
            "overage": "0.00",
            "charge": "charged",
            "evidence": "$0.445, the cost named in the reply",
        }
    ]


@pytest.mark.parametrize(
    ("returned", "match"), [((100,), True), ((99,), False), ((100, 1), False), ((), None)]
)
def test_shots_that_do_not_match_are_flagged(returned: tuple[int, ...], match: bool | None) -> None:
    told = results_document(replace(ENDED, results=(replace(RESULT, shots_returned=returned),)))
    assert told["shots_match"] is match


def test_counts_are_a_table_most_frequent_first() -> None:
    rows = list(
        csv.reader(counts_csv((replace(RESULT, counts_json='[{"0": 1, "1": 9}, {"+": 2}]'),)).splitlines())
    )
    assert rows == [["circuit", "bits", "count"], ["1", "1", "9"], ["1", "0", "1"], ["2", "+", "2"]]


def test_writing_again_after_a_crash_changes_nothing(folders: Folders) -> None:
    job = ended(state=JobState.REJECTED, reason="refused by coda: too many qubits")
    folders.write(job, NIGHT)
    before = tree(folders.results), tree(folders.rejected)
    half = folders.results / NIGHT / ".12 bell.py.tmp"
    half.mkdir()
    (half / "results.json").write_text("{")
    folders.write(job, NIGHT)
    assert (tree(folders.results), tree(folders.rejected)) == before


def test_a_folder_that_cannot_be_written_leaves_no_half(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "1m") as disk:
        folders = Folders(disk / "results", disk / "rejected")
        (disk / "results" / NIGHT).mkdir(parents=True)
        ballast = fill(disk, 8 * 4096)
        with pytest.raises(OSError, match="No space left"):
            folders.write(replace(ENDED, code="x" * 100_000), NIGHT)
        assert list((disk / "results" / NIGHT).iterdir()) == []
        ballast.unlink()
        folders.write(ENDED, NIGHT)
        assert [path.name for path in (disk / "results" / NIGHT).iterdir()] == ["12 bell.py"]


def test_results_of_an_earlier_database_are_moved_aside(folders: Folders) -> None:
    """A home that was given a new database counts from 1 again; what stands under 1 was paid for."""
    for number in range(3):
        folders.write(ended(created_us=JOB.created_us + number * 1_000_000), NIGHT)
    assert sorted(path.name for path in (folders.results / NIGHT).iterdir()) == [
        "12 bell.py",
        "12 bell.py.earlier-1",
        "12 bell.py.earlier-2",
    ]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"provenance": 3}'])
def test_a_folder_that_says_nothing_of_its_job_is_moved_aside(folders: Folders, content: str) -> None:
    folder = folders.results / NIGHT / "12 bell.py"
    folder.mkdir(parents=True)
    (folder / "results.json").write_text(content)
    folders.write(ENDED, NIGHT)
    assert (folders.results / NIGHT / "12 bell.py.earlier-1/results.json").read_text() == content


@pytest.mark.parametrize(
    "name",
    ["../../etc/x", "/etc/passwd", "..", ".hidden", "", "a\nb", "ü" * 300, "x" * 5000, "\udce9.py", "a/b"],
)
def test_no_name_leaves_the_folder(folders: Folders, name: str) -> None:
    folders.write(ended(name=name, source_name=name or "x"), NIGHT)
    (made,) = (folders.results / NIGHT).iterdir()
    assert made.name.startswith("12 ")
    assert len(os.fsencode(made.name)) < 100
    assert safe_name(name).isascii()


def test_half_a_character_from_a_provider_keeps_no_result_back(folders: Folders) -> None:
    folders.write(replace(ended(reason="\ud800"), results=(replace(RESULT, raw="\udc80\ud800"),)), NIGHT)
    assert (folders.results / NIGHT / "12 bell.py/raw/status.txt").read_text() == "\\udc80\\ud800"


# -------------------------------------------------------------------------------------------- rejected jobs

REJECTED = ended(state=JobState.REJECTED, reason="refused by coda: too many qubits")


def test_a_job_that_can_never_run_has_its_reason_in_rejected_too(folders: Folders) -> None:
    folders.write(REJECTED, NIGHT)
    assert (folders.rejected / "12-bell.py").read_text() == ENDED.code
    why = (folders.rejected / "12-bell.py.WHY.txt").read_text()
    assert "refused by coda: too many qubits" in why
    assert "Job 12 (bell.py) was rejected" in why


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("line 225: 'q' is not defined", "12-bell.py:225: 'q' is not defined"),
        ("refused by local: line 3: no gate 'x'", "refused by local: 12-bell.py:3: no gate 'x'"),
        ("40 qubits; at most 24 on line 7: really", "40 qubits; at most 24 on line 7: really"),
        (None, "no reason was given"),
    ],
)
def test_a_line_is_told_with_the_file_it_is_in(folders: Folders, reason: str | None, told: str) -> None:
    folders.write(ended(state=JobState.REJECTED, reason=reason), NIGHT)
    assert f"\n\n{told}\n\n" in (folders.rejected / "12-bell.py.WHY.txt").read_text()


@pytest.mark.parametrize("name", ["12-bell.py", "12-bell.py.WHY.txt"])
def test_a_link_in_the_way_is_not_followed(folders: Folders, tmp_path: Path, name: str) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    folders.rejected.mkdir()
    (folders.rejected / name).symlink_to(victim)
    folders.write(REJECTED, NIGHT)
    assert victim.read_text() == "precious"
    assert (folders.rejected / "12-bell-2.py").read_text() == ENDED.code


def test_a_pipe_in_the_way_keeps_nobody_waiting(folders: Folders) -> None:
    folders.rejected.mkdir()
    os.mkfifo(folders.rejected / "12-bell.py")
    folders.write(REJECTED, NIGHT)
    assert (folders.rejected / "12-bell-2.py").read_text() == ENDED.code


def test_a_file_of_the_same_name_is_not_overwritten(folders: Folders) -> None:
    folders.rejected.mkdir()
    (folders.rejected / "12-bell.py").write_text("somebody's")
    folders.write(REJECTED, NIGHT)
    assert (folders.rejected / "12-bell.py").read_text() == "somebody's"
    assert (folders.rejected / "12-bell-2.py").read_text() == ENDED.code


# -------------------------------------------------------------------------------------------------- queue


@pytest.fixture
def queue(tmp_path: Path) -> Path:
    folder = tmp_path / "queue"
    folder.mkdir()
    return folder


def accept(folder: Path, name: str) -> Path:
    path = folder / name
    path.write_text("code")
    path.chmod(0o444)
    return path


def test_the_line_stands_beside_the_file_and_goes_with_it(queue: Path) -> None:
    accept(queue, "12-bell.py")
    accept(queue, "13-ghz.qasm")
    files = AcceptedFiles(queue)
    assert files.batches() == [12, 13]
    files.label(12, "12: 1 waiting")
    assert (queue / "12-bell.py.status.txt").read_text() == "12: 1 waiting\n"
    assert files.batches() == [12, 13]
    files.remove(12)
    assert [path.name for path in queue.iterdir()] == ["13-ghz.qasm"]


def test_a_file_that_somebody_dropped_into_the_queue_by_mistake_is_not_deleted(queue: Path) -> None:
    (queue / "2024-data.qasm").write_text("a year of work")
    (queue / "2024-folder").mkdir()
    (queue / "2024-folder/b.qasm").write_text("a year of work")
    files = AcceptedFiles(queue)
    files.batches()
    files.remove(2024)
    assert (queue / "2024-data.qasm").read_text() == "a year of work"
    assert (queue / "2024-folder/b.qasm").read_text() == "a year of work"


def test_a_manifest_with_its_circuits_goes_as_a_whole(queue: Path) -> None:
    (queue / "12-m.yaml/sub").mkdir(parents=True)
    accept(queue, "12-m.yaml/sub/a.qasm")
    (queue / f"12-m.yaml/{WHOLE_MARK}").write_text("m.yaml")
    files = AcceptedFiles(queue)
    files.batches()
    files.label(12, "12: 2 running")
    files.batches()
    files.remove(12)
    assert list(queue.iterdir()) == []


def test_a_link_instead_of_a_status_line_is_not_followed(queue: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    accept(queue, "12-bell.py")
    (queue / "12-bell.py.status.txt").symlink_to(victim)
    (queue / ".12-bell.py.status.txt.tmp").symlink_to(victim)
    files = AcceptedFiles(queue)
    files.batches()
    files.label(12, "12: 1 waiting")
    assert victim.read_text() == "precious"
    assert (queue / "12-bell.py.status.txt").read_text() == "12: 1 waiting\n"


def test_a_folder_that_is_gone_is_empty(tmp_path: Path) -> None:
    assert AcceptedFiles(tmp_path / "queue").batches() == []


def test_the_longest_name_can_still_be_labelled(queue: Path) -> None:
    name = queue_name(1_234_567, "a" * 250 + ".qasm")
    accept(queue, name)
    files = AcceptedFiles(queue)
    files.batches()
    files.label(1_234_567, "waiting")
    assert (queue / f"{name}.status.txt").exists()
