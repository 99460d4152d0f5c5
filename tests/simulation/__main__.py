"""`python -m tests.simulation --first 0 --nights 100`: live through nights, up to the first that breaks.

`--seed 17` lives through one and tells what it stands for and then every step; `--where restores` only
through nights whose plan has that. The last line is JSON: what broke, or that nothing did.
Exit codes: 0 nothing broke, 3 an invariant broke.
"""

from __future__ import annotations

import argparse
import itertools
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
    parser.add_argument("--where", default="seed", help="only nights whose plan has this, such as restores")
    arguments = parser.parse_args()
    fitting = (n for n in itertools.count(arguments.first) if n == 0 or getattr(Plan.of(n), arguments.where))
    seeds = list(itertools.islice(fitting, arguments.nights))
    if arguments.seed is not None:
        seeds = [arguments.seed]
    if arguments.seed is not None:
        print(f"night {arguments.seed}: {Plan.of(arguments.seed)}")
    ground = Ground()
    try:
        for count, seed in enumerate(seeds, 1):
            try:
                told = live_through(seed, ground)
            except InvariantBroken as broken:
                told_of = {"broken": broken.name, "seed": seed, "nights": count}
                print(json.dumps({**told_of, "program": scheduler.__file__}))
                return 3
            print("\n".join(told.lines) if arguments.seed is not None else told, flush=True)
    finally:
        ground.close()
    print(json.dumps({"broken": None, "nights": len(seeds), "program": scheduler.__file__}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
