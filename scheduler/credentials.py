"""Reads secrets at the moment they are used, so that a rotated token is picked up and none is kept.

A provider never gets another account's token: the vendor's environment names belong to the provider called
`coda`, and a `token_file` that cannot be read is no token rather than the next best one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from scheduler.settings_tree import Settings

LARGEST_SECRET_BYTES = 64 * 1024
#: The provider whose secrets the vendor's own environment names are.
VENDOR_PROVIDER = "coda"

ReadSecret = Callable[[str], str | None]


def secret_reader(settings: Settings, environ: Mapping[str, str]) -> Callable[[str], ReadSecret]:
    """Return, for a provider's name, a function that reads that provider's secrets by name.

    A name that ends in `-token` is the provider's one token: from `token_file`, then
    `$CREDENTIALS_DIRECTORY/<provider>-token`, then, for the provider `coda`, CODA_API_TOKEN_FILE and
    CODA_API_TOKEN. Other names are looked up in `$CREDENTIALS_DIRECTORY` only. None: there is none.
    """

    def for_provider(provider: str) -> ReadSecret:
        def read(name: str) -> str | None:
            source = _source(settings, environ, provider, name)
            match source:
                case Path():
                    return _read_file(source)
                case _:
                    return source

        return read

    return for_provider


def token_source(settings: Settings, environ: Mapping[str, str], provider: str) -> str | None:
    """Say where the provider's token would come from, for people: a path or a variable's name."""
    source = _source(settings, environ, provider, f"{provider}-token")
    match source:
        case None:
            return None
        case Path():
            return str(source)
        case _:
            return "CODA_API_TOKEN"


def _source(settings: Settings, environ: Mapping[str, str], provider: str, name: str) -> Path | str | None:
    credentials = environ.get("CREDENTIALS_DIRECTORY")
    if not name.endswith("-token"):
        return Path(credentials, Path(name).name) if credentials else None
    written = settings.providers[provider].get("token_file")
    if written:
        return _expanded(written, environ)
    if credentials and (handed := Path(credentials, f"{provider}-token")).exists():
        return handed
    if provider == VENDOR_PROVIDER:
        if environ.get("CODA_API_TOKEN_FILE"):
            return _expanded(environ["CODA_API_TOKEN_FILE"], environ)
        return environ.get("CODA_API_TOKEN", "").strip() or None
    return None


def _expanded(text: str, environ: Mapping[str, str]) -> Path:
    home = environ.get("HOME")
    return Path(home + text[1:]) if home and text.startswith("~/") else Path(text).expanduser()


def _read_file(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_SECRET_BYTES + 1)
    except OSError:
        return None
    if len(data) > LARGEST_SECRET_BYTES:
        return None
    return data.decode("utf-8", "replace").strip() or None
