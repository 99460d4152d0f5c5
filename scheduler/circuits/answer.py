"""What a child's answer may be, read as the hostile text it is.

Code in the child can write what it likes: the text is bounded before it gets here, parsed as JSON and
nothing else, and believed only when it has exactly the agreed shape and adds up.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from scheduler.circuits.words import ANSWER_LIMIT_BYTES

SENTENCE_LIMIT = 2000


@dataclass(frozen=True, slots=True)
class Simulated:
    """Counts of every circuit, bit 0 leftmost, and facts about how they came about."""

    counts: tuple[dict[str, int], ...]
    facts: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Refused:
    """The circuit can never run here as it is."""

    reason: str


@dataclass(frozen=True, slots=True)
class Stopped:
    """It was ended, or ended itself, without an answer that can be believed."""

    reason: str


@dataclass(frozen=True, slots=True)
class WorkerDied:
    """The worker itself went away in mid-job; the same job may be handed in again."""

    reason: str


Answer = Simulated | Refused | Stopped | WorkerDied

_Bits = Annotated[str, StringConstraints(pattern=r"^[01]+$", max_length=20_000)]
_Shots = Annotated[int, Field(ge=1)]
_Text = Annotated[str, StringConstraints(max_length=SENTENCE_LIMIT)]


class _Said(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    counts: list[dict[_Bits, _Shots]] | None = None
    facts: list[tuple[_Text, _Text]] = []
    refused: _Text | None = None


def read_answer(text: str, shots: int) -> Answer:
    """Return what a child's answer says. Anything that is not one is Stopped."""
    if len(text) > ANSWER_LIMIT_BYTES:
        return Stopped("the answer of the simulation was too long to be believed")
    try:
        said = _Said.model_validate_json(text)
    except ValidationError:
        return Stopped("the code's process answered with something that is not a result")
    if said.refused is not None and said.counts is None:
        return Refused(plain(said.refused) or "refused without a reason")
    if said.counts and said.refused is None and all(_adds_up(table, shots) for table in said.counts):
        facts = tuple((plain(word), plain(value)) for word, value in said.facts)
        return Simulated(tuple(said.counts), facts)
    return Stopped("the code's process answered with counts that do not add up")


def _adds_up(table: dict[str, int], shots: int) -> bool:
    return sum(table.values()) == shots and len({len(bits) for bits in table}) == 1


def plain(text: str) -> str:
    """One line without control characters: it will be shown in terminals and written to files."""
    return "".join(letter if letter.isprintable() else " " for letter in text)[:SENTENCE_LIMIT].strip()


def read_ending(status: int, stopped: str | None, wall_time_s: float, memory_bytes: int) -> Stopped:
    """Say in words why there is no answer: what the worker did, or how the process ended by itself."""
    match stopped:
        case "wall clock":
            return Stopped(
                f"stopped after {wall_time_s:g} s, the longest a job may take (setting wall_time_s)"
            )
        case "output cap":
            limit_mib = ANSWER_LIMIT_BYTES >> 20
            return Stopped(f"stopped: more than {limit_mib} MiB of results, which nothing here may produce")
        case None:
            pass
        case other:
            return Stopped(f"stopped: {plain(other)}")
    memory = f"a job may take {memory_bytes >> 20:,} MiB (setting memory_bytes)"
    if status >= 0:
        return Stopped(
            "the code ended its own process (os._exit, or a library that did) before there was a result"
        )
    match -status:
        case signal.SIGABRT:
            return Stopped(f"the process gave up (SIGABRT), most likely for want of memory: {memory}")
        case signal.SIGKILL:
            return Stopped(
                "the process was killed from outside, most likely for want of memory on this machine"
            )
        case signal.SIGXCPU:
            return Stopped(f"stopped: it used more processor time than {wall_time_s:g} s allow")
        case signal.SIGSEGV | signal.SIGBUS:
            name = signal.Signals(-status).name
            return Stopped(f"the process crashed ({name}): too deep a recursion, or a fault in a library")
        case number:
            return Stopped(f"the process was ended by signal {number}")
