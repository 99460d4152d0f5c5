"""Settings to objects: what a daemon, or a command without one, works with. Nothing runs yet."""

from __future__ import annotations

import dataclasses
import grp
import os
import pwd
import secrets
import zoneinfo
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from scheduler.api.desk import Desk
from scheduler.clock import SystemClock
from scheduler.core.admission import DoubtLimits
from scheduler.core.alarms import AlarmRules
from scheduler.core.breaker import BreakerRules
from scheduler.core.caps import Period
from scheduler.core.roles import Role, Roles
from scheduler.core.rules import BackendRules, Rules
from scheduler.core.spending import NIGHT_CAP, SpendingRules
from scheduler.core.timing import SECOND_US, PollPace
from scheduler.credentials import secret_reader
from scheduler.home import Home
from scheduler.intake.document import Defaults
from scheduler.intake.inbox import FileRules
from scheduler.intake.spool import SpoolPlan, owner_test, resolver, user_name
from scheduler.plugins import build_provider
from scheduler.policies.overage import Overage, OveragePolicy, decide_overage
from scheduler.ports import Kit, Provider, Site
from scheduler.ports_store import Store
from scheduler.settings import Loaded
from scheduler.settings_money import RoleSettings
from scheduler.settings_tree import SIMULATOR, BreakerSettings, Settings
from scheduler.settings_types import ppm_of
from scheduler.settings_windows import hours_of


def build_providers(settings: Settings, home: Home, environ: Mapping[str, str]) -> dict[str, Provider]:
    """Make every configured provider. Raises SettingsError naming the section and key."""
    read = secret_reader(settings, environ)
    providers = {}
    for name in settings.providers:
        state_dir = home.state / "providers" / name
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        site = Site(name, state_dir, SystemClock(), settings.prices_for(name), read(name))
        providers[name] = build_provider(settings.kind_of(name), settings.provider_options(name), site)
    return providers


def rules_of(settings: Settings, providers: Mapping[str, Provider]) -> Rules:
    known: dict[str, BackendRules | None] = {}

    def backend(name: str) -> BackendRules | None:
        if name not in known:
            known[name] = backend_rules(name)
        return known[name]

    def backend_rules(name: str) -> BackendRules | None:
        provider = name.partition(":")[0]
        if provider not in settings.providers or provider not in providers:
            return None
        kind = settings.kind_of(provider)
        low, high = settings.shots_for(name, kind)
        return BackendRules(
            name=name,
            provider=provider,
            kind=kind,
            paid=providers[provider].paid,
            slots=settings.slots_for(name, kind),
            min_shots=low,
            max_shots=high,
            enabled=settings.backend(name).enabled,
        )

    hours = hours_of(settings.windows, settings.time.timezone)
    return Rules(
        backend=backend,
        zone=zoneinfo.ZoneInfo(settings.time.timezone),
        hours=hours,
        night_hours=hours.get(NIGHT_CAP),
        doubt_limits=DoubtLimits(settings.breaker.doubts, settings.breaker.doubt_exposure.microusd),
        poll_pace=PollPace(settings.poll.min_interval_s, settings.poll.max_interval_s),
        quote_ttl_us=int(settings.quote.ttl_s * SECOND_US),
        submit_concurrency=settings.submit.concurrency,
        spending=spending_rules(settings),
        breaker=breaker_rules(settings.breaker),
    )


def spending_rules(settings: Settings) -> SpendingRules:
    overage = OveragePolicy(Overage(settings.overage.policy), settings.overage.up_to.microusd)
    night = hours_of(settings.windows, settings.time.timezone).get(NIGHT_CAP)
    caps = [cap.cap(name, settings.time.timezone) for name, cap in settings.caps.items()]
    return SpendingRules(
        caps=tuple(
            dataclasses.replace(cap, hours=night) if cap.period is Period.NIGHT else cap for cap in caps
        ),
        overage=partial(decide_overage, (overage,)),
        cents_per_credit=settings.credits.cents_per_credit,
        quote_tolerance_ppm=ppm_of(settings.quote.tolerance),
        approval_above_microusd=settings.approval.above_microusd,
        unexplained_limit_microcredits=settings.credits.unexplained_limit_microcredits,
        alarms=AlarmRules(settings.alarms.at),
    )


