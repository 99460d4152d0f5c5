"""`nightshot demo`: the whole way once, from files in the inbox to histograms, on the local simulator.

Nothing is acted: the files go through the real spool, the daemon is the real one in a process of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from scheduler.cli.common import Where, echo_json, pass_where, where_options
from scheduler.cli.jobs import job_lines, pages
from scheduler.cli.render import paint, plain_lines, plural
from scheduler.cli.results import result_lines
from scheduler.cli.samples import CONFIGURATION, samples
from scheduler.errors import NightshotError, SettingsError, UsageError
from scheduler.home import CONFIG_NAME, Home, make_folders

DEFAULT_FOLDER = "nightshot-demo"
LOG_NAME = "daemon.log"
#: Lies in every demo home, so that a demo never plays in a home that somebody works with.
MARK = ".nightshot-demo"
SHOWN_JOB = "ghz"


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@where_options()
@pass_where
def demo(where: Where, as_json: bool) -> int:
    """Run sample jobs on the local simulator.

    Real files through the real inbox, daemon and simulator; the prices are play money, and nothing leaves
    this machine. They live in a home of their own: ./nightshot-demo, or the directory given by --home.
    """
    if find_spec("qiskit_aer") is None:
        raise SettingsError(
            "the local simulator is not installed", "Install it: python -m pip install 'nightshot[local]'"
        )
    home = prepare_home(Path(where.home_text or DEFAULT_FOLDER).absolute())
    before = _known_batches(_at(home)) if home.database.exists() else set()
    names = drop_samples(home)
    if not as_json:
        click.echo(f"Put {plural(len(names), 'file')} into {home.inbox}: {', '.join(names)}")
        click.echo("Running the daemon until nothing is left to do …")
    run_daemon_until_idle(home)
    answers = _collect(_at(home), before)
    left = [job for job in answers["jobs"] if job["state"] != "completed"]
    if as_json:
        echo_json({"home": str(home.root), "rejected": _rejections(home), **answers})
    else:
        for line in _story(home, answers):
            click.echo(line)
        if left:
            click.echo(f"{plural(len(left), 'job')} did not complete; see {home.root / LOG_NAME}", err=True)
    return 1 if left or not answers["jobs"] else 0


def prepare_home(root: Path) -> Home:
    """Make the folders and the configuration; a folder with something else in it is refused."""
    home = Home(root, config_candidates=(root / CONFIG_NAME,))
    if root.is_dir() and any(root.iterdir()) and not (root / MARK).exists():
        raise UsageError(f"{root} holds something other than a demo", "Name a new folder with --home DIR.")
    make_folders(home)
    (root / MARK).touch()
    (root / CONFIG_NAME).write_text(CONFIGURATION, encoding="utf-8")
    return home


def drop_samples(home: Home) -> list[str]:
    """Put the samples into the inbox as any program should: write under a `.tmp` name, then rename."""
    for name, text in samples().items():
        unfinished = home.inbox / f"{name}.tmp"
        unfinished.write_text(text, encoding="utf-8")
        unfinished.rename(home.inbox / name)
    return list(samples())


def run_daemon_until_idle(home: Home) -> None:
    """Run the daemon as its own process; what it logs is kept beside the results. Raises NightshotError."""
    log = home.root / LOG_NAME
    command = [sys.executable, "-m", "scheduler.cli", "--home", str(home.root), "run", "--until-idle"]
    with log.open("ab") as output:
        ended = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=_play_environment(),
            check=False,
        )
    if ended.returncode != 0:
        last = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-5:])
        raise NightshotError(f"the daemon ended with code {ended.returncode}:\n{last}", f"All of it: {log}")


def _play_environment() -> dict[str, str]:
    """Without settings and tokens of a real installation: a demo must not touch its store or its account."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("NIGHTSHOT_", "CODA_"))}


def _at(home: Home) -> Where:
    where = Where()
    where.home_text = str(home.root)
    return where


def _known_batches(where: Where) -> set[int]:
    return {job["batch"] for view in pages(where, {}) for job in view["jobs"]}


def _collect(where: Where, before: set[int]) -> dict[str, Any]:
    """The jobs of this run and the result of one of them."""
    jobs = [job for view in pages(where, {}) for job in view["jobs"] if job["batch"] not in before]
    jobs.sort(key=lambda job: [int(part) for part in job["job"].split(".")])
    done = [job for job in jobs if job["state"] == "completed"]
    chosen = next((job for job in done if job["name"].startswith(SHOWN_JOB)), done[0] if done else None)
    shown = where.ask("results", {"job": chosen["job"]})["results"] if chosen else []
    return {"jobs": jobs, "results": shown}


def _rejections(home: Home) -> list[str]:
    return sorted(str(path) for path in home.rejected.rglob("*.WHY.txt"))


def _story(home: Home, answers: dict[str, Any]) -> list[str]:
    lines = ["", *job_lines(answers["jobs"]), ""]
    for result in answers["results"]:
        lines += [*result_lines(result), ""]
    lines += [f"Cost: {cost_sentence(answers['jobs'])}", ""]
    for path in _rejections(home)[-1:]:
        lines += [paint(f"Refused, with the reason beside it in {path}:", bold=True)]
        text = Path(path).read_text(encoding="utf-8", errors="replace")
        lines += [f"  {line}" for line in plain_lines(text).splitlines()] + [""]
    folder = os.path.relpath(home.root)
    home_text = folder if not folder.startswith("..") else str(home.root)
    return [
        *lines,
        f"Results: {home.results}",
        f"Inbox:   {home.inbox} (drop a .qasm or .py file there)",
        f"Next:    nightshot --home {home_text} run",
    ]


def cost_sentence(jobs: list[dict[str, Any]]) -> str:
    """The sum of what is known, and how many are not; an unknown cost is not counted as nothing."""
    from scheduler.core.money import ZERO, Money

    known = [Money.parse(job["cost_usd"]) for job in jobs if job["cost_usd"] is not None]
    unknown = sum(job["cost_usd"] is None and job["state"] == "completed" for job in jobs)
    sentence = f"{sum(known, ZERO)} of play money for {plural(len(known), 'job')}"
    return sentence + (f", and {plural(unknown, 'job')} whose cost is unknown" if unknown else "")
