"""How often one run is paid when the service loses its answers: the vendor's own client, and Nightshot.

    python -m benchmarks.sdk_demo                  # prints the table and writes benchmarks/SDK_DEMO.md
    python -m benchmarks.sdk_demo --runs 100 --out /dev/null

Both speak to the same misbehaving server, on loopback: it takes a run, bills it, and then, with some
probability, answers 502 or resets the connection. The vendor's client is installed from PyPI into a virtual
environment of its own, unmodified. It needs a checkout: the server is the tests' own.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import venv
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.daemon_process import running_daemon, until
from scheduler.client import Client
from scheduler.home import CONFIG_NAME, Home, make_folders
from tests.support.coda_server import BILLED_THEN_502, RESET_BILLED, CodaServer, Fault
from tests.support.coda_thread import EveryTime, coda_in_thread

SDK = "conductorquantum==0.5.1"
TOKEN = "coda_of_the_demonstration"
CODE = "OPENQASM 3.0;\n// run {number}\nqubit q;\nbit c;\nc = measure q;\n"
PROBABILITIES = (0.05, 0.2, 0.5)
SEED = 20261123

#: What a user of the vendor's client writes: one call for each run, and a look at what comes back.
SDK_PROGRAM = """
import json, sys
from conductorquantum import ConductorQuantum

base_url, token, runs, code = sys.argv[1:]
client = ConductorQuantum(token=token, coda_base_url=base_url)
answered = failed = 0
for number in range(int(runs)):
    try:
        client.coda.qpus.run(
            code=code.format(number=number), source_framework="openqasm3", backend="iqm", shots=100
        )
        answered += 1
    except Exception:
        failed += 1
print(json.dumps({"answered": answered, "failed": failed}))
"""

CONFIGURATION = """\
[spool]
scan_interval_s = 0.5
[providers.coda]
kind = "coda"
base_url = "{base_url}"
[backends."coda:iqm"]
slots = 8
[poll]
min_interval_s = 0.1
max_interval_s = 0.5
[breaker]
doubts = 100000
doubt_exposure = "1000000.00 USD"
"""


@dataclass(frozen=True, slots=True)
class Paid:
    """One client's runs at one probability of a lost answer, and the server's own bills for them."""

    client: str
    probability: float
    runs: int
    bills: int
    paid_again: int
    worst: int
    #: Runs of which the client said something wrong or nothing: reported failed, yet billed.
    told: str

    @property
    def dollars_too_many(self) -> float:
        return 1.30 * (self.bills - self.runs)


def lossy(probability: float) -> EveryTime:
    """Bill, and then lose the answer so often; the same for everybody who asks."""
    chance = random.Random(SEED)

    def next_fault() -> Fault:
        if chance.random() >= probability:
            return Fault(proper=True)
        return chance.choice((BILLED_THEN_502, RESET_BILLED))

    return EveryTime(next_fault)


@contextmanager
def lossy_server(probability: float) -> Iterator[CodaServer]:
    with coda_in_thread(token=TOKEN) as server:
        server.next_submits = lossy(probability)  # type: ignore[assignment]
        yield server


def count(client: str, probability: float, runs: int, server: CodaServer, told: str) -> Paid:
    """Each run has a circuit of its own, so the server's books say how often each was billed."""
    per_run = Counter(bill.code_sha256 for bill in server.bills)
    return Paid(
        client=client,
        probability=probability,
        runs=runs,
        bills=len(server.bills),
        paid_again=sum(1 for bills in per_run.values() if bills > 1),
        worst=max(per_run.values(), default=0),
        told=told,
    )


def with_sdk(python: Path, probability: float, runs: int) -> Paid:
    with lossy_server(probability) as server:
        arguments = [server.base_url, TOKEN, str(runs), CODE]
        done = subprocess.run(
            [str(python), "-c", SDK_PROGRAM, *arguments], capture_output=True, text=True, check=True
        )
        told = json.loads(done.stdout)
        return count(
            "the vendor's SDK",
            probability,
            runs,
            server,
            f"{told['answered']} submitted, {told['failed']} raised",
        )


