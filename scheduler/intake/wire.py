"""The one strict model behind every kind of job file, and its errors in words.

pydantic lives here and nowhere further in: what passes becomes the frozen dataclasses of `core/job.py`.
Strict means that nothing is converted: `true` is not a number, "100" is not 100, an unknown key is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from scheduler.core.job import AUTO_HINT, EXECUTION_HINTS, FRAMEWORKS, MOST_RETRIES, OPENQASM
from scheduler.intake.problems import did_you_mean, shortened, shown
from scheduler.intake.when import FORM

NAME_LENGTH_MAX = 200
SHOTS_MAX = 1_000_000
AFTER_MAX = 100

# Names end in paths, terminals and pages: no separators, no control characters, nothing that reverses text.
_LABEL = r"^[^\x00-\x1f\x7f-\x9f/\\\u2028-\u202e\u2066-\u2069]+$"

Framework = Literal["qiskit", "cirq", "pennylane", "braket", "pyquil", "cudaq", "openqasm3", "openqasm2"]
ExecutionHint = Literal["program_set", "run_batch", "auto"]
#: Read exactly by core.money; written as text, because a bare number would have lost its exact value.
_MONEY = r"^\$?[0-9]{1,9}(\.[0-9]{1,6})?( ?USD)?$"
_MOMENT = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?"
    r"(Z|[+-][0-9]{2}:[0-9]{2})?$"
)


def _moment_text(value: object) -> object:
    """TOML has dates and times of its own: the same as if they had been written between quotes."""
    return value.isoformat() if isinstance(value, datetime) else value


Moment = Annotated[str, Field(pattern=_MOMENT), BeforeValidator(_moment_text)]
EarlierText = Annotated[str, Field(min_length=1, max_length=NAME_LENGTH_MAX + 4, pattern=_LABEL)]
Label = Annotated[str, Field(min_length=1, max_length=100, pattern=_LABEL)]
Tag = Annotated[str, Field(min_length=1, max_length=40, pattern=_LABEL)]


class JobFields(BaseModel):
    """What may be said about a job. Absent text is "" and an absent number 0: neither is a legal value."""

    model_config = ConfigDict(strict=True, extra="forbid")

    name: Annotated[str, Field(min_length=1, max_length=NAME_LENGTH_MAX, pattern=_LABEL)] = Field(
        "", description="What the job is called in tables and folders. Default: the name of its file."
    )
    code: Annotated[str, Field(min_length=1)] = Field(
        "", description="The circuit as text. Exactly one of code and circuit."
    )
    circuit: Annotated[str, Field(min_length=1, max_length=400)] = Field(
        "", description="A .qasm or .py file beside this one, as a relative path."
    )
    source_framework: Framework | None = Field(
        None, description="The language of the circuit. Default: recognised from the circuit."
    )
    backend: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[!-~]+$")] = Field(
        "", description="Where to run: provider:device, or a bare device name when one provider has it."
    )
    shots: Annotated[int, Field(ge=1, le=SHOTS_MAX)] = Field(
        0,
        description="How often the circuit is run. A backend may allow fewer; checked before sending.",
    )
    accept_overage: bool = Field(False, description="Accept charges beyond the credits you have.")
    braket_execution_mode_hint: ExecutionHint | None = Field(
        None,
        description="How Braket runs several circuits: null, program_set, run_batch, or auto: the cheapest.",
    )
    cap: Annotated[str, Field(pattern=_MONEY)] = Field(
        "", description="What the job may cost at most, all its attempts together: 2.00 USD."
    )
    retries: Annotated[int, Field(ge=0, le=MOST_RETRIES)] = Field(
        0, description="New tries after a definite refusal or a failure there, each paid and counted."
    )
    priority: Annotated[int, Field(ge=-1000, le=1000)] = Field(
        0, description="Higher starts earlier. Default 0."
    )
    window: Label = Field(
        "", description="Opening hours of the configuration: it is sent only while they are open."
    )
    not_before: Moment = Field(
        "", description="It is not sent before: 2026-11-30T06:00, in the configured zone or with an offset."
    )
    deadline: Moment = Field(
        "", description="It is not sent after: then it is cancelled. Written as not_before is."
    )
    after: Annotated[list[EarlierText], Field(max_length=AFTER_MAX)] = Field(
        [],
        description="Jobs that have to complete first: names in this file, or numbers of queued ones (12.3). "
        "With 'any:' before it, a job only has to end.",
    )
    project: Label | None = Field(None, description="The project this belongs to, for reports.")
    tags: Annotated[list[Tag], Field(max_length=20)] = Field([], description="Words to find the job by.")
    again: bool = Field(False, description="Run a byte-identical file once more although it is still queued.")


FIELDS = tuple(JobFields.model_fields)

#: Words of later parts: refused by name, so that nobody believes a cap or a deadline is being kept.
NOT_YET = frozenset(
    (
        "value",
        "on_cap",
        "sweep",
        "notify",
        "entry_point",
        "args",
        "send_as",
    )
)
_OWNER_WORDS = frozenset(("user", "owner"))
#: Words that have a place of their own and are often written one level off.
_STRUCTURE = {
    "jobs": "only the top of a .json, .yaml or .toml file has it",
    "count": "only the first line of a .jsonl file has it",
    "nightshot": "only the first line of a .jsonl file has it",
}

_KEYS_MAX = 64

_ONE = TypeAdapter(JobFields)
_MANY = TypeAdapter(list[JobFields])

#: Raise pydantic's ValidationError for `explain`; compiled once.
read_one = _ONE.validate_python
read_many = _MANY.validate_python


def too_many_fields(raw: object) -> bool:
    """Return True for a table that is better refused than read: every unknown key costs an error object."""
    return isinstance(raw, dict) and len(raw) > _KEYS_MAX


def read_reporting(
    raw: Mapping[str, object], report: Callable[[tuple[str | int, ...], str], None]
) -> tuple[JobFields, frozenset[str]]:
    """Return what is right about the fields, after reporting what is wrong, and the names of the wrong ones.

    Looking on after the first error is what lets a user mend a file in one go.
    """
    if too_many_fields(raw):
        report((), f"{len(raw):,} fields; a job has at most {len(FIELDS)}")
        return read_one({}), frozenset(FIELDS)
    try:
        return read_one(raw), frozenset()
    except ValidationError as invalid:
        wrong = set()
        for error in invalid.errors(include_url=False):
            place = error["loc"]
            report(place, explain(error, place))
            wrong |= set(place[:1])
    right = {key: value for key, value in raw.items() if key in JobFields.model_fields and key not in wrong}
    return read_one(right), frozenset(map(str, wrong))


def unknown_key(key: object, known: Iterable[str] = FIELDS) -> str:
    """Return the sentence about a key that no job file of this version has."""
    name = shortened(str(key))
    if key in NOT_YET:
        return f"{name}: not yet supported by this version; remove the line"
    if key in _OWNER_WORDS:
        return f"{name}: the owner of the file is the user of the job; remove the line"
    if key in _STRUCTURE:
        return f"{name}: not here; {_STRUCTURE[str(key)]}"
    close = did_you_mean(str(key), known)
    return f"{name}: unknown key, did you mean '{close}'?" if close else f"{name}: unknown key; remove it"


def explain(error: ErrorDetails, place: tuple[str | int, ...]) -> str:
    """Return one pydantic error as a sentence; `place` is the field's path within its job."""
    if not place:
        return "a key is not valid Unicode (a lone surrogate)"
    field, value = str(place[0]), error["input"]
    limits = error.get("ctx", {})
    match error["type"]:
        case "extra_forbidden":
            return unknown_key(place[0])
        case "string_unicode":
            return f"{field}: a lone surrogate (\\ud800 … \\udfff) is no character; it cannot be stored"
        case "string_type" if field == "backend" and isinstance(value, list):
            return "backend: a list to choose from is not yet supported by this version; name one backend"
        case "string_type":
            return f"{field}: {shown(value)} is not text{_quote_it(value)}"
        case "int_type":
            return f"{field}: {shown(value)} is not a whole number{_unquote_it(value)}"
        case "bool_type":
            return f"{field}: {shown(value)} is not true or false"
        case "list_type":
            return f"{field}: {shown(value)} is not a list of texts"
        case "literal_error":
            return _not_a_choice(field, value)
        case "greater_than_equal":
            return f"{field}: {shown(value)} is too small; the least is {limits['ge']}"
        case "less_than_equal":
            return f"{field}: {shown(value)} is too large; the most is {limits['le']}"
        case "string_too_short":
            return f"{field}: empty"
        case "string_too_long":
            return f"{field}: {shown(value)} is longer than {limits['max_length']} characters"
        case "too_long":
            return f"{field}: more than {limits['max_length']} entries"
        case "string_pattern_mismatch" if field == "backend":
            return f"backend: {shown(value)} has blanks or characters that no backend's name has"
        case "string_pattern_mismatch" if field == "cap":
            return f"cap: {shown(value)} is not an amount; write it as '2.00 USD'"
        case "string_pattern_mismatch" if field in ("not_before", "deadline"):
            return f"{field}: {shown(value)} is no date and time; {FORM}"
        case "string_pattern_mismatch":
            return f"{field}: {shown(value)} has a slash, a backslash or a control character"
        case _:
            return f"{field}: {shown(value)} is not allowed ({error['msg']})"


def _quote_it(value: object) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return "; put it between quotes"
    return ""


def _unquote_it(value: object) -> str:
    match value:
        case str() if value.isascii() and value.replace("_", "").lstrip("-").isdecimal() and len(value) < 20:
            return f"; write {value.replace('_', '')}"
        case float() if value.is_integer() and abs(value) < 1e15:
            return f"; write {int(value)}"
        case _:
            return ""


def _not_a_choice(field: str, value: object) -> str:
    hints = (*EXECUTION_HINTS, AUTO_HINT)
    choices = hints if field == "braket_execution_mode_hint" else (*FRAMEWORKS, OPENQASM[1])
    close = did_you_mean(value, choices) if isinstance(value, str) else None
    guess = f", did you mean '{close}'?" if close else f"; one of {', '.join(choices)}"
    return f"{field}: {shown(value)} is not known{guess}"
