"""`after`: which jobs are meant, and what can never start is refused with its line."""

# ruff: noqa: E501 - the rows of a table stay on one line

from __future__ import annotations

import json
import random

import pytest

from scheduler.core.job import BatchSpec, Earlier, JobRef
from scheduler.core.waits import Rule
from scheduler.errors import SpecError
from scheduler.intake import after
from scheduler.intake.document import Defaults, read_document

CODE = "OPENQASM 3.0;\nqubit q;\n"


def read(name: str, text: str) -> BatchSpec:
    def no_file(_path: str) -> bytes:
        raise SpecError("there is none")

    return read_document(name, text.encode(), Defaults(), no_file)


def manifest(**waits: list[object]) -> str:
    """Jobs by name, each with its `after`; a line of its own for every one."""
    jobs = [
        json.dumps({"name": name, "code": CODE, **({"after": a} if a else {})}) for name, a in waits.items()
    ]
    return '{"jobs": [\n' + ",\n".join(jobs) + "\n]}"


def refusal(name: str, text: str) -> str:
    with pytest.raises(SpecError) as refused:
        read(name, text)
    return str(refused.value)


def meant(batch: BatchSpec, job: int) -> list[tuple[str, int | None, str | None]]:
    return [(e.rule.value, e.ordinal, str(e.ref) if e.ref else None) for e in batch.jobs[job - 1].after]


def test_a_name_of_the_same_file_is_a_place_in_it_earlier_or_later() -> None:
    batch = read("a.json", manifest(a=["c"], b=["a", "any:c"], c=[]))
    assert meant(batch, 1) == [("ok", 3, None)]
    assert meant(batch, 2) == [("ok", 1, None), ("any", 3, None)]
    assert meant(batch, 3) == []


def test_a_number_is_a_job_that_is_queued_already_and_keeps_its_line() -> None:
    batch = read("a.json", manifest(a=[], b=["12", "any:12.3", "ok:7.1"]))
    assert meant(batch, 2) == [("ok", None, "12"), ("any", None, "12.3"), ("ok", None, "7.1")]
    assert {e.line for e in batch.jobs[1].after} == {3}


def test_a_name_that_looks_like_a_number_or_a_rule_is_a_name_first() -> None:
    batch = read("a.json", manifest(**{"12": [], "any:x": [], "b": ["12", "ok:any:x"]}))
    assert meant(batch, 3) == [("ok", 1, None), ("ok", 2, None)]


def test_a_header_names_queued_jobs_only() -> None:
    text = f'// /// nightshot\n// shots = 10\n// after = ["12.3"]\n// ///\n{CODE}'
    (job,) = read("a.qasm", text).jobs
    assert job.after == (Earlier(Rule.OK, "12.3", None, JobRef(12, 3), 3),)
    assert refusal("a.qasm", text.replace("12.3", "b")) == (
        "a.qasm:3: after: no job of this file is called 'b'; one that is queued already is named by its number, like '12.3'"
    )
    assert "a.qasm:3: after: 'a.qasm' is this job itself" in refusal("a.qasm", text.replace("12.3", "a.qasm"))


def test_what_is_beside_jobs_holds_for_each_of_them() -> None:
    batch = read(
        "a.json", json.dumps({"after": ["12"], "code": CODE, "jobs": [{"name": "a"}, {"name": "b"}]})
    )
    assert meant(batch, 1) == meant(batch, 2) == [("ok", None, "12")]


REFUSED = [
    (manifest(a=["a"]), "a.json:2: after: 'a' is this job itself; it would never start"),
    (
        manifest(a=["b"], b=["a"]),
        "a.json:2: after: 'a' → 'b' → 'a' is a circle: none of them could ever start",
    ),
    (
        manifest(x=["c"], a=[], b=["a", "d"], c=["b"], d=["any:c"]),
        "a.json:4: after: 'b' → 'd' → 'c' → 'b' is a circle",
    ),
    (
        manifest(calibrate=[], b=["calibrat"]),
        "a.json:3: after: no job of this file is called 'calibrat', did you mean 'calibrate'?",
    ),
    (
        manifest(a=[], b=["zebra"]),
        "a.json:3: after: no job of this file is called 'zebra'; one that is queued already is named by its number",
    ),
    (
        manifest(measure=["mesure"], b=[]),
        "a.json:2: after: no job of this file is called 'mesure'; one that is",
    ),
    (manifest(a=[], b=["a", "any:a"]), "a.json:3: after: 'a' is named twice; keep one"),
    (manifest(a=["12", "12"]), "a.json:2: after: '12' is named twice; keep one"),
    (manifest(a=[3]), "a.json:2: after: 3 is not text; put it between quotes"),
    (manifest(a=[""]), "a.json:2: after: empty"),
    (manifest(a=["b/c"]), "a.json:2: after: 'b/c' has a slash, a backslash or a control character"),
    (manifest(a=[str(n) for n in range(1, 102)]), "a.json:2: after: more than 100 entries"),
    (json.dumps({"code": CODE, "after": "12"}), "a.json:1: after: '12' is not a list of texts"),
    (json.dumps({"code": CODE, "after": {"any": "12"}}), "a.json:1: after: a table is not a list of texts"),
    (
        json.dumps({"jobs": [{"name": "a", "code": CODE}] * 2 + [{"code": CODE, "after": ["a"]}]}, indent=1),
        "after: 2 jobs of this file are called 'a': give each a name of its own",
    ),
]


@pytest.mark.parametrize(("text", "sentence"), REFUSED)
def test_what_can_never_start_is_refused_with_its_line(text: str, sentence: str) -> None:
    assert sentence in refusal("a.json", text)


def test_every_line_of_jsonl_is_named() -> None:
    lines = [{"name": "a", "code": CODE}, {"name": "b", "code": CODE, "after": ["c"]}]
    assert refusal("a.jsonl", "\n".join(map(json.dumps, lines))).startswith("a.jsonl:2: after: no job")


def test_several_problems_are_told_at_once() -> None:
    told = refusal("a.json", manifest(a=["a"], b=["x"], c=["y"]))
    assert [line.split(":")[1] for line in told.splitlines()] == ["2", "3", "4"]


def test_a_long_chain_is_no_circle_and_is_read_quickly() -> None:
    waits: dict[str, list[object]] = {f"j{n}": [f"j{n - 1}"] if n else [] for n in range(20_000)}
    batch = read("a.json", manifest(**waits))
    assert meant(batch, 20_000) == [("ok", 19_999, None)]
    waits["j0"] = ["j19999"]
    assert "is a circle" in refusal("a.json", manifest(**waits))


def test_too_many_entries_of_one_file_are_refused() -> None:
    names = [f"j{n}" for n in range(100)]
    waits: dict[str, list[object]] = {name: [] for name in names}
    waits |= {f"k{n}": list(names) for n in range(after.ENTRIES_MAX // 100 + 1)}
    assert "100,100 entries in one file; at most 100,000 are kept" in refusal("a.json", manifest(**waits))


@pytest.mark.parametrize("seed", range(20))
def test_forwards_there_is_never_a_circle_and_backwards_there_is_one(seed: int) -> None:
    choose = random.Random(seed)
    waits: dict[str, list[object]] = {
        f"j{n}": [f"j{m}" for m in range(n) if choose.random() < 0.3] for n in range(30)
    }
    read("a.json", manifest(**waits))
    late = max(n for n in range(30) if waits[f"j{n}"])
    early = int(str(waits[f"j{late}"][0])[1:])
    waits[f"j{early}"] = [*waits[f"j{early}"], f"j{late}"]
    assert "is a circle" in refusal("a.json", manifest(**waits))
