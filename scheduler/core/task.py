"""A paid run at a provider, in provider words: what is asked, and every way it can end.

An outcome of the billable call is one of four, and the caller must treat all four:
accepted, refused, not sent, unknown. Only the middle two give the money back.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class RunRequest:
    """One run as it goes to a provider; `attempt_id` is ours for ever, `device` the provider's name."""

    attempt_id: str
    device: str
    code: str
    framework: str
    shots: int
    accept_overage: bool = False
    execution_hint: str | None = None


@dataclass(frozen=True, slots=True)
class CostFacts:
    """Three figures of a reply, kept apart: nobody knows how they relate. None is unknown, not 0."""

    estimated_cost_microusd: int | None = None
    credits_applied_microcredits: int | None = None
    overage_microusd: int | None = None


#: The status word of a task whose id is only a person's word, until the provider says one of its own.
BY_A_PERSON = "resolved"


@dataclass(frozen=True, slots=True)
class Accepted:
    """The provider took the task and named it; from now on it costs money."""

    provider_job_id: str
    status_word: str
    cost: CostFacts
    raw: str = ""


class RefusalKind(StrEnum):
    INVALID = "invalid"  # this job can never run as it is
    CREDENTIALS = "credentials"  # the provider does not know or not trust us: stop using it
    CREDITS = "credits"  # no money at the provider: wait for a person
    BUSY = "busy"  # too many requests: wait


@dataclass(frozen=True, slots=True)
class Refused:
    """The provider definitely did not take the task: nothing runs, nothing is billed."""

    kind: RefusalKind
    reason: str
    retry_after_s: float | None = None
    raw: str = ""


@dataclass(frozen=True, slots=True)
class NotSent:
    """No byte of the request left this machine, provably."""

    reason: str
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Unknown:
    """It may have been taken and billed, or not. It is never sent again by the program."""

    reason: str
    raw: str = ""


Outcome = Accepted | Refused | NotSent | Unknown


#: One circuit's counts: bit string -> shots. The bit order is said beside it.
Counts = dict[str, int]

BIT_0_FIRST = "bit 0 first"
BIT_ORDER_OF_PROVIDER = "as the provider sent it"


@dataclass(frozen=True, slots=True)
class StillOpen:
    """Not ended yet; any status word that is not known means this."""

    status_word: str
    raw: str = ""


@dataclass(frozen=True, slots=True)
class Completed:
    """The task ended with counts, one entry per circuit in the order of the code."""

    counts: tuple[Counts, ...]
    bit_order: str
    raw: str = ""
    #: What the provider told about the run (simulator version, registers …), JSON-ready, for provenance.
    facts: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Failed:
    """The provider says that the task failed. Whether it was charged is another question."""

    reason: str
    raw: str = ""
    #: True when the circuit itself can never run there: the job is then rejected rather than failed.
    never_runs: bool = False


@dataclass(frozen=True, slots=True)
class NotKnown:
    """The provider does not know the id (or says so): polled on, ever more slowly, and shown to people."""

    reason: str
    raw: str = ""


TaskReport = StillOpen | Completed | Failed | NotKnown


@dataclass(frozen=True, slots=True)
class Found:
    """Evidence that an attempt in doubt was taken, under this id."""

    provider_job_id: str
    cost: CostFacts = CostFacts()


@dataclass(frozen=True, slots=True)
class NeverArrived:
    """Evidence that an attempt in doubt was never taken."""

    reason: str


@dataclass(frozen=True, slots=True)
class CannotTell:
    """The provider has no way to say: only a person can."""

    reason: str


Evidence = Found | NeverArrived | CannotTell


@dataclass(frozen=True, slots=True)
class Device:
    """A place to run as its provider lists it; `online` None is unknown."""

    name: str
    online: bool | None = None
    description: str = ""
    raw: str = ""
