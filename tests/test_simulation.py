"""Simulated nights: whatever goes wrong and wherever the process dies, nothing is paid twice or overspent.

`NIGHTS=1000` lives through more of them, `NIGHT_SEED=17` through one, told step by step.
"""

from __future__ import annotations

import functools
import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.simulation.night import Told, live_through, make_template
from tests.simulation.ports import OtherLoop
from tests.support.pretend import FATES

SEEDS = (
    [int(os.environ["NIGHT_SEED"])]
    if "NIGHT_SEED" in os.environ
    else list(range(int(os.environ.get("NIGHTS", "60"))))
)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_template(tmp_path_factory.mktemp("template"))


@pytest.fixture(scope="module")
def other() -> Iterator[OtherLoop]:
    loop = OtherLoop()
    yield loop
    loop.close()


#: Deaths that the nights must have had, or they prove less than they say.
STEPS = (
    "before the commit of Admitting._admit",
    "after the commit of Admitting._admit",
    "before a reply slot is reserved",
    "before the commit of Submitting._intend",
    "after the commit of Submitting._intend",
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
    "before the reply slots are adopted",
    "between two steps",
)


@pytest.fixture(scope="module")
def live(template: Path, other: OtherLoop) -> Callable[[int], Told]:
    """Lives through a night, once."""
    return functools.cache(lambda seed: live_through(seed, template, other))


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_happens_in_a_night_nothing_is_paid_twice_or_overspent(
    seed: int, live: Callable[[int], Told]
) -> None:
    told = live(seed)
    if "NIGHT_SEED" in os.environ:
        print("\n".join(told.lines))
    print(told)


def test_the_nights_died_at_every_step_and_met_every_fault(live: Callable[[int], Told]) -> None:
    nights = [live(seed) for seed in range(60)]
    kills, fates = Counter[str](), Counter[str]()
    for told in nights:
        kills.update(told.kills)
        fates.update(told.fates)
    print(f"{sum(kills.values())} kills, {sum(t.bills for t in nights)} bills, {dict(kills)}, {dict(fates)}")
    assert [step for step in STEPS if not kills[step]] == []
    assert [fate for fate in FATES if not fates[fate]] == []


@pytest.mark.parametrize("seed", [3, 4])
def test_one_seed_is_one_night(
    seed: int, live: Callable[[int], Told], template: Path, other: OtherLoop
) -> None:
    assert live(seed).lines == live_through(seed, template, other).lines
