"""SIGKILL again and again while simulator jobs run from the inbox: every job ends exactly once.

Nothing is lost, nothing is in doubt (the local simulator can always tell), nothing is queued or run twice,
and no file stays behind on the way.
"""

from __future__ import annotations

import json
import random
import sqlite3
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.support.daemon import Daemon
from tests.support.spool import qasm

QUICK = """\
[spool]
scan_interval_s = 0.5
quiet_s = 0.2
"""
BAD = 5


def drop_mixed(daemon: Daemon, jobs: int) -> Counter[str]:
    """Drop every kind of file; returns how often each job name must end, once each."""
    expected: Counter[str] = Counter()
    tenth = jobs // 10
    lines = [json.dumps({"nightshot": 1, "count": 2 * tenth})]
    for number in range(2 * tenth):
        lines.append(json.dumps({"name": f"line-{number}", "code": qasm(number), "shots": 10}))
        expected[f"line-{number}"] += 1
    for number in range(tenth):
        folder = daemon.home.inbox / f".staging{number}"
        folder.mkdir()
        text = "jobs:\n"
        for part in range(3):
            (folder / f"part-{number}-{part}.qasm").write_text(qasm(number * 10 + part))
            text += f"  - circuit: part-{number}-{part}.qasm\n    shots: 10\n"
            expected[f"part-{number}-{part}.qasm"] += 1
        (folder / "sweep.yaml").write_text(text)
        folder.rename(daemon.home.inbox / f"night{number}")
    for number in range(jobs - sum(expected.values()) - 2 * tenth):
        daemon.drop(f"single-{number}.qasm", qasm(number, shots=10))
        expected[f"single-{number}.qasm"] += 1
    daemon.drop("lines.jsonl", "\n".join(lines) + "\n")
    for number in range(2 * tenth):
        daemon.drop(f"deep/er/single-{number}.qasm", qasm(1000 + number, shots=10))
        expected[f"single-{number}.qasm"] += 1
    for number in range(BAD):
        daemon.drop(f"bad-{number}.qasm", qasm(number, shotz=10))
    return expected


def kill_again_and_again(daemon: Daemon, kills: int, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(kills):
        daemon.launch()
        # From the first import over the recovery to the midst of the work.
        time.sleep(chance.choice([0.3, 0.8, 1.2, 1.6, 2.0]) + chance.random() * 0.8)
        assert daemon.process.poll() is None, f"it ended by itself:\n{daemon.log[-4000:]}"
        daemon.kill()


def night_of_kills(daemon: Daemon, jobs: int, kills: int, seed: int) -> None:
    expected = drop_mixed(daemon, jobs)
    assert sum(expected.values()) == jobs
    kill_again_and_again(daemon, kills, seed)
    daemon.start()
    daemon.until(lambda: daemon.states() == {"completed": jobs}, "every job is completed", 300)
    daemon.until(lambda: list(daemon.home.queue.iterdir()) == [], "the queue folder is empty")
    daemon.until(lambda: len(daemon.result_folders()) == jobs, "every result is written")
    found = Counter(job["name"] for job in daemon.jobs())
    assert found == expected
    assert daemon.stop() == 0
    assert_nothing_is_left(daemon, jobs)
    assert_each_once(daemon.home.database, jobs)


def assert_nothing_is_left(daemon: Daemon, jobs: int) -> None:
    assert list(daemon.home.claimed.iterdir()) == []
    assert [path for path in daemon.home.inbox.rglob("*") if not path.is_dir()] == []
    assert set(daemon.whys) == {f"bad-{number}.qasm" for number in range(BAD)}
    assert len(list(daemon.home.rejected.iterdir())) == 2 * BAD
    assert [path for path in daemon.home.results.rglob(".*")] == []
    for folder in daemon.result_folders():
        told = json.loads((folder / "results.json").read_text())
        assert told["state"] == "completed"
        assert told["shots_match"] is True
        assert sum(told["counts"][0].values()) == told["shots_asked"]
        assert (folder / "counts.csv").stat().st_size > 0
    assert list((daemon.home.state / "providers/local").glob("*.json")) == [], "the simulator keeps nothing"


def assert_each_once(database: Path, jobs: int) -> None:
    with sqlite3.connect(database) as books:

        def count(sql: str) -> int:
            return int(books.execute(sql).fetchone()[0])

        assert count("SELECT count(*) FROM jobs WHERE state != 'completed' OR published_us IS NULL") == 0
        assert count("SELECT count(*) FROM results") == jobs
        assert count("SELECT count(*) FROM attempts WHERE state NOT IN ('settled', 'not_sent')") == 0
        assert count("SELECT count(*) FROM attempts WHERE state = 'settled'") == jobs
        assert count("SELECT count(*) FROM (SELECT job_id FROM attempts WHERE posts > 1)") == 0
        assert count("SELECT count(*) FROM job_events WHERE event = 'complete'") == jobs
        assert count("SELECT count(*) FROM batches WHERE ended_us IS NULL") == 0


def test_no_kill_loses_or_doubles_a_job(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path / "home", config=QUICK)
    try:
        night_of_kills(daemon, jobs=300, kills=8, seed=20261123)
    finally:
        daemon.kill()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_no_kill_of_very_many_loses_or_doubles_a_job(tmp_path: Path, seed: int) -> None:
    daemon = Daemon(tmp_path / "home", config=QUICK)
    try:
        night_of_kills(daemon, jobs=1000, kills=40, seed=seed)
    finally:
        daemon.kill()
