"""From `kind = "coda"` to an object: the file of that name in `scheduler/providers/` is the kind.

No registry and no fallback: a kind without a file, or an option that file does not have, stops the start.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic import BaseModel, ValidationError

from scheduler import providers
from scheduler.errors import SettingsError
from scheduler.ports import Provider, Site


def provider_kinds() -> tuple[str, ...]:
    """Return the kinds there are: the names of the files in the folder, without those that start with `_`."""
    folder = Path(providers.__file__).parent
    return tuple(sorted(path.stem for path in folder.glob("*.py") if not path.name.startswith("_")))


def build_provider(kind: str, options: Mapping[str, object], site: Site) -> Provider:
    """Make the provider `[providers.<site.name>]` describes. Raises SettingsError naming section and key."""
    kinds = provider_kinds()
    section = f"[providers.{site.name}]"
    if kind not in kinds:
        known = f"there is no kind {kind!r}; the kinds are: {', '.join(kinds)}"
        raise SettingsError(f"{section} kind: {known}", _did_you_mean(kind, kinds))
    module = importlib.import_module(f"{providers.__name__}.{kind}")
    # Raised outside the except block: pydantic's own error shows the values, which may be secrets.
    settings = _read_options(module.Settings, options)
    if isinstance(settings, list):
        raise SettingsError("\n".join(f"{section} {problem}" for problem in settings))
    provider: Provider = module.build(settings, site)
    return provider


def _read_options(model: type[BaseModel], options: Mapping[str, object]) -> BaseModel | list[str]:
    """The checked options, or one `key: problem` for each that is wrong."""
    try:
        return model(**options)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False, include_input=False)
    problems = []
    for fault in faults:
        key = ".".join(str(step) for step in fault["loc"]) or "options"
        problem = fault["msg"].removeprefix("Value error, ")
        if fault["type"] == "extra_forbidden":
            meant = _did_you_mean(str(fault["loc"][-1]), _keys_beside(model, fault["loc"]))
            problem = f"unknown key{', ' + meant if meant else ''}"
        problems.append(f"{key}: {problem}")
    return problems


def _keys_beside(model: type[BaseModel], location: tuple[int | str, ...]) -> Iterable[str]:
    """The keys allowed where `location` points."""
    for step in location[:-1]:
        field = model.model_fields.get(str(step))
        if field is None or not (
            isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
        ):
            return ()
        model = field.annotation
    return model.model_fields


def _did_you_mean(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"did you mean '{close[0]}'?" if close else ""
