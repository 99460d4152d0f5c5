"""What is written about money means one thing, or is refused with its line."""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Callable, Mapping
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from scheduler.composition import groups_of, roles_of, spending_rules
from scheduler.core.caps import Cap, Measure, Period, Scope
from scheduler.core.roles import Role, Roles
from scheduler.core.spending import OverageProposal
from scheduler.errors import SettingsError
from scheduler.home import Home
from scheduler.settings import Loaded, load_settings
from scheduler.settings_money import RoleSettings

Load = Callable[..., Loaded]
MONTH = '[caps.month]\nmeasure = "cost"\nperiod = "month"\nlimit = "400.00 USD"\n'


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def loading(text: str = "", environ: Mapping[str, str] | None = None) -> Loaded:
        (tmp_path / "nightshot.toml").write_text(text, encoding="utf-8")
        return load_settings(Home.find(str(tmp_path), {}), None, {"TZ": "Europe/Berlin", **(environ or {})})

    return loading


def cap(fields: str, name: str = "c") -> str:
    return f"[caps.{name}]\n{fields}\n"


@pytest.mark.parametrize(
    ("fields", "limit"),
    [
        ('measure = "cost"\nperiod = "night"\nlimit = "40.00 USD"', 40_000_000),
        ('measure = "overage"\nperiod = "night"\nlimit = "0"', 0),
        ('measure = "credits"\nperiod = "day"\nlimit = "12.5"', 12_500_000),
        ('measure = "credits"\nperiod = "day"\nlimit = 12', 12_000_000),
        ('measure = "shots"\nperiod = "month"\nlimit = "10000 shots"', 10_000),
        ('measure = "tasks"\nperiod = "total"\nlimit = "unlimited"', None),
    ],
)
def test_a_limit_is_read_in_the_unit_of_its_measure(load: Load, fields: str, limit: int | None) -> None:
    (found,) = spending_rules(load(cap(fields)).settings).caps
    assert found.limit == limit


def test_a_cap_has_everything_that_was_written(load: Load) -> None:
    text = cap('measure = "credits"\nscope = "user"\nof = "ada"\nperiod = "day"\nlimit = 5\ntimezone = "UTC"')
    (found,) = spending_rules(load(text).settings).caps
    assert found == Cap("c", Measure.CREDITS, Scope.USER, Period.DAY, 5_000_000, "ada", ZoneInfo("UTC"))
    (found,) = spending_rules(load(MONTH).settings).caps
    assert (found.scope, found.of, str(found.zone)) == (Scope.EVERYONE, None, "Europe/Berlin")


@pytest.mark.parametrize(
    ("text", "place", "sentence"),
    [
        (cap('measure = "cost"\nperiod = "night"'), ":1: caps.c.limit", "required"),
        (cap('measure = "cost"\nperiod = "night"\nlimit = 40.0'), ":4: caps.c.limit", "write it as text"),
        (cap('measure = "cost"\nperiod = "night"\nlimit = true'), ":4: caps.c.limit", "write it as text"),
        (cap('measure = "cost"\nperiod = "night"\nlimit = "-1"'), ":4: caps.c.limit", "not an amount"),
        (cap('measure = "cost"\nperiod = "night"\nlimit = "NaN"'), ":4: caps.c.limit", "not an amount"),
        (cap('measure = "cost"\nperiod = "night"\nlimit = "5 EUR"'), ":4: caps.c.limit", "not an amount"),
        (cap('measure = "shots"\nperiod = "night"\nlimit = "5.5"'), ":4: caps.c.limit", "fractions"),
        (cap('measure = "shots"\nperiod = "night"\nlimit = "5 USD"'), ":4: caps.c.limit", "not a number"),
        (cap('measure = "money"\nperiod = "night"\nlimit = "5"'), ":2: caps.c.measure", "should be"),
        (cap('measure = "cost"\nperiod = "week"\nlimit = "5"'), ":3: caps.c.period", "should be"),
        (cap('measure = "cost"\nperiod = "day"\nlimit = "5"\nlimti = "6"'), ":5: caps.c.limti", "'limit'"),
        (cap('measure = "cost"\nperiod = "day"\nlimit = "5"\nof = "ada"'), ":1: caps.c", "means nothing"),
        (
            cap('measure = "cost"\nscope = "backend"\nof = "iqm"\nperiod = "day"\nlimit = "5"'),
            ":1: caps.c",
            "provider:device",
        ),
        (cap('measure = "cost"\nperiod = "night"\nlimit = "5"', "night"), ":1: caps.night", "arm --night"),
        (cap('measure = "cost"\nperiod = "night"\nlimit = "5"', "job"), ":1: caps.job", "another name"),
        (cap('measure = "cost"\nperiod = "night"\nlimit = "5"', '"a/b"'), ':1: caps."a/b"', "letters"),
        (MONTH + MONTH.replace("month]", "lab]").replace("400", "300"), ":5: caps.lab", "keep one"),
        (
            '[caps.each]\nmeasure = "cost"\nscope = "user"\nperiod = "night"\nlimit = "5"\n'
            '[caps.ada]\nmeasure = "cost"\nscope = "user"\nof = "ada"\nperiod = "night"\nlimit = "9"\n',
            ":6: caps.ada",
            "would let ada use",
        ),
        ('[overage]\npolicy = "up to"', ":1: overage.up_to", "missing"),
        ('[overage]\nup_to = "5 USD"', ":2: overage.up_to", "means nothing with policy 'never'"),
        ('[overage]\npolicy = "always"', ":2: overage.policy", "should be"),
        ("[credits]\ncents_per_credit = 0", ":2: credits.cents_per_credit", "greater"),
        ("[credits]\ncents_per_credit = 1.5", ":2: credits.cents_per_credit", "integer"),
        ('[credits]\nunexplained_limit = "-1"', ":2: credits.unexplained_limit", "not a number"),
        ("[approval]\nabove = 20.0", ":2: approval.above", "write it as text"),
        ('[approval]\nabove = "never"', ":2: approval.above", "or 'unlimited'"),
        ('[quote]\ntolerance = "5"', ":2: quote.tolerance", "'5 %'"),
        ('[quote]\ntolerance = "-5 %"', ":2: quote.tolerance", "'5 %'"),
        ("[alarms]\nat = [80, 50]", ":2: alarms.at", "smallest first"),
        ("[alarms]\nat = [0]", ":2: alarms.at", "between 1 and 100"),
        ("[alarms]\nat = [50.5]", ":2: alarms.at", "integer"),
        ('[roles]\ncaps = [""]', ":2: roles.caps", "blank"),
        ('[roles]\nboss = ["ada"]', ":2: roles.boss", "unknown key"),
        ("[breaker]\nfirst_pause_s = 9999", ":2: breaker.first_pause_s", "above last_pause_s"),
    ],
)
def test_what_can_be_read_in_two_ways_is_refused_with_its_line(
    load: Load, text: str, place: str, sentence: str
) -> None:
    with pytest.raises(SettingsError) as refused:
        load(text)
    assert refused.value.message.startswith(f"nightshot.toml{place}"), refused.value.message
    assert sentence in refused.value.message


