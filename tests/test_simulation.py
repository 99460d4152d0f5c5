"""Simulated nights: whatever goes wrong and wherever the process dies, nothing is paid twice or overspent.

`NIGHTS=1000` lives through more of them, `NIGHT_SEED=17` through one, told step by step.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.simulation.night import OtherLoop, live_through, make_template

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


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_happens_in_a_night_nothing_is_paid_twice_or_overspent(
    seed: int, template: Path, other: OtherLoop
) -> None:
    told = live_through(seed, template, other)
    if "NIGHT_SEED" in os.environ:
        print("\n".join(told.lines))
    print(told)
