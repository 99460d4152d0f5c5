"""Reads nightshot.toml and the environment into one plain tree that remembers where each value came from.

Only reading happens here; what a key means and which keys exist is said in settings.py.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scheduler.errors import SettingsError

LARGEST_FILE_BYTES = 1 << 20
PREFIX = "NIGHTSHOT_"
#: These two say where to look and are read before there is any configuration.
RESERVED = frozenset({"NIGHTSHOT_HOME", "NIGHTSHOT_CONFIG"})

Key = tuple[str, ...]


@dataclass
class Given:
    """Values as somebody wrote them, and the place of each (`nightshot.toml:12`)."""

    values: dict[str, Any] = field(default_factory=dict)
    places: dict[Key, str] = field(default_factory=dict)

    def put(self, key: Key, value: object, place: str) -> None:
        """Set one value, over anything set before."""
        table = self.values
        for name in key[:-1]:
            below = table.get(name)
            if not isinstance(below, dict):
                below = table[name] = {}
            table = below
        table[key[-1]] = value
        self.places[key] = place

    def put_all(self, other: Given) -> None:
        """Set everything of `other`, over what is here; an empty table empties nothing."""
        self.places.update(other.places)
        for key, value in leaves(other.values):
            if value != {} or not isinstance(self.get(key), dict):
                self.put(key, value, other.place_of(key))

    def get(self, key: Key) -> Any:
        below: Any = self.values
        for name in key:
            if not isinstance(below, dict):
                return None
            below = below.get(name)
        return below

    def place_of(self, key: Key) -> str:
        """The place of `key`, or of the nearest table above it that has one."""
        for length in range(len(key), 0, -1):
            if key[:length] in self.places:
                return self.places[key[:length]]
        return "default"


def leaves(tree: Mapping[str, Any], above: Key = ()) -> Iterator[tuple[Key, Any]]:
    """Every value that is not a table, with its key; an empty table counts as a value."""
    for name, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, (*above, name))
        else:
            yield (*above, name), value


def dotted(key: Key) -> str:
    """`backends."coda:iqm".slots`, as TOML would write it."""
    return ".".join(name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else f'"{name}"' for name in key)


def find_config_file(
    explicit: Path | None, environ: Mapping[str, str], candidates: tuple[Path, ...]
) -> Path | None:
    """The file to read; one that was asked for by name must exist. Raises SettingsError."""
    named, by = explicit, "--config"
    if named is None and environ.get("NIGHTSHOT_CONFIG"):
        named, by = Path(environ["NIGHTSHOT_CONFIG"]), "NIGHTSHOT_CONFIG"
    if named is not None:
        if not named.is_file():
            raise SettingsError(f"{named}: no such file (named by {by})", "Write one with: nightshot init")
        return named
    return next((path for path in candidates if path.is_file()), None)


def read_file(path: Path) -> Given:
    """Read one TOML file. Raises SettingsError with its line."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SettingsError(
            f"{path}: cannot be read: {error.strerror}", f"Let this user read it: chmod o+r '{path}'"
        ) from None
    if len(data) > LARGEST_FILE_BYTES:
        raise SettingsError(f"{path}: {len(data)} bytes is no configuration", "Is it the right file?")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise SettingsError(f"{path.name}:{line}: not UTF-8", f"Save {path} as UTF-8.") from None
    try:
        # The newline makes tomllib name a line where it would say "at end of document".
        values = tomllib.loads(text + "\n")
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(_with_line(path.name, str(error)), f"Correct {path}.") from None
    places = {key: f"{path.name}:{line}" for key, line in _lines_of(text)}
    return Given(values, places)


def _with_line(name: str, problem: str) -> str:
    found = re.search(r"\s*\(at line (\d+), column \d+\)", problem)
    if not found:
        return f"{name}: {problem}"
    return f"{name}:{found[1]}: {problem[: found.start()]}"


def _lines_of(text: str) -> Iterator[tuple[Key, int]]:
    """Where each key of a valid TOML text is written; tomllib itself keeps no lines.

    A statement ends with the first line that makes it parse, so that strings, arrays and inline tables over
    several lines need no parser of their own.
    """
    table: Key = ()
    statement, first = "", 0
    for number, line in enumerate(text.split("\n"), 1):
        if not statement:
            first = number
        statement += line + "\n"
        try:
            tree = tomllib.loads(statement)
        except tomllib.TOMLDecodeError:
            continue
        header = statement.lstrip().startswith("[")
        statement = ""
        if header:
            table = _path_down(tree)
            yield table, first
            continue
        for key, _ in leaves(tree):
            yield (*table, *key), first


def _path_down(tree: Any) -> Key:
    names: list[str] = []
    while tree:
        tree = tree[0] if isinstance(tree, list) else tree
        if not tree:
            break
        (name,) = tree
        names.append(name)
        tree = tree[name]
    return tuple(names)


def environment_names(environ: Mapping[str, str]) -> Iterator[tuple[str, Key]]:
    """Every NIGHTSHOT_… name with the key it means, case as written: `NIGHTSHOT_SPOOL__QUIET_S`."""
    for name in sorted(environ):
        if name.startswith(PREFIX) and name not in RESERVED:
            yield name, tuple(name[len(PREFIX) :].split("__"))


def value_from_text(text: str) -> Any:
    """Read a value as TOML would (`5`, `true`, `["a", "b"]`); anything else is the text itself."""
    try:
        tree = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return tree["value"] if list(tree) == ["value"] else text
