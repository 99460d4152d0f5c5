"""`python -m tests.mutants [WORDS]`: put each mistake into a copy of the program, and see nights notice it.

Prints a table: mutant, the invariant that caught it, after how many nights. Exit code 1 when one survives,
dies by another invariant than it should, or is no longer in the code; the program without any must survive.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.mutants.catalogue import MUTANTS, Change, Mutant

REPOSITORY = Path(__file__).resolve().parents[2]
#: A mutant has so many nights to be noticed in.
NIGHTS = 150
#: The first of them: shorter than the very first ones, and as bad.
FIRST = 40
CONTROL = Mutant("(none: the program as it is)", frozenset(), ())


@dataclass(frozen=True)
class Verdict:
    mutant: Mutant
    invariant: str | None
    nights: int
    trouble: str = ""

    @property
    def right(self) -> bool:
        if self.trouble:
            return False
        if not self.mutant.changes:
            return self.invariant is None
        return self.invariant in self.mutant.caught_by

    @property
    def row(self) -> str:
        what = self.trouble or self.invariant or "survived"
        return f"{'ok  ' if self.right else 'FAIL'} {self.mutant.name} → {what} ({self.nights} nights)"


class NotInTheCode(AssertionError):
    """A mutant's text does not stand exactly once in its file: the catalogue is older than the code."""


def apply(change: Change, root: Path) -> None:
    path = root / change.file
    text = path.read_text()
    found = text.count(change.old)
    if found != 1:
        raise NotInTheCode(f"{change.file} has {found} times: {change.old!r}")
    path.write_text(text.replace(change.old, change.new))


def put_to_the_test(mutant: Mutant, nights: int = NIGHTS) -> Verdict:
    """Run nights on a copy of the program with the mistake in it."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        root = Path(folder)
        for name in ("scheduler", "migrations"):
            shutil.copytree(
                REPOSITORY / name, root / name, ignore=shutil.ignore_patterns("__pycache__", "*.pyc")
            )
        for change in mutant.changes:
            apply(change, root)
        environment = {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{REPOSITORY}"}
        command = [sys.executable, "-m", "tests.simulation", "--first", str(FIRST)]
        command += ["--nights", str(nights), "--where", mutant.where]
        done = subprocess.run(
            command, cwd=root, env=environment, capture_output=True, text=True, timeout=1800, check=False
        )
        return read_verdict(mutant, root, done)


def read_verdict(mutant: Mutant, root: Path, done: subprocess.CompletedProcess[str]) -> Verdict:
    lines = done.stdout.splitlines()
    try:
        told = json.loads(lines[-1])
    except (IndexError, ValueError):
        return Verdict(mutant, None, 0, f"died by accident: {done.stderr.strip()[-300:]}")
    if not told["program"].startswith(str(root)):
        return Verdict(mutant, None, 0, f"the nights ran on {told['program']}, not on the mutant")
    return Verdict(mutant, told["broken"], told["nights"])


def main(words: list[str]) -> int:
    chosen = [m for m in (*MUTANTS, CONTROL) if not words or any(word in m.name for word in words)]
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        verdicts = []
        for verdict in pool.map(put_to_the_test, chosen):
            print(verdict.row, flush=True)
            verdicts.append(verdict)
    wrong = [verdict for verdict in verdicts if not verdict.right]
    print(f"{len(verdicts) - len(wrong)} of {len(verdicts)} as they should be")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
