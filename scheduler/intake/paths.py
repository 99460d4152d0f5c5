"""File names: which are job files, which may be referred to, and what jobs are called after them.

A name comes from whoever dropped the file: it is never opened here, and never shown unescaped.
"""

from __future__ import annotations

import posixpath
import re

from scheduler.intake.problems import printable
from scheduler.intake.wire import NAME_LENGTH_MAX

CIRCUIT_SUFFIXES = (".qasm", ".py")
MANIFEST_SUFFIXES = (".yaml", ".yml", ".toml", ".json", ".jsonl")
SUFFIXES = CIRCUIT_SUFFIXES + MANIFEST_SUFFIXES

_NOT_IN_FILE_NAMES = re.compile(r"[^\w.+-]")


def suffix_of(name: str) -> str:
    """Return the ending of a file name in lower case, `.qasm`, or "" when it has none."""
    return posixpath.splitext(name)[1].lower()


def is_manifest(name: str) -> bool:
    """Return True for a file that describes jobs and may refer to circuit files."""
    return suffix_of(name) in MANIFEST_SUFFIXES


def path_problem(path: str) -> str | None:
    """Return what keeps a path from being handed out, or None: it stays below the manifest's own folder."""
    if not path.isprintable():
        return "has a control character"
    if "\\" in path:
        return "has a backslash; separate folders with /"
    if path.startswith(("/", "~")):
        return "is absolute; name a file beside this one"
    if ".." in path.split("/"):
        return "leaves the folder of this file"
    if suffix_of(path) not in CIRCUIT_SUFFIXES:
        return f"is no circuit file; {' and '.join(CIRCUIT_SUFFIXES)} are"
    return None


def job_name(name: str) -> str:
    """Return a file's base name as a job's name: printable, without separators, not too long."""
    return printable(posixpath.basename(name)).replace("\\", "_")[:NAME_LENGTH_MAX]


def source_name(name: str) -> str:
    """Return a tame file name for the copy of the source in the results."""
    stem, suffix = posixpath.splitext(posixpath.basename(name))
    return (_NOT_IN_FILE_NAMES.sub("_", stem).lstrip(".")[:60] or "circuit") + suffix.lower()
