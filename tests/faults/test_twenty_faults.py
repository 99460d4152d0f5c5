"""The twenty faults, each with the tests that prove its outcome: nothing lost, nothing paid twice, and said.

A fault whose tests are renamed or removed fails here, and so does one that nobody proves.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).parent.parent
PROVIDER = "faults/test_provider_faults.py"
PROCESS = "faults/test_process_faults.py"
MONEY = "faults/test_money_faults.py"
KILLS = "kills/test_kill_proof.py"
HOSTILE = "intake/test_spool_hostile.py"

#: Fault -> file below tests/, and its test functions there.
TWENTY: dict[str, tuple[str, tuple[str, ...]]] = {
    "billed, then 502": (PROVIDER, ("test_fault_01_billed_then_502",)),
    "billed, then hang": (PROVIDER, ("test_fault_02_billed_then_hang",)),
    "refused, DNS, TLS": (PROVIDER, ("test_fault_03_refused_dns_or_tls",)),
    "reset after the request": (PROVIDER, ("test_fault_04_reset_after_the_request",)),
    "307 to itself": (PROVIDER, ("test_fault_05_307_to_itself",)),
    "half JSON, HTML, no id": (PROVIDER, ("test_fault_06_half_json_html_or_no_id",)),
    "an id that is known already": (PROVIDER, ("test_fault_07_an_id_that_is_known_already",)),
    "SIGKILL at each step": (
        KILLS,
        (
            "test_a_kill_at_each_step_loses_nothing_and_pays_nothing_twice",
            "test_a_hundred_kills_on_each_database_lose_nothing_and_pay_nothing_twice",
        ),
    ),
    "power cut after the intent": (PROCESS, ("test_fault_09_power_cut_after_the_intent",)),
    "disk full between reply and commit": (PROCESS, ("test_fault_10_disk_full_between_reply_and_commit",)),
    "node suspended between intent and POST": (
        MONEY,
        (
            "test_fault_11_a_node_suspended_between_intent_and_post",
            "test_fault_11_a_node_whose_attempt_was_given_up_meanwhile",
        ),
    ),
    "two daemons, one queue": (PROCESS, ("test_fault_12_two_daemons_one_queue",)),
    "400 racing reservations": (
        "store/test_ledger.py",
        ("test_400_racing_reservations_over_three_caps_and_two_grants_never_exceed_any",),
    ),
    "a charge above the hold": (PROVIDER, ("test_fault_14_a_charge_above_the_hold",)),
    "grant or month ends in flight": (MONEY, ("test_fault_15_grant_and_month_end_in_flight",)),
    "clock jumps and DST": (MONEY, ("test_fault_16_clock_jumps", "test_fault_16_clocks_change_at_night")),
    "unknown status for days": (PROVIDER, ("test_fault_17_an_unknown_status_for_days",)),
    "database restored from a backup": (PROCESS, ("test_fault_18_database_restored_from_a_backup",)),
    "hostile spool": (
        HOSTILE,
        (
            "test_a_bad_file_is_moved_away_with_its_reason",
            "test_a_sparse_terabyte_is_refused_without_being_read",
            "test_what_is_no_plain_file_is_moved_away_unopened",
            "test_a_file_of_somebody_else_is_not_taken_from_strangers",
        ),
    ),
    "an operator answers wrongly": (
        MONEY,
        (
            "test_fault_20_an_operator_answers_wrongly_before_the_reply",
            "test_fault_20_an_operator_answers_wrongly_and_it_was_paid_again",
        ),
    ),
}


def test_there_are_twenty() -> None:
    assert len(TWENTY) == 20


@pytest.mark.parametrize("fault", TWENTY)
def test_each_fault_has_its_test(fault: str) -> None:
    file, names = TWENTY[fault]
    tree = ast.parse((TESTS / file).read_text())
    functions = (node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    assert names
    assert set(names) <= {function.name for function in functions}


def test_no_fault_test_is_missing_from_the_table() -> None:
    named = {name for _, names in TWENTY.values() for name in names}
    for path in (TESTS / PROVIDER, TESTS / PROCESS, TESTS / MONEY):
        tree = ast.parse(path.read_text())
        found = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
        assert {name for name in found if name.startswith("test_")} <= named