def breaker_rules(written: BreakerSettings) -> BreakerRules:
    return BreakerRules(
        failures=written.failures,
        refusals=written.refusals,
        doubts=written.doubts,
        suspicious_results=written.suspicious_results,
        first_pause_us=int(written.first_pause_s * SECOND_US),
        last_pause_us=int(written.last_pause_s * SECOND_US),
    )


def groups_of(user: str) -> frozenset[str]:
    """The names of a user's groups, read each time: who was taken out of a group is out of it now."""
    try:
        person = pwd.getpwnam(user)
    except KeyError:
        return frozenset()
    numbers = set(os.getgrouplist(user, person.pw_gid))
    return frozenset(group.gr_name for group in grp.getgrall() if group.gr_gid in numbers)


def roles_of(written: RoleSettings, own_user: str) -> Roles:
    named = {role: frozenset(getattr(written, role.value)) for role in Role}

    def has(role: Role, user: str) -> bool:
        names = named[role]
        is_named = user in names or ("self" in names and user == own_user)
        return is_named or bool(names & groups_of(user))

    return Roles(has, written.approve_own)


def new_attempt_id() -> str:
    """Unique for ever, sortable by time: two restored copies of one database never name the same attempt."""
    return f"{SystemClock().now_us():014x}-{secrets.token_hex(5)}"


def build_kit(
    settings: Settings,
    store: Store,
    providers: Mapping[str, Provider],
    wake: Callable[[str], None],
    log: Callable[..., None],
) -> Kit:
    rules = rules_of(settings, providers)
    return Kit(store, SystemClock(), providers, rules, wake, new_attempt_id, log)


def defaults_of(settings: Settings) -> Defaults:
    return Defaults(
        backend=settings.defaults.backend,
        shots=settings.defaults.shots,
        max_jobs=settings.spool.max_jobs_per_file,
        max_document_bytes=settings.spool.max_file_bytes,
        hours=hours_of(settings.windows, settings.time.timezone),
        zone=zoneinfo.ZoneInfo(settings.time.timezone),
    )


def spool_plan(settings: Settings, home: Home) -> SpoolPlan:
    return SpoolPlan(
        inbox=home.inbox,
        claimed=home.claimed,
        queue=home.queue,
        rejected=home.rejected,
        files=FileRules(owner_test(settings.spool.owners), settings.spool.max_file_bytes),
        defaults=defaults_of(settings),
        resolve=resolver(settings.backend_name),
        quiet_s=settings.spool.quiet_s,
    )


def known_backends(settings: Settings) -> tuple[str, ...]:
    simulators = [f"{name}:{SIMULATOR}" for name in settings.providers if settings.kind_of(name) == SIMULATOR]
    return tuple(sorted({*settings.backends, *simulators}))


def build_desk(loaded: Loaded, home: Home, kit: Kit) -> Desk:
    settings = loaded.settings
    return Desk(
        kit=kit,
        home=home.root,
        timezone=settings.time.timezone,
        results=home.results,
        defaults=defaults_of(settings),
        resolve=resolver(settings.backend_name),
        known_backends=known_backends(settings),
        troubles=dict,
        roles=roles_of(settings.roles, user_name(os.geteuid())),
    )


@dataclass(frozen=True, slots=True)
class Place:
    """Where an installation keeps its rows and files, resolved."""

    home: Home
    loaded: Loaded
    url: str

    @property
    def backups(self) -> Path:
        return self.home.state / "backups"


def resolve_place(home: Home, loaded: Loaded) -> Place:
    return Place(home, loaded, loaded.settings.store_url(home.database))


def desk_of_daemon(desk: Desk, troubles: Callable[[], Mapping[str, str]]) -> Desk:
    return dataclasses.replace(desk, pid=os.getpid(), troubles=troubles)
