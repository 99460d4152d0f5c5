"""SIGKILL of the real daemon at each step of a submission: nothing is lost, nothing is paid twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.databases import Databases
from tests.support.kill_trial import Tally, run_trial
from tests.support.killing_daemon import BETWEEN, STEPS


def test_two_kills_at_each_step_lose_nothing_and_pay_nothing_twice(tmp_path: Path) -> None:
    tally = run_trial(tmp_path, "", steps=BETWEEN, rounds=2, jobs=60, seed=1, fault_rate=0.05, patience_s=120)
    print(tally)
    assert min(tally.kills[step] for step in BETWEEN) >= 2


@pytest.mark.slow
def test_a_hundred_kills_on_both_databases_lose_nothing_and_pay_nothing_twice(
    tmp_path: Path, databases: Databases
) -> None:
    total = Tally()
    for number, kind in enumerate(("sqlite", "postgresql")):
        folder = tmp_path / kind
        folder.mkdir()
        url = databases.make("postgresql", folder) if kind == "postgresql" else ""
        tally = run_trial(
            folder, url, steps=STEPS, rounds=6, jobs=280, seed=number, fault_rate=0.1, patience_s=300
        )
        print(f"\n{kind}: {tally}")
        total += tally
    print(f"\nboth: {total}")
    assert sum(total.kills.values()) >= 100
    assert min(total.kills[step] for step in STEPS) >= 10
    assert total.jobs >= 500
