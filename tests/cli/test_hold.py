"""`hold` and `release` say what they are told to, and a hold without a reason is a wrong command line."""

from __future__ import annotations

from tests.cli.conftest import Command
from tests.support.control_server import ControlServer

AS_OF = "2026-11-22T14:00:00.000Z"


def test_hold_sends_every_name_with_the_reason(nightshot: Command, server: ControlServer) -> None:
    server.answers["hold"] = {"as_of": AS_OF, "changed": ["12.3 is on hold"], "unchanged": []}
    assert nightshot("hold", "12.3", "14", "--reason", "too dear").out == "12.3 is on hold\n"
    assert server.args_of("hold") == {"jobs": ["12.3", "14"], "reason": "too dear"}


def test_release_needs_no_reason(nightshot: Command, server: ControlServer) -> None:
    server.answers["release"] = {"as_of": AS_OF, "changed": [], "unchanged": ["12.3 is not on hold"]}
    done = nightshot("release", "12.3")
    assert (done.code, done.err) == (1, "unchanged: 12.3 is not on hold\n")
    assert server.args_of("release") == {"jobs": ["12.3"], "reason": ""}


def test_a_hold_without_a_reason_is_a_wrong_command_line(nightshot: Command, server: ControlServer) -> None:
    assert nightshot("hold", "12.3").code == 2
    assert nightshot("hold", "--reason", "why").code == 2
