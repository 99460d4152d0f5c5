"""`why` of a running daemon: its fix lets the job run, and then it tells what became of it."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

from tests.support.coda_thread import coda_in_thread
from tests.support.daemon import Daemon

BELL = """\
// /// nightshot
// backend = "iqm"
// ///
OPENQASM 3.0;
include "stdgates.inc";
qubit[2] q;
bit[2] c;
h q[0];
cx q[0], q[1];
c = measure q;
"""


def test_a_fix_pasted_to_a_running_daemon_lets_the_job_run(tmp_path: Path) -> None:
    with coda_in_thread() as server:
        config = f'[providers.coda]\nkind = "coda"\nbase_url = "{server.base_url}"\n'
        daemon = Daemon(tmp_path / "home", config=config, environ={"CODA_API_TOKEN": "coda_token"})
        with daemon:
            daemon.drop("bell.qasm", BELL)

            def why() -> dict[str, Any]:
                found = daemon.ask("why", "1", "--json")
                return json.loads(found.stdout) if found.returncode == 0 else {"checks": []}

            def closed() -> dict[str, Any]:
                return {c["code"]: c for c in why()["checks"] if c["state"] == "closed"}

            daemon.until(lambda: list(closed()) == ["disarmed"], "only arming is missing")
            pasted = daemon.ask(*shlex.split(closed()["disarmed"]["fix"])[1:])
            assert pasted.returncode == 0, pasted.stderr
            daemon.until(lambda: daemon.states() == {"completed": 1}, "it ran")
            told = why()
            assert told["daemon"] is True
            assert told["outlook"]["kind"] == "ended"
            assert told["outlook"]["sentence"].startswith("it cost $1.30 (charged: $1.30, ")
            assert [event["event"] for event in told["events"]][-1] == "complete"
            text = daemon.ask("why", "1").stdout
            assert text.startswith("1 bell.qasm is COMPLETED: it cost $1.30 (charged: $1.30, the cost named")
