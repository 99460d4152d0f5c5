"""The docs name every command, setting, gate, state, kind and exit code, and their links lead somewhere."""

from __future__ import annotations

import importlib
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from pydantic import BaseModel

from scheduler import cli, errors
from scheduler.core.admission import GATE_CODES, NEEDS_PERSON
from scheduler.core.lifecycle import AttemptState, JobState
from scheduler.core.money import Money
from scheduler.home import Home
from scheduler.plugins import provider_kinds
from scheduler.settings import load_settings
from scheduler.settings_money import CapSettings
from scheduler.settings_tree import BackendSettings, Settings
from scheduler.settings_windows import WindowSettings
from tests.support.readme import README, ROOT, block_behind, regenerated, table_rows

TEXT = README.read_text(encoding="utf-8")
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [README, *DOCS]
SETTINGS = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
#: Addresses that may stand in the docs; nothing else is ours to send people to.
KNOWN_HOSTS = {"api.conductorquantum.com", "peps.python.org"}


def all_commands() -> Iterator[str]:
    """`status`, `config show`, `db upgrade` …: whatever can be typed behind `nightshot`."""
    context = click.Context(cli.nightshot)
    for name in cli.COMMANDS:
        command = cli.nightshot.get_command(context, name)
        if isinstance(command, click.Group):
            yield from (f"{name} {inner}" for inner in command.commands if inner != "list")
        if not isinstance(command, click.Group) or command.invoke_without_command:
            yield name


@pytest.mark.parametrize("command", list(all_commands()))
def test_every_command_is_in_the_table(command: str) -> None:
    listed = " ".join(" ".join(row) for row in table_rows(TEXT, "Command"))
    assert re.search(rf"`(nightshot )?{command}[` ]", listed), f"nightshot {command}"


def test_the_table_has_no_command_that_does_not_exist() -> None:
    named = {
        word
        for row in table_rows(TEXT, "Command")
        for word in re.findall(r"`nightshot ([a-z ]+[a-z])", row[0])
    }
    assert named <= set(all_commands())


def shown(value: object) -> str:
    match value:
        case Money():
            return f'`"{value.decimal_text()} USD"`'
        case tuple():
            return "`[" + ", ".join(f'"{i}"' if isinstance(i, str) else str(i) for i in value) + "]`"
        case bool():
            return f"`{str(value).lower()}`"
        case str():
            return f'`"{value}"`'
        case float():
            return f"`{value:g}`"
        case _:
            return f"`{value}`"


def all_settings() -> Iterator[tuple[str, str | None]]:
    """Every key as the table has it, with its default; None where the default depends on the machine."""
    settings = Settings()
    for table, field in Settings.model_fields.items():
        branch = getattr(settings, table)
        if isinstance(branch, BaseModel):
            for option in type(branch).model_fields:
                key = f"{table}.{option}"
                yield key, None if key == "time.timezone" else shown(getattr(branch, option))
        else:
            assert field.annotation is not None, table
    for option in BackendSettings.model_fields:
        yield f'backends."NAME".{option}', None
    for option in CapSettings.model_fields:
        yield f"caps.NAME.{option}", None
    for option in WindowSettings.model_fields:
        yield f"windows.NAME.{option}", None
    yield from (("providers.NAME.kind", None), ("providers.NAME.token_file", None))


@pytest.mark.parametrize(("key", "default"), list(all_settings()))
def test_every_setting_is_in_the_table_with_its_default(key: str, default: str | None) -> None:
    rows = {row[0].strip("`"): row for row in table_rows(SETTINGS, "Setting")}
    assert key in rows
    if default is not None:
        assert rows[key][1] == default
    assert rows[key][2]


def test_the_table_has_no_setting_that_does_not_exist() -> None:
    assert {row[0].strip("`") for row in table_rows(SETTINGS, "Setting")} == {
        key for key, _ in all_settings()
    }


def test_every_gate_is_in_the_table_and_who_opens_it() -> None:
    rows = [(row[0].strip("`"), row[2]) for row in table_rows(TEXT, "Gate")]
    assert tuple(code for code, _ in rows) == GATE_CODES, "in the order in which they are shown"
    assert {code for code, opener in rows if opener.startswith("a person")} == NEEDS_PERSON


def test_the_diagrams_are_those_of_the_lifecycle() -> None:
    assert regenerated(TEXT) == TEXT, "draw them anew: python -m tests.support.readme"


@pytest.mark.parametrize("state", [*JobState, *AttemptState])
def test_every_state_is_in_a_diagram(state: str) -> None:
    drawn = block_behind(TEXT, "generated: job diagram") + block_behind(TEXT, "generated: attempt diagram")
    assert re.search(rf"--> {state}\b", drawn)


