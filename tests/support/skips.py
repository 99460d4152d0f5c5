"""Which skipped tests are not on the list: `pattern  # reason`, both of which must match."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

ALLOWED_SKIPS = Path(__file__).parent.parent / "allowed_skips.txt"


def unlisted_skips(
    reports: Iterable[pytest.TestReport | pytest.CollectReport], allowed: Iterable[str]
) -> list[str]:
    """Return `test id: reason` of every skip that no line of the list allows."""
    pairs = [(pattern.strip(), why.strip()) for pattern, _, why in (line.partition("#") for line in allowed)]
    listed = [(pattern, why) for pattern, why in pairs if pattern and why]
    found = []
    for report in reports:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not any(fnmatchcase(report.nodeid, pattern) and why in reason for pattern, why in listed):
            found.append(f"{report.nodeid}: {reason}")
    return found
