"""What an operation is given: the store, the rules, who asks. The same with a daemon and without one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from scheduler.core.job import BatchSpec
from scheduler.core.roles import Role, Roles
from scheduler.errors import NotAllowed, UsageError
from scheduler.intake.document import Defaults
from scheduler.ports import Kit


def _whole_characters(text: str) -> str:
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("has half a character or a NUL in it, which no name here has")
    return text


#: A name that rows are looked up by: what a database cannot hold is nothing's name.
Name = Annotated[str, AfterValidator(_whole_characters)]
#: A number of a row.
Number = Annotated[int, Field(ge=0, lt=2**63)]


class Args(BaseModel):
    """The arguments of an operation; unknown ones are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: the user at the other end of the socket, or the one who runs the command."""

    user: str


@dataclass(frozen=True, slots=True)
class Desk:
    kit: Kit
    home: Path
    timezone: str
    results: Path
    defaults: Defaults
    resolve: Callable[[BatchSpec], BatchSpec]
    #: Full names of backends a person may want to see although nothing waits for them.
    known_backends: tuple[str, ...]
    #: Seconds-old sentences about what stands still, by what it is.
    troubles: Callable[[], Mapping[str, str]]
    #: The daemon's process id; None when there is no daemon.
    pid: int | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    roles: Roles = field(default_factory=Roles)

    def now_us(self) -> int:
        return self.kit.clock.now_us()

    def require(self, caller: Caller, role: Role) -> None:
        """Raise NotAllowed unless this caller has the role."""
        refusal = self.roles.refusal(role, caller.user)
        if refusal is not None:
            raise NotAllowed(refusal, f"roles.{role} in nightshot.toml names who may: users, groups, or self")


def reason_of(text: str, example: str) -> str:
    """The reason a person gave. Raises UsageError when there is none: the books must say why."""
    if not text.strip():
        raise UsageError("it needs a reason, for the record", f"--reason '{example}'")
    return text.strip()