def exit_codes() -> set[int]:
    def below(kind: type[errors.NightshotError]) -> Iterator[int]:
        yield kind.exit_code
        for child in kind.__subclasses__():
            yield from below(child)

    return {0, cli.INTERRUPTED, cli.PIPE_CLOSED, *below(errors.NightshotError)}


def test_every_exit_code_is_in_the_readme_and_in_the_help() -> None:
    sentence = re.search(r"^Exit codes: (.*?)\n\n", TEXT, re.DOTALL | re.MULTILINE)
    assert sentence
    assert {int(code) for code in re.findall(r"`(\d+)`", sentence[1])} == exit_codes()
    assert {int(code) for code in re.findall(r"(?m)^  (\d+) ", cli.EXIT_CODES)} == exit_codes()


def options_of(kind: str) -> dict[str, object]:
    model = importlib.import_module(f"scheduler.providers.{kind}").Settings
    return {name: field.default for name, field in model.model_fields.items() if name != "kind"}


@pytest.mark.parametrize("kind", provider_kinds())
def test_every_provider_has_a_section_with_all_of_its_options(kind: str) -> None:
    text = (ROOT / "docs" / "providers.md").read_text(encoding="utf-8")
    section = re.search(rf"(?ms)^## `{kind}`\n.*?(?=^## )", text)
    assert section, f"docs/providers.md has no section on {kind}"
    rows = {row[0].strip("`"): row[1] for row in table_rows(section[0], "Option")}
    options = options_of(kind)
    assert set(rows) == set(options)
    for name, default in options.items():
        if rows[name].startswith("`"):
            assert rows[name].replace('"', "") == shown(default).replace('"', ""), name


# --------------------------------------------------------------------------------------- pages and links


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as they are made for the web."""
    headings = re.findall(
        r"(?m)^#+ (.*)$", re.sub(r"(?ms)^```.*?^```$", "", page.read_text(encoding="utf-8"))
    )
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_inside_the_repository_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        found = (page.parent / name).resolve() if name else page
        assert found.is_relative_to(ROOT), target
        assert found.exists(), target
        assert not anchor or anchor in anchors(found), target


def test_every_page_is_reached_from_the_readme() -> None:
    assert [page.name for page in DOCS if f"(docs/{page.name})" not in TEXT] == []


def tracked_texts() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode:  # an unpacked archive has no repository around it
        return [*PAGES, *sorted((ROOT / "config").iterdir()), *sorted((ROOT / "systemd").iterdir())]
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_no_file_knows_where_it_was_written() -> None:
    """A path of the machine on which somebody works helps nobody else."""
    here = str(ROOT).encode()
    assert here.count(b"/") > 1, "too short to be looked for"
    pattern = re.compile(re.escape(here) + rb"\b")
    assert [str(path) for path in tracked_texts() if pattern.search(path.read_bytes())] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_docs_send_people_only_where_we_mean_to(page: Path) -> None:
    hosts = set(re.findall(r"https?://([^/\s`)\"]+)", page.read_text(encoding="utf-8")))
    assert hosts <= KNOWN_HOSTS


def test_the_readme_stays_readable() -> None:
    lines = TEXT.splitlines()
    assert len(lines) < 400
    assert max(len(line) for line in lines if not line.startswith("|")) <= 130


# ------------------------------------------------------------------------------------------ architecture


def packages() -> list[str]:
    return sorted(path.parent.name for path in (ROOT / "scheduler").glob("*/__init__.py"))


def test_the_architecture_names_every_package_and_stage() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    stages = [path for path in (ROOT / "scheduler" / "stages").glob("*.py") if path.name != "__init__.py"]
    wanted = [f"scheduler/{name}" for name in packages()] + [
        f"scheduler/stages/{path.name}" for path in stages
    ]
    assert [name for name in wanted if f"`{name}`" not in text] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_is_named_exists(page: Path) -> None:
    named = re.findall(
        r"`((?:scheduler|tests|systemd|config|docs|\.ci|migrations)/[\w./-]*)`",
        page.read_text(encoding="utf-8"),
    )
    assert [name for name in named if not (ROOT / name).exists()] == []


# ------------------------------------------------------------------------------------------------ config


@pytest.mark.parametrize("example", sorted((ROOT / "config").glob("*.toml")), ids=lambda path: path.name)
def test_every_example_configuration_is_read_without_a_complaint(example: Path, tmp_path: Path) -> None:
    assert load_settings(Home(tmp_path), example, {"TZ": "UTC"}).config_file == example


def test_the_docs_of_the_unit_are_the_unit() -> None:
    """Whoever follows docs/operations.md ends up with the paths that the unit has."""
    unit = (ROOT / "systemd" / "nightshot.service").read_text(encoding="utf-8")
    operations = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    for path in ("/opt/nightshot", "/etc/nightshot/coda-token", "/var/lib/nightshot", "useradd --system"):
        assert path in unit, path
        assert path in operations, path
