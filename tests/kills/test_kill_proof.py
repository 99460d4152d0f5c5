"""SIGKILL of the real daemon at each step of a submission: nothing is lost, nothing is paid twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.databases import Databases, Kind
from tests.support.kill_trial import run_trial
from tests.support.killing_daemon import STEPS


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_kill_at_each_step_loses_nothing_and_pays_nothing_twice(
    tmp_path: Path, databases: Databases, kind: Kind
) -> None:
    url = databases.make(kind, tmp_path) if kind == "postgresql" else ""
    tally = run_trial(tmp_path, url, steps=STEPS, rounds=1, jobs=60, seed=1, fault_rate=0.05, patience_s=120)
    print(f"\n{kind}: {tally}")
    assert min(tally.kills[step] for step in STEPS) >= 1


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_hundred_kills_on_each_database_lose_nothing_and_pay_nothing_twice(
    tmp_path: Path, databases: Databases, kind: Kind
) -> None:
    """The whole proof on each: 108 kills, twelve at each step and within each transaction."""
    url = databases.make(kind, tmp_path) if kind == "postgresql" else ""
    tally = run_trial(
        tmp_path, url, steps=STEPS, rounds=12, jobs=520, seed=len(kind), fault_rate=0.1, patience_s=300
    )
    print(f"\n{kind}: {tally}")
    assert sum(tally.kills.values()) >= 108
    assert min(tally.kills[step] for step in STEPS) >= 12
    assert tally.jobs >= 520
