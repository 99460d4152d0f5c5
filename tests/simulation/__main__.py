"""`python -m tests.simulation --first 0 --nights 100`: live through nights, up to the first that breaks.

`--seed 17` lives through one and tells what it stands for and then every step. The last line is JSON: what broke, or that nothing
did.
Exit codes: 0 nothing broke, 3 an invariant broke.
"""

from __future__ import annotations

import argparse
import json
import sys

import scheduler
from tests.simulation.ground import Ground
from tests.simulation.invariants import InvariantBroken
from tests.simulation.night import live_through
from tests.simulation.plan import Plan


def main() -> int:
    parser = argparse.ArgumentParser(description="Simulated nights.")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--nights", type=int, default=60)
    parser.add_argument("--seed", type=int)
    arguments = parser.parse_args()
    seeds = range(arguments.first, arguments.first + arguments.nights)
    if arguments.seed is not None:
        seeds = range(arguments.seed, arguments.seed + 1)
    if arguments.seed is not None:
        print(f"night {arguments.seed}: {Plan.of(arguments.seed)}")
    ground = Ground()
    try:
        for seed in seeds:
            try:
                told = live_through(seed, ground)
            except InvariantBroken as broken:
                print(json.dumps({"broken": broken.name, "seed": seed, "program": scheduler.__file__}))
                return 3
            print("\n".join(told.lines) if arguments.seed is not None else told, flush=True)
    finally:
        ground.close()
    print(json.dumps({"broken": None, "nights": len(seeds), "program": scheduler.__file__}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
