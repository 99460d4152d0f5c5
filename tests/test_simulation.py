"""Simulated nights: whatever goes wrong and wherever the process dies, nothing is paid twice or overspent.

`--nights 5000` lives through more of them; `python -m tests.simulation --seed 17` through one, told step by
step.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.simulation.ground import Ground
from tests.simulation.night import live_through

#: Nights of one test: enough that workers share them evenly, few enough that a failure names its neighbours.
AT_A_TIME = 10


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    nights: int = metafunc.config.getoption("--nights")
    metafunc.parametrize("first", range(0, nights, AT_A_TIME))


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    ground = Ground()
    yield ground
    ground.close()


def test_whatever_happens_in_a_night_nothing_is_paid_twice_or_overspent(first: int, ground: Ground) -> None:
    for seed in range(first, first + AT_A_TIME):
        print(live_through(seed, ground))
