"""Reads the settings once at start, from one file and the environment; nothing else reads the environment.

A key that does not exist is refused wherever it is written, in the file with its line and in the environment:
a mistyped cap that is silently ignored costs money. The keys themselves are in settings_tree.py.
"""

from __future__ import annotations

import difflib
import os
import zoneinfo
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from scheduler.configuration import (
    PREFIX,
    Given,
    Key,
    dotted,
    environment_names,
    find_config_file,
    leaves,
    read_file,
    value_from_text,
)
from scheduler.core.money import Money
from scheduler.credentials import VENDOR_PROVIDER, secret_reader, token_source
from scheduler.errors import SettingsError
from scheduler.home import Home
from scheduler.settings_money import CapSettings
from scheduler.settings_tree import BackendSettings, Settings, default_providers
from scheduler.settings_types import MisplacedError
from scheduler.settings_windows import WindowSettings

#: Tables of parts that have not come yet: refused, never accepted and ignored.
NOT_YET = frozenset({"api"})
CODA_PATH = "/v0/coda"
#: Tables of tables: what stands in each one that a person names.
_NAMED: Mapping[str, type[BaseModel]] = {
    "backends": BackendSettings,
    "caps": CapSettings,
    "windows": WindowSettings,
}


@dataclass(frozen=True)
class Loaded:
    """The settings with the origin of each: `default`, `nightshot.toml:12`, `environment NIGHTSHOT_…`."""

    settings: Settings
    origins: Mapping[str, str]
    #: The file that was read; None when there is none.
    config_file: Path | None
    #: What a person should be told at start, a sentence each.
    notes: tuple[str, ...]

    def shown(self) -> Iterator[tuple[str, object, str]]:
        """Every key with its value and origin, for `config show`; a secret in a URL is blotted out."""
        for key, value in _leaves_of(self.settings):
            name = dotted(key)
            shown = _without_password(value) if name == "store.url" else _without_user(value)
            yield name, shown, self.origins[name]


def load_settings(home: Home, config_file: Path | None, environ: Mapping[str, str]) -> Loaded:
    """Read the configuration. Raises SettingsError with file, line, key and problem of everything wrong."""
    given = Given({"providers": default_providers()})
    notes = _put_system_zone(given, environ)
    path = find_config_file(config_file, environ, home.config_candidates)
    if path is not None:
        given.put_all(read_file(path))
    _put_environment(given, environ)
    _put_vendor_names(given, environ)
    try:
        settings = Settings(**given.values)
    except ValidationError as error:
        problems = [_problem(detail, given) for detail in error.errors(include_url=False)]
        raise SettingsError("\n".join(problems), f"Correct {path or 'the environment'}.") from None
    origins = {dotted(key): given.places.get(key, "default") for key, _ in _leaves_of(settings)}
    return Loaded(settings, origins, path, tuple(notes))


# ---------------------------------------------------------------------------------------- environment


def _put_environment(given: Given, environ: Mapping[str, str]) -> None:
    for name, words in environment_names(environ):
        key, field = _key_of(name, words, given)
        given.put(key, _value_for(field, environ[name]), f"environment {name}")


def _key_of(name: str, words: Key, given: Given) -> tuple[Key, FieldInfo | None]:
    """The key that an environment name means; no field is a plug-in's own option."""
    table = words[0].lower()
    if table in NOT_YET:
        raise SettingsError(f"environment {name}: {table} is not yet supported", f"Remove it: unset {name}")
    match (table, *words[1:]):
        case ("providers", provider, option) if provider and option:
            owner = _as_known(provider, given.values.get("providers"))
            return ("providers", owner, option.lower()), None
        case ("backends", backend, option) if option.lower() in BackendSettings.model_fields:
            whole = _as_known_backend(backend, given.values.get("backends"))
            return ("backends", whole, option.lower()), BackendSettings.model_fields[option.lower()]
        case ("caps" | "windows", name_within, option) if option.lower() in _NAMED[table].model_fields:
            whole = _as_known(name_within, given.values.get(table))
            return (table, whole, option.lower()), _NAMED[table].model_fields[option.lower()]
        case (_, option):
            model = _model_of(table)
            if model is not None and option.lower() in model.model_fields:
                return (table, option.lower()), model.model_fields[option.lower()]
    near = difflib.get_close_matches(name, list(_every_name()), 1)
    guess = f", did you mean {near[0]}?" if near else ""
    raise SettingsError(
        f"environment {name}: there is no such setting{guess}", f"Correct it, or remove it: unset {name}"
    )


def _as_known(written: str, known: object) -> str:
    """Names in the environment are often all capitals; a name that is configured keeps its own case."""
    names: Iterable[str] = known if isinstance(known, dict) else ()
    return next((name for name in names if name.lower() == written.lower()), written.lower())


def _as_known_backend(written: str, known: object) -> str:
    """A shell cannot export a name with a colon, so a bare device means the backend configured with it."""
    if ":" in written:
        return _as_known(written, known)
    names: Iterable[str] = known if isinstance(known, dict) else ()
    having = [name for name in names if name.partition(":")[2].lower() == written.lower()]
    return having[0] if len(having) == 1 else written


def _model_of(table: str) -> type[BaseModel] | None:
    field = Settings.model_fields.get(table)
    kind = field.annotation if field else None
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _every_name() -> Iterator[str]:
    for table in Settings.model_fields:
        model = _model_of(table)
        for option in model.model_fields if model else ():
            yield f"{PREFIX}{table}__{option}".upper()


