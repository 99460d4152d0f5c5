"""The misbehaving Coda is itself held to its word: other suites count money by its books."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from pathlib import Path

from scheduler.core.task import Accepted
from tests.support import coda_server as server_side
from tests.support.coda_account import REQUEST, Build, yes
from tests.support.coda_server import bills_in


async def test_it_runs_alone_and_writes_every_bill_before_it_answers(account: Build, tmp_path: Path) -> None:
    bills = tmp_path / "bills.jsonl"
    options = ["--port", "0", "--bills", str(bills), "--fault-rate", "0.5", "--seed", "7", "--hang", "0.1"]
    process = await asyncio.create_subprocess_exec(
        sys.executable, server_side.__file__, *options, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        line = (await process.stdout.readline()).decode()
        provider = account(base_url=line.removeprefix("listening on ").strip(), mark_code=True)
        taken: set[str] = set()
        for number in range(40):
            outcome = await provider.submit(replace(REQUEST, attempt_id=f"a-{number}"), yes)
            if isinstance(outcome, Accepted):
                taken.add(outcome.provider_job_id)
                assert outcome.provider_job_id in {bill.job_id for bill in bills_in(bills)}
    finally:
        process.kill()
        await process.communicate()
    books = bills_in(bills)
    markers = [bill.marker for bill in books]
    assert len(taken) < len(books) < 40  # some were billed and lost, some never billed
    assert len(set(markers)) == len(markers)
    assert {bill.number for bill in books} == set(range(1, len(books) + 1))
