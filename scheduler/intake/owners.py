"""Whose files are taken: the owner of a file is the user of its jobs, never a field in it."""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Callable, Sequence
from functools import lru_cache


@lru_cache(maxsize=1024)
def user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid:{uid}"


def owner_test(owners: Sequence[str]) -> Callable[[int], bool]:
    """Whose files are taken: `self` (the service's user), `any`, or the members of the named groups."""
    if "any" in owners:
        return lambda _uid: True

    @lru_cache(maxsize=1024)
    def is_owner(uid: int) -> bool:
        if "self" in owners and uid == os.geteuid():
            return True
        try:
            person = pwd.getpwuid(uid)
        except KeyError:
            return False
        groups = {
            g.gr_name for g in grp.getgrall() if person.pw_name in g.gr_mem or g.gr_gid == person.pw_gid
        }
        return bool(groups & set(owners))

    return is_owner
