"""What a user hands in, and how it is named.

A job is a circuit, a backend, shots and options; a batch is jobs that came together. `12` names batch 12
(and its job, when it has only one); `12.3` names the third job of batch 12.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from scheduler.core.waits import Rule

#: The words of the Coda API for `source_framework`.
FRAMEWORKS = ("qiskit", "cirq", "pennylane", "braket", "pyquil", "cudaq", "openqasm3")
#: Coda takes OpenQASM text only as `openqasm3`; we keep apart what the file really is, for the local reader.
OPENQASM = ("openqasm3", "openqasm2")
EXECUTION_HINTS = ("program_set", "run_batch")
#: Ours, never on the wire: ask the price of each hint and take the cheapest.
AUTO_HINT = "auto"
MOST_RETRIES = 5
SHOTS_DEFAULT = 100

_REF = re.compile(r"(?P<batch>[1-9][0-9]{0,17})(?:\.(?P<ordinal>[1-9][0-9]{0,8}))?")


@dataclass(frozen=True, slots=True, order=True)
class JobRef:
    """A job's name for people: batch number and 1-based place within it; ordinal None is the whole batch."""

    batch: int
    ordinal: int | None = None

    @classmethod
    def parse(cls, text: str) -> JobRef | None:
        found = _REF.fullmatch(text)
        if not found:
            return None
        return cls(int(found["batch"]), int(found["ordinal"]) if found["ordinal"] else None)

    def __str__(self) -> str:
        return str(self.batch) if self.ordinal is None else f"{self.batch}.{self.ordinal}"


@dataclass(frozen=True, slots=True)
class Earlier:
    """One entry of `after`: a job of the same document by its place, or a queued one by its number."""

    rule: Rule
    written: str
    ordinal: int | None = None
    ref: JobRef | None = None
    #: Of the document, to be named when the job is not there.
    line: int | None = None


@dataclass(frozen=True, slots=True)
class JobSpec:
    """One job as its owner wrote it; `code` is what would leave the machine, header block removed."""

    name: str
    code: str
    framework: str
    backend: str
    shots: int = SHOTS_DEFAULT
    accept_overage: bool = False
    execution_hint: str | None = None
    priority: int = 0
    project: str | None = None
    tags: tuple[str, ...] = ()
    source_name: str = "circuit.qasm"
    again: bool = False
    #: What the job may cost at most, all its attempts together; None leaves it to the other caps.
    cap_microusd: int | None = None
    #: New attempts after a definite refusal or a failure at the provider, each paid and counted.
    retries: int = 0
    #: The opening hours it asks for; "" is any time.
    window: str = ""
    not_before_us: int | None = None
    #: It is not sent after this.
    deadline_us: int | None = None
    after: tuple[Earlier, ...] = ()

    def on(self, backend: str) -> JobSpec:
        """The same job on another backend. Written out, because `replace` takes seven times as long."""
        return JobSpec(
            self.name,
            self.code,
            self.framework,
            backend,
            self.shots,
            self.accept_overage,
            self.execution_hint,
            self.priority,
            self.project,
            self.tags,
            self.source_name,
            self.again,
            self.cap_microusd,
            self.retries,
            self.window,
            self.not_before_us,
            self.deadline_us,
            self.after,
        )


@dataclass(frozen=True, slots=True)
class BatchSpec:
    """The jobs of one file or one request; `digest` is the SHA-256 of the bytes they came in."""

    name: str
    jobs: tuple[JobSpec, ...]
    digest: str
    attachments: tuple[str, ...] = ()

    @property
    def again(self) -> bool:
        return any(job.again for job in self.jobs)


def job_label(batch_id: int, ordinal: int, batch_size: int) -> str:
    """`12` for the only job of batch 12, `12.3` for one of several."""
    return str(batch_id) if batch_size == 1 else f"{batch_id}.{ordinal}"
