"""The whole of QASMBench's small circuits dropped at once: each completes or is refused with its line."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest

from tests.support.daemon import Daemon

FOLDER = "qasmbench-small"
#: These use `q` in the body of a gate that has no such argument.
REFUSED = {"vqe_uccsd_n4.qasm": 225, "vqe_uccsd_n6.qasm": 2286, "vqe_uccsd_n8.qasm": 10813}


@pytest.fixture(scope="module")
def circuits() -> list[Path]:
    named = os.environ.get("NIGHTSHOT_CIRCUITS")
    shared = Path(__file__).parents[3] / "shared" / "circuits"
    for folder in (Path(named) if named else shared, shared / FOLDER, Path(named or shared) / FOLDER):
        found = sorted(folder.glob("*.qasm"))
        if found:
            return found
    pytest.skip("the circuits of QASMBench are not here (NIGHTSHOT_CIRCUITS names their folder)")


def test_every_circuit_completes_or_is_refused_with_file_and_line(
    tmp_path: Path, circuits: list[Path]
) -> None:
    with Daemon(tmp_path / "home") as daemon:
        for path in circuits:
            shutil.copy2(path, daemon.home.inbox / f"{path.name}.tmp")
        for path in circuits:
            os.rename(daemon.home.inbox / f"{path.name}.tmp", daemon.home.inbox / path.name)
        ended = {"completed": len(circuits) - len(REFUSED), "rejected": len(REFUSED)}
        daemon.until(lambda: daemon.states() == ended, f"{ended}", 300)
        daemon.until(lambda: len(daemon.result_folders()) == len(circuits), "all results are written")
        daemon.until(lambda: list(daemon.home.queue.iterdir()) == [], "the queue folder is empty")
        assert sorted(job["name"] for job in daemon.jobs()) == [path.name for path in circuits]
        assert {name.partition("-")[2] for name in daemon.whys} == set(REFUSED)
        for name, why in daemon.whys.items():
            line = REFUSED[name.partition("-")[2]]
            assert re.search(rf"^{re.escape(name)}:{line}: 'q' is not defined", why, re.MULTILINE), why
        assert daemon.lives()
        assert daemon.stop() == 0
    assert list(daemon.home.inbox.iterdir()) == []
    assert list(daemon.home.claimed.iterdir()) == []
