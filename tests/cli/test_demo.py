"""`nightshot demo`: its folder, its sum, and the whole of it with the real daemon and the real simulator."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scheduler.cli.demo import cost_sentence, drop_samples, prepare_home
from scheduler.cli.samples import samples
from scheduler.errors import UsageError
from scheduler.settings import load_settings
from tests.cli.conftest import Command
from tests.support.views import job_view


def test_a_demo_never_plays_in_a_home_that_somebody_works_with(tmp_path: Path) -> None:
    (tmp_path / "nightshot.toml").write_text("")
    with pytest.raises(UsageError, match="something other than a demo"):
        prepare_home(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["nightshot.toml"]


def test_the_folder_of_a_demo_can_be_used_again(tmp_path: Path) -> None:
    prepare_home(tmp_path / "demo")
    home = prepare_home(tmp_path / "demo")
    assert (
        sorted(drop_samples(home)) == sorted(path.name for path in home.inbox.iterdir()) == sorted(samples())
    )
    prices = load_settings(home, None, {}).settings.prices_for("local")
    assert prices["simulator"].per_task_microusd == 300_000


@pytest.mark.parametrize(
    ("costs", "sentence"),
    [
        (["0.445", "0.59"], "$1.035 of play money for 2 jobs"),
        (["0.445", None], "$0.445 of play money for 1 job, and 1 job whose cost is unknown"),
        ([], "$0.00 of play money for 0 jobs"),
    ],
)
def test_an_unknown_cost_is_not_counted_as_nothing(costs: list[str | None], sentence: str) -> None:
    jobs: list[Any] = [job_view(cost_usd=cost) for cost in costs]
    assert cost_sentence(jobs) == sentence


def test_the_demo_runs_every_sample_and_shows_the_broken_one(nightshot: Command, home: Any) -> None:
    done = nightshot("demo")
    assert done.code == 0, done.err + (home.root / "daemon.log").read_text()
    assert "shotz: unknown key, did you mean 'shots'?" in done.out
    assert "play money" in done.out
    jobs = json.loads(nightshot("jobs", "--all", "--json").out)["jobs"]
    assert {job["state"] for job in jobs} == {"completed"}
    assert len(jobs) == 9
    names = [job["job"] for job in jobs]
    first = json.loads(nightshot("jobs", "--json", "--limit", "5").out)
    second = json.loads(nightshot("jobs", "--json", "--after", str(first["next"])).out)
    assert [job["job"] for job in first["jobs"] + second["jobs"]] == names[::-1]
    assert list(home.inbox.iterdir()) == []
    assert len(list(home.results.rglob("counts.csv"))) == 9