def _value_for(field: FieldInfo | None, text: str) -> Any:
    """Texts are taken as they stand, so that `10.00 USD` and `5` need no quotes where text is wanted."""
    if field is None:
        return value_from_text(text)
    wanted = {field.annotation, *get_args(field.annotation)}
    if get_origin(field.annotation) is tuple:
        if text.lstrip().startswith("["):
            return value_from_text(text)
        parts = [part.strip() for part in text.split(",")]
        return [value_from_text(part) for part in parts] if int in wanted else parts
    is_text = str in wanted or Money in wanted or get_origin(field.annotation) is Literal
    if is_text and not text.startswith(('"', "'")):
        return text
    return value_from_text(text)


def _put_vendor_names(given: Given, environ: Mapping[str, str]) -> None:
    """The vendor's SDK knows two names for the base; they are the account's that is called `coda`."""
    whole, origin = environ.get("CODA_API_BASE_URL"), environ.get("CODA_BASE_URL")
    key = ("providers", VENDOR_PROVIDER, "base_url")
    if given.places.get(key, "").startswith("environment"):
        return
    if whole:
        given.put(key, whole, "environment CODA_API_BASE_URL")
    elif origin:
        given.put(key, origin.rstrip("/") + CODA_PATH, "environment CODA_BASE_URL")


# ------------------------------------------------------------------------------------------ time zone


def _put_system_zone(given: Given, environ: Mapping[str, str]) -> list[str]:
    key = ("time", "timezone")
    zone = system_zone(environ)
    if zone is not None:
        given.put(key, zone, "default, from this system")
        return []
    given.put(key, "UTC", "default")
    return ["This system does not say its time zone, so nights are counted in UTC: set time.timezone."]


def system_zone(environ: Mapping[str, str]) -> str | None:
    """The name of this system's time zone, from TZ, /etc/localtime or /etc/timezone."""
    return next(filter(_is_zone, _zone_candidates(environ)), None)


def _zone_candidates(environ: Mapping[str, str]) -> Iterator[str]:
    if environ.get("TZ"):
        yield environ["TZ"].lstrip(":")
    target = os.path.realpath("/etc/localtime")
    if "/zoneinfo/" in target:
        yield target.partition("/zoneinfo/")[2].replace("Etc/UTC", "UTC")
    try:
        with open("/etc/timezone", encoding="utf-8") as file:
            yield file.readline().strip().replace("Etc/UTC", "UTC")
    except (OSError, UnicodeDecodeError):
        pass  # most systems have no such file; the link above is the rule


def _is_zone(name: str) -> bool:
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


# ------------------------------------------------------------------------------- problems and display


def _problem(detail: Any, given: Given) -> str:
    key: Key = tuple(str(name) for name in detail["loc"])
    cause = detail.get("ctx", {}).get("error")
    if isinstance(cause, MisplacedError):
        key = (*key, *cause.key)
    place = given.place_of(key)
    return f"{place}: {dotted(key)}: {_sentence(detail, key, cause)}"


def _sentence(detail: Any, key: Key, cause: object) -> str:
    if isinstance(cause, ValueError):
        return str(cause)
    match detail["type"]:
        case "extra_forbidden" if key[0] in NOT_YET:
            return "not yet supported"
        case "extra_forbidden":
            known = Settings.model_fields if len(key) == 1 else _options_beside(key)
            near = difflib.get_close_matches(key[-1], known, 1)
            return f"unknown key, did you mean '{near[0]}'?" if near else "unknown key"
        case "model_type" | "dict_type" | "model_attributes_type":
            return "a table of settings is needed here, not a single value"
        case _:
            # The library's sentence; the value itself is left out, it might be a secret in the wrong place.
            return str(detail["msg"]).replace("Input should be", "should be")


def _options_beside(key: Key) -> Iterable[str]:
    if key[0] in _NAMED:
        return _NAMED[key[0]].model_fields
    model = _model_of(key[0])
    return model.model_fields if model else ()


def _leaves_of(settings: Settings) -> Iterator[tuple[Key, object]]:
    for table in Settings.model_fields:
        branch = getattr(settings, table)
        if isinstance(branch, BaseModel):
            yield from _options_of((table,), branch)
            continue
        for name, options in branch.items():
            if isinstance(options, BaseModel):
                yield from _options_of((table, name), options)
            else:
                yield from leaves(options, (table, name))


def _options_of(above: Key, model: BaseModel) -> Iterator[tuple[Key, object]]:
    for option in type(model).model_fields:
        value = getattr(model, option)
        match value:
            case Money():
                yield (*above, option), f"{value.decimal_text()} USD"
            case tuple():
                yield (*above, option), list(value)
            case _:
                yield (*above, option), value


def _without_password(url: object) -> str:
    scheme, mark, rest = str(url).partition("://")
    user, at, place = rest.rpartition("@")
    name, colon, _password = user.partition(":")
    # A password may also stand in the query, where drivers look for it under several names: show none of it.
    place, question, _query = place.partition("?")
    return f"{scheme}{mark}{name}{colon and ':***'}{at}{place}{question and '?***'}"


def _without_user(value: object) -> object:
    """An address as it may be shown: what stands before its host is no part of it, and may be a token."""
    if not isinstance(value, str) or "://" not in value or "@" not in value:
        return value
    return f"{value.partition('://')[0]}://***@{value.rpartition('@')[2]}"


__all__ = [
    "Loaded",
    "Settings",
    "load_settings",
    "secret_reader",
    "system_zone",
    "token_source",
]
