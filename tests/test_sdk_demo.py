"""The demonstration counts the server's own bills; whether PyPI can be reached, no test asks."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path

from benchmarks.sdk_demo import CODE, Paid, count, lossy_server, table, with_nightshot


def post_run(base_url: str, number: int) -> int:
    """One run as the vendor's client sends it; returns the status, 0 when the connection broke."""
    body = {"code": CODE.format(number=number), "source_framework": "openqasm3", "backend": "iqm"}
    request = urllib.request.Request(
        f"{base_url}/qpus",
        json.dumps(body).encode(),
        {"Authorization": "Bearer coda_of_the_demonstration", "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refused:
        with refused:
            return int(refused.code)
    except OSError:
        return 0


def test_a_run_that_is_sent_again_is_counted_as_paid_again() -> None:
    with lossy_server(0.0) as server:
        answers = [post_run(server.base_url, number) for number in (1, 2, 2, 2, 3)]
        found = count("somebody", 0.0, 3, server, "")
    assert answers == [200] * 5
    assert (found.bills, found.paid_again, found.worst) == (5, 1, 3)
    assert round(found.dollars_too_many, 2) == 2.60


def test_the_server_bills_what_it_loses_the_answer_of() -> None:
    with lossy_server(1.0) as server:
        answers = {post_run(server.base_url, number) for number in range(12)}
        assert answers == {502, 0}, "a 502 or a reset connection, both of them"
        assert count("somebody", 1.0, 12, server, "").bills == 12


def test_nightshot_pays_each_run_once_whatever_is_lost(tmp_path: Path) -> None:
    found = with_nightshot(tmp_path / "home", 0.5, 6)
    assert (found.bills, found.paid_again, found.worst) == (6, 0, 1)
    assert "in doubt" in found.told


def test_the_table_has_a_row_for_each_client() -> None:
    rows = table([Paid("the vendor's SDK", 0.2, 10, 13, 2, 3, "9 submitted, 1 raised")]).splitlines()
    assert rows[-1].startswith("| 20% | the vendor's SDK | 10 | 13 | 2 | 3 × | $3.90 |")


def test_the_readme_quotes_what_was_measured() -> None:
    root = Path(__file__).parents[1]
    readme = (root / "README.md").read_text(encoding="utf-8")
    table = readme.partition("<!-- quoted: benchmarks/SDK_DEMO.md -->\n")[2].partition("\n\n")[0]
    quoted = table.splitlines()
    measured = (root / "benchmarks/SDK_DEMO.md").read_text(encoding="utf-8").splitlines()
    assert len(quoted) == 4
    assert [row for row in quoted if not any(line.startswith(row) for line in measured)] == []
