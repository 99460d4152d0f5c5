"""`window`, `not_before`, `deadline`: instants, or a refusal with file and line."""

# ruff: noqa: E501 - the rows of a table stay on one line

from __future__ import annotations

import json
from datetime import datetime, time
from zoneinfo import ZoneInfo

import pytest

from scheduler.core.job import JobSpec
from scheduler.core.timing import to_us
from scheduler.core.windows import Hours
from scheduler.errors import SpecError
from scheduler.intake.document import Defaults, read_document

BERLIN = ZoneInfo("Europe/Berlin")
NIGHT = Hours("night", time(22), time(6), BERLIN)
SUNDAYS = Hours("sundays", time(2), time(4), BERLIN, frozenset({"sun"}))
DEFAULTS = Defaults(hours={"night": NIGHT, "sundays": SUNDAYS}, zone=BERLIN)
CODE = "OPENQASM 3.0;\nqubit q;\n"


def us(text: str) -> int:
    return to_us(datetime.fromisoformat(text.replace("Z", "+00:00")))


NOW = us("2026-11-25T12:00Z")  # a Wednesday


def read(name: str, text: str, defaults: Defaults = DEFAULTS, now_us: int | None = NOW) -> JobSpec:
    def no_file(_path: str) -> bytes:
        raise SpecError("there is none")

    return read_document(name, text.encode(), defaults, no_file, now_us).jobs[0]


def header(*lines: str) -> str:
    return "\n".join(["// /// nightshot", *(f"// {line}" for line in lines), "// ///", CODE])


@pytest.mark.parametrize(
    ("written", "instant"),
    [
        ("2026-11-30T06:00", "2026-11-30T05:00Z"),  # on the wall of the configured zone
        ("2026-11-30 06:00", "2026-11-30T05:00Z"),
        ("2026-11-30T06:00:30", "2026-11-30T05:00:30Z"),
        ("2026-11-30T06:00Z", "2026-11-30T06:00Z"),
        ("2026-11-30T06:00+01:00", "2026-11-30T05:00Z"),
        ("2026-11-30T06:00-05:00", "2026-11-30T11:00Z"),
        ("2027-07-01T06:00", "2027-07-01T04:00Z"),
        ("2027-03-28T02:30", "2027-03-28T01:00Z"),  # skipped: the instant of the jump
        ("2027-10-31T02:30", "2027-10-31T00:30Z"),  # shown twice: the first time
        ("2027-10-31T02:30+01:00", "2027-10-31T01:30Z"),  # the other one, by its offset
    ],
)
@pytest.mark.parametrize("field", ["not_before", "deadline"])
def test_a_time_is_read_as_an_instant(field: str, written: str, instant: str) -> None:
    job = read("a.json", json.dumps({"code": CODE, field: written}))
    assert getattr(job, f"{field}_us") == us(instant)
    assert getattr(read("a.qasm", header(f'{field} = "{written}"')), f"{field}_us") == us(instant)


def test_a_date_of_toml_needs_no_quotes() -> None:
    job = read(
        "a.toml",
        f"deadline = 2026-11-30T06:00:00\nnot_before = 2026-11-29T06:00:00+01:00\ncode = '''{CODE}'''",
    )
    assert (job.deadline_us, job.not_before_us) == (us("2026-11-30T05:00Z"), us("2026-11-29T05:00Z"))


def test_a_window_is_one_that_is_configured() -> None:
    assert read("a.qasm", header('window = "night"')).window == "night"
    assert read("a.qasm", CODE).window == ""


REFUSED = [
    (
        "deadline",
        "2026-11-25T11:59Z",
        "deadline: 2026-11-25T11:59:00.000Z is over (it is 2026-11-25T12:00:00.000Z)",
    ),
    (
        "deadline",
        "2026-11-25T12:00Z",
        "deadline: 2026-11-25T12:00:00.000Z is over (it is 2026-11-25T12:00:00.000Z)",
    ),
    (
        "deadline",
        "tomorrow",
        "deadline: 'tomorrow' is no date and time; write it like '2026-11-30T06:00', or with an offset, '2026-11-30T06:00+01:00'",
    ),
    ("deadline", "06:00", "deadline: '06:00' is no date and time; write it like"),
    ("deadline", "2026-11-30", "deadline: '2026-11-30' is no date and time; write it like"),
    ("deadline", "30.11.2026 06:00", "is no date and time; write it like"),
    ("deadline", "2026-W49-1T06:00", "is no date and time; write it like"),
    ("deadline", "2026-11-31T06:00", "deadline: '2026-11-31T06:00' is no date and time that exists"),
    ("deadline", "2026-11-30T24:00", "is no date and time that exists"),
    ("deadline", "2026-11-30T06:00+25:00", "is no date and time that exists"),
    ("deadline", "9999-12-31T23:59-12:00", "is beyond every calendar"),
    ("deadline", 1796000000, "deadline: 1796000000 is not text; put it between quotes"),
    ("deadline", None, "deadline: null is not text"),
    ("not_before", "soon", "not_before: 'soon' is no date and time; write it like"),
    ("not_before", "2026-02-29T06:00", "not_before: '2026-02-29T06:00' is no date and time that exists"),
    ("window", "nihgt", "window: no window is called 'nihgt', did you mean 'night'?"),
    ("window", "lunch", "window: no window is called 'lunch'; there are: night, sundays"),
    ("window", True, "window: true is not text"),
    ("window", "", "window: empty"),
]