def with_nightshot(folder: Path, probability: float, runs: int) -> Paid:
    with lossy_server(probability) as server:
        home = Home(folder, config_candidates=(folder / CONFIG_NAME,))
        make_folders(home)
        home.config_candidates[0].write_text(CONFIGURATION.format(base_url=server.base_url))
        with running_daemon(home, {"CODA_API_TOKEN": TOKEN}):
            client = Client(home)
            client.call("arm", {"night": "1000.00", "reason": "a demonstration"})
            drop(home, runs)
            states: Counter[str] = Counter()

            def all_at_rest() -> bool:
                states.clear()
                states.update(job["state"] for job in client.call("jobs", {"limit": 10_000})["jobs"])
                return sum(states.values()) == runs and set(states) <= {"completed", "in_doubt"}

            until(all_at_rest, "every run has ended or is in doubt", pause_s=0.1)
        said = f"{states['completed']} completed, {states['in_doubt']} in doubt"
        return count("Nightshot", probability, runs, server, said)


def drop(home: Home, runs: int) -> None:
    lines = [json.dumps({"nightshot": 1, "count": runs})]
    for number in range(runs):
        code = CODE.format(number=number)
        lines.append(json.dumps({"name": f"run {number}", "code": code, "backend": "iqm", "shots": 100}))
    unfinished = home.inbox / "runs.jsonl.tmp"
    unfinished.write_text("\n".join(lines) + "\n")
    unfinished.rename(home.inbox / "runs.jsonl")


def install_sdk(folder: Path) -> Path:
    """Make an environment with the vendor's client; returns its interpreter."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    subprocess.run([str(python), "-m", "pip", "install", "--quiet", SDK], check=True)
    return python


def table(found: Sequence[Paid]) -> str:
    lines = [
        "| answers lost | client | runs meant | bills | runs paid more than once | most for one run "
        "| paid too much | what the client said |",
        "|---:|---|---:|---:|---:|---:|---:|---|",
    ]
    lines += [
        f"| {paid.probability:.0%} | {paid.client} | {paid.runs} | {paid.bills} | {paid.paid_again} "
        f"| {paid.worst} × | ${paid.dollars_too_many:.2f} | {paid.told} |"
        for paid in found
    ]
    return "\n".join(lines) + "\n"


DOCUMENT = """\
# One lost answer, paid how often?

Measured by `python -m benchmarks.sdk_demo` with {sdk}, unmodified, and Nightshot, against the same
server on loopback. The server takes each run, bills it ($1.30), and then loses the answer with the
probability given, as a 502 or a reset connection, half of each.

{table}
The vendor's client sends `POST /qpus` again after a 502 or a broken connection, up to twice. Each repetition
is another run and another bill; a run whose third answer is lost as well is reported as failed and has been
paid three times. Nightshot sends a run once: one whose answer was lost is *in doubt*, its price stays
reserved, and a person with the provider's list says what became of it. By default it sends nothing more to a
backend with three doubts; for this measurement that limit was raised.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Count bills per run: the vendor's SDK, and Nightshot.")
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("SDK_DEMO.md"))
    parser.add_argument("--sdk-python", type=Path, help=f"an interpreter that has {SDK} already")
    asked = parser.parse_args(arguments)
    found = []
    with tempfile.TemporaryDirectory(prefix="sdk-demo-") as name:
        folder = Path(name)
        python = asked.sdk_python or install_sdk(folder / "sdk")
        for number, probability in enumerate(PROBABILITIES):
            found.append(with_sdk(python, probability, asked.runs))
            found.append(with_nightshot(folder / f"home{number}", probability, asked.runs))
    print(table(found), end="")
    asked.out.write_text(DOCUMENT.format(sdk=SDK, table=table(found)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
