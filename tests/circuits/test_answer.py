from __future__ import annotations

import signal

import pytest

from scheduler.circuits.answer import Refused, Simulated, Stopped, read_answer, read_ending
from scheduler.circuits.words import ANSWER_LIMIT_BYTES


def test_counts_that_add_up_are_believed() -> None:
    answer = read_answer('{"counts": [{"00": 3, "11": 7}], "facts": [["qubits", "2"]]}', 10)
    assert answer == Simulated(({"00": 3, "11": 7},), (("qubits", "2"),))


def test_a_refusal_is_a_sentence_without_control_characters() -> None:
    assert read_answer('{"refused": "no \\u001b[31mmeasurement\\n"}', 10) == Refused("no  [31mmeasurement")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "PWNED",
        '{"counts": []}',
        '{"counts": [{}]}',
        '{"counts": [{"00": 11}]}',
        '{"counts": [{"00": 9}]}',
        '{"counts": [{"00": 11, "11": -1}]}',
        '{"counts": [{"00": 10, "11": 0}]}',
        '{"counts": [{"0": 5, "11": 5}]}',
        '{"counts": [{"0a": 10}]}',
        '{"counts": [{"00": 10.0}]}',
        '{"counts": [{"00": "10"}]}',
        '{"counts": [{"00": true}]}',
        '{"counts": {"00": 10}}',
        '{"counts": [{"00": 10}], "refused": "both"}',
        '{"counts": [{"00": 10}], "cost_microusd": 0}',
        '{"counts": [{"00": 10}], "facts": [["one"]]}',
        '{"counts": [{"00": 10}], "facts": [["qubits", 2]]}',
        '{"counts": [{"00": 10}]} and more',
        '{"counts": [{"00": 1' + "0" * 5000 + "}]}",
        "[" * 200_000,
        '{"refused": "' + "x" * 3000 + '"}',
        " " * (ANSWER_LIMIT_BYTES + 1),
    ],
)
def test_anything_else_is_no_result(text: str) -> None:
    assert isinstance(read_answer(text, 10), Stopped)


@pytest.mark.parametrize(
    ("status", "stopped", "words"),
    [
        (-9, "wall clock", "after 60 s"),
        (-9, "output cap", "more than 8 MiB"),
        (-9, "cancelled", "cancelled"),
        (0, None, "ended its own process"),
        (3, None, "ended its own process"),
        (-signal.SIGSEGV, None, "crashed (SIGSEGV)"),
        (-signal.SIGABRT, None, "256 MiB"),
        (-signal.SIGKILL, None, "killed from outside"),
        (-signal.SIGXCPU, None, "processor time"),
        (-signal.SIGSYS, None, f"signal {int(signal.SIGSYS)}"),
    ],
)
def test_an_ending_without_an_answer_is_explained(status: int, stopped: str | None, words: str) -> None:
    assert words in read_ending(status, stopped, 60.0, 256 << 20).reason