@pytest.mark.parametrize(("field", "value", "sentence"), REFUSED)
def test_what_cannot_be_meant_is_refused_with_its_line(field: str, value: object, sentence: str) -> None:
    with pytest.raises(SpecError) as refused:
        read("a.json", json.dumps({"code": CODE, field: value}, indent=1))
    assert str(refused.value).startswith("a.json:3: ")
    assert sentence in str(refused.value)


def test_a_header_and_a_member_of_a_batch_are_refused_with_their_lines() -> None:
    with pytest.raises(SpecError, match=r"^a\.qasm:3: deadline: .* is over"):
        read("a.qasm", header("shots = 10", 'deadline = "2026-11-01T06:00"'))
    batch = {"jobs": [{"code": CODE}, {"code": CODE, "deadline": "2026-11-01T06:00"}]}
    with pytest.raises(SpecError, match=r"^a\.json:8: deadline: .* is over"):
        read("a.json", json.dumps(batch, indent=1))


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        (
            {"not_before": "2026-11-30T06:00", "deadline": "2026-11-30T05:00"},
            "is not after not_before, 2026-11-30T05:00",
        ),
        ({"not_before": "2026-11-30T06:00", "deadline": "2026-11-30T06:00"}, "is not after not_before"),
        (
            {"window": "night", "deadline": "2026-11-25T20:00"},
            "window night opens at 2026-11-25T21:00:00.000Z",
        ),
        ({"window": "sundays", "deadline": "2026-11-28T12:00"}, "window sundays opens at 2026-11-29T01:00"),
        (
            {"window": "sundays", "not_before": "2026-11-29T04:00", "deadline": "2026-12-05T12:00"},
            "opens at 2026-12-06",
        ),
    ],
)
def test_a_deadline_that_cannot_be_met_is_said_at_once(fields: dict[str, str], sentence: str) -> None:
    with pytest.raises(SpecError) as refused:
        read("a.json", json.dumps({"code": CODE, **fields}))
    assert "deadline: " in str(refused.value)
    assert sentence in str(refused.value)


def test_a_deadline_that_can_be_met_is_taken() -> None:
    fields = {"window": "sundays", "not_before": "2026-11-29T02:30", "deadline": "2026-11-29T03:00"}
    assert read("a.json", json.dumps({"code": CODE, **fields})).deadline_us == us("2026-11-29T02:00Z")


def test_without_any_window_the_refusal_says_where_to_write_one() -> None:
    with pytest.raises(SpecError, match=r"no window is configured, so none is called 'night': add \[windows"):
        read("a.qasm", header('window = "night"'), Defaults())


def test_without_a_clock_nothing_is_past_and_a_contradiction_is_one() -> None:
    assert read("a.qasm", header('deadline = "2001-01-01T00:00Z"'), now_us=None).deadline_us is not None
    text = header('deadline = "2001-01-01T00:00Z"', 'not_before = "2001-01-02T00:00Z"')
    with pytest.raises(SpecError, match="is not after not_before"):
        read("a.qasm", text, now_us=None)


def test_the_corrected_header_keeps_a_date_of_toml() -> None:
    with pytest.raises(SpecError) as refused:
        read("a.qasm", header("shotz = 7", "deadline = 2026-11-30T06:00:00+01:00"))
    assert 'deadline = "2026-11-30 06:00:00+01:00"' in refused.value.hint
    assert read("a.qasm", header('deadline = "2026-11-30 06:00:00+01:00"')).deadline_us == us(
        "2026-11-30T05:00Z"
    )