def test_everything_about_money_can_come_from_the_environment(load: Load) -> None:
    loaded = load(
        MONTH,
        {
            "NIGHTSHOT_CAPS__MONTH__LIMIT": "300.00 USD",
            "NIGHTSHOT_APPROVAL__ABOVE": "20.00 USD",
            "NIGHTSHOT_ALARMS__AT": "25,75",
            "NIGHTSHOT_ROLES__ARM": "ada, lab",
            "NIGHTSHOT_QUOTE__TOLERANCE": "2.5 %",
            "NIGHTSHOT_CREDITS__UNEXPLAINED_LIMIT": "3",
        },
    )
    rules = spending_rules(loaded.settings)
    assert rules.caps[0].limit == 300_000_000
    assert rules.approval_above_microusd == 20_000_000
    assert rules.alarms.at_percent == (25, 75)
    assert rules.quote_tolerance_ppm == 25_000
    assert rules.unexplained_limit_microcredits == 3_000_000
    assert loaded.settings.roles.arm == ("ada", "lab")
    assert loaded.origins["caps.month.limit"] == "environment NIGHTSHOT_CAPS__MONTH__LIMIT"


@pytest.mark.parametrize(
    ("written", "accepts", "approved", "goes"),
    [
        ("", True, True, False),
        ('policy = "ask"', True, False, False),
        ('policy = "ask"', True, True, True),
        ('policy = "up to"\nup_to = "5.00 USD"', True, False, True),
        ('policy = "up to"\nup_to = "1.00 USD"', True, False, False),
        ('policy = "up to"\nup_to = "5.00 USD"', False, True, False),
    ],
)
def test_the_overage_policy_is_the_one_written(
    load: Load, written: str, accepts: bool, approved: bool, goes: bool
) -> None:
    rules = spending_rules(load(f"[overage]\n{written}\n").settings)
    answer = rules.overage(OverageProposal(accepts, approved, 1_300_000))
    assert answer.accept is goes
    assert answer.hold_microusd == (1_300_000 if goes else 0)


# ------------------------------------------------------------------------------------------------ roles


def test_without_a_configuration_nobody_has_a_role() -> None:
    assert Roles().refusal(Role.ARM, "root") == "root may not arm paid submission"


def test_a_role_is_for_oneself_for_users_and_for_groups() -> None:
    me = pwd.getpwuid(os.geteuid()).pw_name
    my_group = grp.getgrgid(pwd.getpwuid(os.geteuid()).pw_gid).gr_name
    roles = roles_of(RoleSettings(arm=("self",), approve=("ada",), resolve=(my_group,), caps=()), me)
    table = {role: {user for user in (me, "ada", "bob") if roles.has(role, user)} for role in Role}
    assert table == {Role.ARM: {me}, Role.APPROVE: {"ada"}, Role.RESOLVE: {me}, Role.CAPS: set()}


def test_a_user_that_does_not_exist_is_in_no_group() -> None:
    assert groups_of("nobody-has-this-name") == frozenset()
    assert groups_of("uid:4242") == frozenset()


def test_by_default_the_daemons_user_and_root_have_every_role() -> None:
    roles = roles_of(RoleSettings(), "nightshot")
    assert all(roles.has(role, user) for role in Role for user in ("nightshot", "root"))
    assert not any(roles.has(role, "ada") for role in Role)
    assert roles.approve_own is False
