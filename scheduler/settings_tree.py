"""Every setting there is, with its default and its limits, as one frozen tree.

The tree only says what may be written; settings.py reads it. Secrets are not settings: see credentials.py.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from scheduler.core.job import SHOTS_DEFAULT
from scheduler.core.money import Money
from scheduler.core.pricing import PriceList
from scheduler.settings_money import (
    AlarmSettings,
    ApprovalSettings,
    CapSettings,
    CreditSettings,
    OverageSettings,
    RoleSettings,
    check_caps,
)
from scheduler.settings_types import (
    Count,
    MisplacedError,
    MoneyText,
    PercentText,
    Seconds,
    Table,
    Texts,
    ZoneName,
)
from scheduler.settings_windows import WindowSettings, check_windows

MIB = 1 << 20
SIMULATOR = "simulator"
CODA_SHOTS = (10, 10_000)
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
_BACKEND = re.compile(r"(?P<provider>[a-z0-9][a-z0-9_-]*):(?P<device>[A-Za-z0-9][A-Za-z0-9._:/-]*)")
_SECRET_OPTION = re.compile(r"(^|_)(token|secret|password|api_?key)$")


def _store_url(value: str) -> str:
    if value and not value.startswith(
        ("postgresql://", "postgres://", "postgresql+asyncpg://", "sqlite:///")
    ):
        raise ValueError("write postgresql://user@host/database, or sqlite:///file, or leave it empty")
    if value.startswith("sqlite:///") and value[len("sqlite:///") :].split("?")[0] in ("", ":memory:"):
        raise ValueError("a database in memory would forget what was paid: name a file")
    return value


class TimeSettings(Table):
    #: Nights and reports are in this zone; without one, load_settings puts in the system's.
    timezone: ZoneName = "UTC"


class DefaultSettings(Table):
    backend: str = SIMULATOR
    shots: Count = SHOTS_DEFAULT


class SpoolSettings(Table):
    owners: Texts = ("self",)
    scan_interval_s: Seconds = 5.0
    quiet_s: Annotated[float, Field(ge=0, le=3600, allow_inf_nan=False)] = 2.0
    max_file_bytes: Count = 16 * MIB
    max_jobs_per_file: Count = 100_000

    @model_validator(mode="after")
    def _owners_are_named(self) -> SpoolSettings:
        if not self.owners or not all(self.owners):
            raise MisplacedError(("owners",), 'is empty, so no file would ever be taken: write ["self"]')
        return self


class StoreSettings(Table):
    #: Empty is an SQLite file in the home. May hold a password, so it never appears in a repr.
    url: Annotated[str, AfterValidator(_store_url)] = Field(default="", repr=False)


class BackendSettings(Table):
    slots: Count | None = None
    enabled: bool = True
    price_per_task: MoneyText | None = None
    price_per_shot: MoneyText | None = None
    min_shots: Count | None = None
    max_shots: Count | None = None

    @model_validator(mode="after")
    def _whole(self) -> BackendSettings:
        if (self.price_per_task is None) != (self.price_per_shot is None):
            missing = "price_per_task" if self.price_per_task is None else "price_per_shot"
            raise MisplacedError(
                (missing,), "is missing, and unknown is not zero: write '0.00 USD' if it is free"
            )
        if self.min_shots and self.max_shots and self.min_shots > self.max_shots:
            raise MisplacedError(("min_shots",), f"{self.min_shots} is above max_shots {self.max_shots}")
        return self

    @property
    def prices(self) -> PriceList | None:
        if self.price_per_task is None or self.price_per_shot is None:
            return None
        return PriceList(self.price_per_task.microusd, self.price_per_shot.microusd)


class SubmitSettings(Table):
    concurrency: Annotated[int, Field(ge=1, le=1000)] = 32


class PollSettings(Table):
    min_interval_s: Seconds = 1.0
    max_interval_s: Seconds = 60.0

    @model_validator(mode="after")
    def _ordered(self) -> PollSettings:
        if self.min_interval_s > self.max_interval_s:
            raise MisplacedError(("min_interval_s",), f"is above max_interval_s, {self.max_interval_s:g}")
        return self


class QuoteSettings(Table):
    #: A shorter one would have run out before the job it is for could be sent.
    ttl_s: Annotated[float, Field(ge=10, le=86_400 * 7, allow_inf_nan=False)] = 3600.0
    tolerance: PercentText = "5 %"


class BreakerSettings(Table):
    doubts: Count = 3
    doubt_exposure: MoneyText = Money(10_000_000)
    failures: Count = 5
    refusals: Count = 5
    suspicious_results: Count = 3
    first_pause_s: Seconds = 30.0
    last_pause_s: Seconds = 3600.0

    @model_validator(mode="after")
    def _ordered(self) -> BreakerSettings:
        if self.first_pause_s > self.last_pause_s:
            raise MisplacedError(("first_pause_s",), f"is above last_pause_s, {self.last_pause_s:g}")
        return self


class DrainSettings(Table):
    timeout_s: Seconds = 30.0


class LogSettings(Table):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["console", "json"] = "console"


def default_providers() -> dict[str, dict[str, Any]]:
    return {"local": {"kind": "simulator"}, "coda": {"kind": "coda"}}


class Settings(BaseSettings):
    """The whole tree. Built by load_settings, or by hand in a test."""

    model_config = SettingsConfigDict(
        extra="forbid", strict=True, frozen=True, arbitrary_types_allowed=True, validate_default=True
    )

    time: TimeSettings = TimeSettings()
    defaults: DefaultSettings = DefaultSettings()
    spool: SpoolSettings = SpoolSettings()
    store: StoreSettings = StoreSettings()
    #: Options beside `kind` are the plug-in's; it validates them.
    providers: dict[str, dict[str, Any]] = Field(default_factory=default_providers)
    backends: dict[str, BackendSettings] = Field(default_factory=dict)
    submit: SubmitSettings = SubmitSettings()
    poll: PollSettings = PollSettings()
    quote: QuoteSettings = QuoteSettings()
    breaker: BreakerSettings = BreakerSettings()
    #: Beside the night's cap, which `nightshot arm` sets.
    caps: dict[str, CapSettings] = Field(default_factory=dict)
    windows: dict[str, WindowSettings] = Field(default_factory=dict)
    overage: OverageSettings = OverageSettings()
    credits: CreditSettings = CreditSettings()
    approval: ApprovalSettings = ApprovalSettings()
    alarms: AlarmSettings = AlarmSettings()
    roles: RoleSettings = RoleSettings()
    drain: DrainSettings = DrainSettings()
    log: LogSettings = LogSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the library passes these by name
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        # The library's own environment source skips names it does not know and forgets where a value came
        # from; load_settings reads the environment by the same rules and hands the result in.
        return (init_settings,)

    @model_validator(mode="after")
    def _agree(self) -> Settings:
        for name, options in self.providers.items():
            _check_provider(name, options)
        for name in self.backends:
            self._check_backend(name)
        check_caps(self.caps, self.time.timezone)
        check_windows(self.windows)
        try:
            self.backend_name(self.defaults.backend)
        except ValueError as error:
            raise MisplacedError(("defaults", "backend"), str(error)) from None
        return self

    def _check_backend(self, name: str) -> None:
        found = _BACKEND.fullmatch(name)
        if not found:
            raise MisplacedError(("backends", name), 'write a backend as provider:device, like "coda:iqm"')
        if found["provider"] not in self.providers:
            problem = f"no provider is called {found['provider']!r}{_near(found['provider'], self.providers)}"
            raise MisplacedError(("backends", name), problem)

    # ------------------------------------------------------------------------------------- questions

    def store_url(self, database: Path) -> str:
        """The store as SQLAlchemy names it; `database` is the file used when no URL is written."""
        url = self.store.url
        if not url:
            return f"sqlite+aiosqlite:///{database}"
        scheme, _, rest = url.partition("://")
        if scheme == "sqlite":
            # A relative file is beside the home's own, wherever the command was started.
            return f"sqlite+aiosqlite:///{database.parent / rest[1:]}"
        # asyncpg calls it `ssl` what libpq calls `sslmode`, with the same words.
        return f"postgresql+asyncpg://{rest}".replace("?sslmode=", "?ssl=").replace("&sslmode=", "&ssl=")

    def kind_of(self, provider: str) -> str:
        return str(self.providers[provider]["kind"])

    def provider_options(self, provider: str) -> dict[str, Any]:
        """The options for the plug-in: without `kind`, which chose it, and `token_file`, which is ours."""
        return {
            name: value
            for name, value in self.providers[provider].items()
            if name not in ("kind", "token_file")
        }

    def backend_name(self, text: str) -> str:
        """Resolve what people write to `provider:device`. Raises ValueError with a sentence.

        A bare device means the one provider that is configured with it; bare `simulator` is the local one;
        a device nobody configured belongs to the only provider that is not a simulator.
        """
        if ":" in text:
            found = _BACKEND.fullmatch(text)
            if not found:
                raise ValueError(f"backend {text!r}: write it as provider:device, like 'coda:iqm'")
            if found["provider"] not in self.providers:
                raise ValueError(
                    f"backend {text!r}: no provider is called {found['provider']!r}"
                    f"{_near(found['provider'], self.providers)}"
                )
            return text
        if not _BACKEND.fullmatch(f"x:{text}"):
            raise ValueError(f"backend {text!r}: a device name has letters, digits and - . _ / only")
        return self._bare_backend(text)

    def _bare_backend(self, device: str) -> str:
        local = [name for name in self.providers if self.kind_of(name) == SIMULATOR]
        remote = [name for name in self.providers if self.kind_of(name) != SIMULATOR]
        if device == SIMULATOR and local:
            return f"{'local' if 'local' in local else local[0]}:{SIMULATOR}"
        having = [name for name in self.providers if f"{name}:{device}" in self.backends]
        owners = having or remote
        match owners:
            case [owner]:
                return f"{owner}:{device}"
            case []:
                raise ValueError(f"backend {device!r}: no provider is configured that could have it")
            case _:
                choices = " or ".join(f"'{owner}:{device}'" for owner in owners)
                raise ValueError(f"backend {device!r} could be with several providers: write {choices}")

    def backend(self, name: str) -> BackendSettings:
        """What is configured for `provider:device`, or the defaults."""
        return self.backends.get(name) or BackendSettings()

    def prices_for(self, provider: str) -> dict[str, PriceList]:
        """Price lists by device name. The simulator is free unless a price is written."""
        prices = {SIMULATOR: PriceList()} if self.kind_of(provider) == SIMULATOR else {}
        for name, backend in self.backends.items():
            owner, _, device = name.partition(":")
            if owner == provider and backend.prices is not None:
                prices[device] = backend.prices
        return prices

    def slots_for(self, backend: str, kind: str) -> int:
        """How many tasks may be in flight at once: 4, or one a core for the simulator."""
        written = self.backend(backend).slots
        if written is not None:
            return written
        return len(os.sched_getaffinity(0)) if kind == SIMULATOR else 4

    def shots_for(self, backend: str, kind: str) -> tuple[int, int | None]:
        """Smallest and largest number of shots of one run; None is no limit of ours."""
        written = self.backend(backend)
        low, high = CODA_SHOTS if kind == "coda" else (1, None)
        return written.min_shots or low, written.max_shots or high


def _check_provider(name: str, options: Mapping[str, Any]) -> None:
    if not _NAME.fullmatch(name):
        raise MisplacedError(("providers", name), "a provider's name has small letters, digits, - and _ only")
    if not isinstance(options.get("kind"), str):
        raise MisplacedError(("providers", name, "kind"), 'is missing: write "coda" or "simulator"')
    for option in options:
        if _SECRET_OPTION.search(option):
            raise MisplacedError(
                ("providers", name, option),
                "a secret does not belong into the configuration: put it into a file and write token_file",
            )
    if not isinstance(options.get("token_file", ""), str):
        raise MisplacedError(("providers", name, "token_file"), "write the path of a file, as text")


def _near(name: str, known: Mapping[str, object]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    return f", did you mean '{near[0]}'?" if near else f" (there are: {', '.join(known)})"
