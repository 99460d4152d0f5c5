"""How a job is named: `12`, or `12.3` for the third of batch 12."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from scheduler.core.job import BatchSpec, Earlier, JobRef, JobSpec, job_label
from scheduler.core.rules import BackendRules
from scheduler.core.waits import Rule


@pytest.mark.parametrize(
    ("text", "ref"),
    [
        ("12", JobRef(12)),
        ("12.3", JobRef(12, 3)),
        ("1.1", JobRef(1, 1)),
        ("999999999999999999", JobRef(999999999999999999)),
    ],
)
def test_a_name_is_read_and_written_the_same(text: str, ref: JobRef) -> None:
    assert JobRef.parse(text) == ref
    assert str(ref) == text


@pytest.mark.parametrize(
    "text",
    ["", "0", "12.0", "012", "-1", "12.", ".3", "12.3.4", "a", "1e3", " 12", "12 ", "12\n", "٣", "9" * 19],
)
def test_what_is_no_name_is_none(text: str) -> None:
    assert JobRef.parse(text) is None


def test_the_only_job_of_a_batch_has_the_batchs_name() -> None:
    assert job_label(12, 1, 1) == "12"
    assert job_label(12, 3, 5) == "12.3"


def test_a_batch_is_queued_again_when_one_of_its_jobs_says_so() -> None:
    once, again = (JobSpec("a", "x", "qiskit", "local:simulator", again=a) for a in (False, True))
    assert not BatchSpec("b", (once, once), "d").again
    assert BatchSpec("b", (once, again), "d").again


@pytest.mark.parametrize(
    ("shots", "told"), [(9, "below the 10"), (10, None), (100, None), (101, "above the 100")]
)
def test_shots_out_of_bounds_are_refused_with_the_bound(shots: int, told: str | None) -> None:
    rules = BackendRules("coda:iqm", "coda", "coda", True, 1, min_shots=10, max_shots=100)
    refused = rules.refuse_shots(shots)
    assert (told in refused) if told and refused else refused is told
    assert BackendRules("a:b", "a", "coda", True, 1).refuse_shots(10**9) is None


def test_a_job_on_another_backend_is_the_same_in_everything_else() -> None:
    job = JobSpec(
        name="bell",
        code="OPENQASM 3.0;",
        framework="openqasm3",
        backend="simulator",
        shots=7,
        accept_overage=True,
        execution_hint="run_batch",
        priority=3,
        project="p",
        tags=("t",),
        source_name="bell.qasm",
        again=True,
        cap_microusd=2_000_000,
        retries=2,
        window="night",
        not_before_us=3,
        deadline_us=4,
        after=(Earlier(Rule.OK, "calibrate", 1),),
    )
    # A field that nobody gives a value here could get lost unseen.
    assert [f.name for f in fields(job) if getattr(job, f.name) == f.default] == []
    assert job.on("local:simulator") == replace(job, backend="local:simulator")
