"""Who may decide about money: arming, approving, resolving and caps are separate permissions.

Whoever may talk to the daemon may submit, cancel and disarm; what lets money go needs a role.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """Named as the settings are: `roles.caps`."""

    ARM = "arm"
    APPROVE = "approve"
    RESOLVE = "resolve"
    CAPS = "caps"


WHAT = {
    Role.ARM: "arm paid submission",
    Role.APPROVE: "approve what a job may cost",
    Role.RESOLVE: "resolve what is in doubt",
    Role.CAPS: "change caps and credits",
}


def nobody(_role: Role, _user: str) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Roles:
    """`has` says whether a user has a role; without a configuration nobody has any."""

    has: Callable[[Role, str], bool] = nobody
    #: Whether a person may approve a job of their own.
    approve_own: bool = False

    def refusal(self, role: Role, user: str) -> str | None:
        """A sentence when this user may not do that."""
        return None if self.has(role, user) else f"{user} may not {WHAT[role]}"
