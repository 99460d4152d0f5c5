"""Every benchmark runs, at tiny sizes, and tells its figures; how fast anything is, no test decides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.__main__ import BENCHMARKS, benchmark, main
from benchmarks.homes import Workshop
from benchmarks.measure import Figure, Run, percentile, ratio_of, table

TINY: dict[str, tuple[dict[str, Any], str]] = {
    "intake-jsonl": ({"count": 30, "pairs": 1}, "ratio to floor"),
    "intake-files": ({"count": 12, "pairs": 1}, "ratio to floor"),
    "job-life": ({"count": 40, "pairs": 1}, "ratio to floor"),
    "latency": ({"samples": 1}, "rename to durable row, median"),
    "command": ({"pairs": 1}, "nightshot status: times python -c pass"),
    "idle": ({"seconds": 0.2}, "idle daemon, resident"),
    "simulator": ({"count": 1, "pairs": 1}, "ratio to a bare child"),
    "audit": ({"entries": 300, "pairs": 1}, "ratio to plain SQL sums"),
    "reserve": ({"count": 3, "pairs": 1}, "ratio to floor"),
}


def test_no_benchmark_goes_untested() -> None:
    assert TINY.keys() == BENCHMARKS.keys()


@pytest.mark.parametrize("name", TINY)
def test_a_benchmark_runs_and_tells_its_figures(name: str, tmp_path: Path) -> None:
    sizes, expected = TINY[name]
    figures = benchmark(name)(Workshop.open(tmp_path / "workshop"), **sizes)
    assert any(expected in figure.name for figure in figures), [figure.name for figure in figures]
    assert all(figure.value >= 0 for figure in figures)


def test_the_command_prints_the_machine_and_a_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, report = tmp_path / "disk", tmp_path / "RESULTS.md"
    folder.mkdir()
    code = main(["intake-jsonl", "--quick", "--dir", str(folder), "--out", str(report)])
    told = capsys.readouterr().out
    assert " cores (" in told
    assert "ratio to floor" in told
    assert code == ("MISSED" in told)
    assert list(folder.iterdir()) == []
    written = report.read_text(encoding="utf-8")
    assert "| `intake-jsonl` | " in written
    assert str(tmp_path) not in written, "a report names no path of the machine"


def test_a_folder_that_is_not_there_is_refused_with_its_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["--dir", str(tmp_path / "nowhere")])
    assert "nowhere: there is no such folder" in capsys.readouterr().err


def test_an_unknown_benchmark_is_refused_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["intake-jsnol"])
    assert ended.value.code == 2
    assert "there is no benchmark 'intake-jsnol'; there are: intake-jsonl" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("figure", "reached"),
    [
        (Figure("a", 0.4, "×", 0.4), True),
        (Figure("a", 0.39, "×", 0.4), False),
        (Figure("a", 8.0, "×", 8.0, below=True), False),
        (Figure("a", 7.9, "×", 8.0, below=True), True),
        (Figure("a", 1.0, "ms"), None),
    ],
)
def test_a_goal_is_a_least_or_a_most(figure: Figure, reached: bool | None) -> None:
    assert figure.reached is reached
    verdict = {True: "reached", False: "MISSED", None: ""}[reached]
    assert verdict in table([figure]).splitlines()[1]


def test_the_ratio_is_the_median_of_the_pairs_and_not_the_ratio_of_medians() -> None:
    def run(wall_s: float) -> Run:
        return Run(1, wall_s, 0.0)

    pairs = [(run(2.0), run(1.0)), (run(20.0), run(2.0)), (run(4.0), run(3.0))]
    assert ratio_of(pairs) == pytest.approx(0.5)
    assert percentile([3.0, 1.0, 2.0], 50) == 2.0
