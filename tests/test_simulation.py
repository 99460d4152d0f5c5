"""Simulated nights: whatever goes wrong and wherever the process dies, nothing is paid twice or overspent.

`--nights 5000` lives through more of them; `python -m tests.simulation --seed 17` through one, told step by
step.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.simulation.ground import Ground
from tests.simulation.night import live_through
from tests.simulation.told import Told
from tests.support.pretend import FATES

#: Nights of one test: enough that workers share them evenly, few enough that a failure names its neighbours.
AT_A_TIME = 5
#: Deaths that the first sixty nights must have had, or all of them prove less than they say.
STEPS = (
    "before the commit of Admitting._admit",
    "after the commit of Admitting._admit",
    "before a reply slot is reserved",
    "before the commit of Submitting._intend",
    "after the commit of Submitting._intend",
    "before the journal line",
    "after the journal line",
    "the request has left",
    "the answer is here",
    "before the reply file",
    "after the reply file",
    "before the commit of Submitting._record",
    "after the commit of Submitting._record",
    "before the commit of Polling._write_down",
    "after the commit of Polling._write_down",
    "before the commit of Settling._settle",
    "after the commit of Settling._settle",
    "before the commit of Reconciling.at_start",
    "after the commit of Reconciling.at_start",
    "between two steps",
)
#: What must have happened in some of those nights.
SAID = ("accepts overage", "the wall clock jumps", "the backup is restored", "paid submission is stopped")

Live = Callable[[int], Told]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "first" in metafunc.fixturenames:
        nights: int = metafunc.config.getoption("--nights")
        metafunc.parametrize("first", range(0, nights, AT_A_TIME))


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    ground = Ground()
    yield ground
    ground.close()


@pytest.fixture(scope="module")
def diary(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """Where all workers of this run write down the nights they have lived through."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "nights"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def live(ground: Ground, diary: Path) -> Live:
    """Lives through a night, once, whichever worker came to it first."""

    def once(seed: int) -> Told:
        page = diary / f"{seed}.json"
        if page.exists():
            return Told.from_text(page.read_text())
        told = live_through(seed, ground)
        draft = page.with_suffix(f".{os.getpid()}")
        draft.write_text(told.to_text())
        draft.rename(page)
        return told

    return once


def test_whatever_happens_in_a_night_nothing_is_paid_twice_or_overspent(first: int, live: Live) -> None:
    for seed in range(first, first + AT_A_TIME):
        print(live(seed))


def test_the_nights_died_at_every_step_and_met_every_fault(live: Live) -> None:
    nights = [live(seed) for seed in range(60)]
    kills, fates, said = Counter[str](), Counter[str](), Counter[str]()
    for told in nights:
        kills.update(told.kills)
        fates.update(told.fates)
        said.update(words for words in SAID if any(words in line for line in told.lines))
    print(f"{sum(kills.values())} kills, {sum(t.bills for t in nights)} bills, {dict(kills)}, {dict(fates)}")
    assert [step for step in STEPS if not kills[step]] == []
    assert [fate for fate in FATES if not fates[fate]] == []
    assert [words for words in SAID if not said[words]] == []


@pytest.mark.parametrize("seed", [3, 4])
def test_one_seed_is_one_night(seed: int, live: Live, ground: Ground) -> None:
    assert live(seed).lines == live_through(seed, ground).lines
