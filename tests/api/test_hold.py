"""Holds: what was not sent stays here until the one who said so, or the house, lets it go."""

from __future__ import annotations

import pytest

from scheduler.core.lifecycle import AttemptState, JobState
from scheduler.errors import NotAllowed, NotFound, UsageError
from tests.api.conftest import Opening
from tests.support.stores import BACKEND, attempt_in, job_in, priced_jobs, query, receive_jobs

LOCAL = "local:simulator"


async def test_a_hold_is_a_gate_with_name_reason_and_the_command_that_opens_it(office: Opening) -> None:
    desk = await office()
    await desk.write(lambda tx: priced_jobs(tx, 2, backend=LOCAL))
    told = await desk.ask("hold", user="ada", jobs=["1.2"], reason="the calibration is not done")
    assert told["changed"] == ["1.2 is on hold"]
    view = await desk.ask("show", job="1.2")
    assert view["gates"] == [
        {
            "code": "held",
            "sentence": "put on hold by ada: the calibration is not done",
            "opens_at": None,
            "fix": "nightshot release 1.2",
        }
    ]
    assert view["events"][-1]["sentence"] == "put on hold by ada: the calibration is not done"
    told = await desk.ask("release", user="ada", jobs=["1.2"], reason="done")
    assert told["changed"] == ["1.2 is released"]
    view = await desk.ask("show", job="1.2")
    assert [gate["code"] for gate in view["gates"]] == ["turn"]
    assert view["events"][-1]["sentence"] == "released by ada: done"
    assert [event for event, _ in desk.logged] == ["put on hold", "released"]


async def test_a_hold_needs_a_reason_and_a_job(office: Opening) -> None:
    desk = await office()
    await desk.write(lambda tx: receive_jobs(tx, backend=LOCAL))
    with pytest.raises(UsageError, match="it needs a reason"):
        await desk.ask("hold", user="ada", jobs=["1"], reason=" ")
    with pytest.raises(UsageError, match="no job was named"):
        await desk.ask("hold", user="ada", jobs=[], reason="why")
    with pytest.raises(NotFound, match="there is no job 7"):
        await desk.ask("hold", user="ada", jobs=["1", "7"], reason="why")
    assert await desk.write(query("SELECT parked FROM jobs")) == [(0,)], "all of them or none"


async def test_a_batch_is_all_of_its_jobs_each_once(office: Opening) -> None:
    desk = await office()
    await desk.write(lambda tx: receive_jobs(tx, 3, backend=LOCAL))
    told = await desk.ask("hold", user="ada", jobs=["1", "1.2", "latest"], reason="why")
    assert told["changed"] == ["1.1 is on hold", "1.2 is on hold", "1.3 is on hold"]
    told = await desk.ask("hold", user="ada", jobs=["1"], reason="why")
    assert told["unchanged"][0] == "1.1 is on hold already, by ada"
    told = await desk.ask("release", user="ada", jobs=["1"])
    assert len(told["changed"]) == 3
    assert (await desk.ask("release", user="ada", jobs=["1.1"]))["unchanged"] == ["1.1 is not on hold"]


async def test_only_owner_and_house_hold_and_only_holder_and_house_release(office: Opening) -> None:
    desk = await office()
    await desk.write(lambda tx: receive_jobs(tx, backend=LOCAL))
    with pytest.raises(NotAllowed, match="1 is a job of ada"):
        await desk.ask("hold", user="bob", jobs=["1"], reason="mine first")
    assert (await desk.ask("hold", user="approver", jobs=["1"], reason="too dear"))["changed"]
    with pytest.raises(NotAllowed, match="1 was put on hold by approver"):
        await desk.ask("release", user="ada", jobs=["1"])
    assert (await desk.ask("release", user="approver", jobs=["1"]))["changed"]
    assert (await desk.ask("hold", user="ada", jobs=["1"], reason="not yet"))["changed"]
    assert (await desk.ask("release", user="approver", jobs=["1"]))["changed"]


async def test_an_admitted_job_that_is_not_sent_goes_back_and_stays(office: Opening) -> None:
    desk = await office()
    await desk.write(lambda tx: attempt_in(tx, AttemptState.PREPARED, hold=None, backend=LOCAL) and None)
    told = await desk.ask("hold", user="ada", jobs=["1"], reason="wait")
    assert told["changed"] == ["1 is on hold; nothing was sent"]
    assert await desk.write(query("SELECT state, parked FROM jobs")) == [("waiting", 1)]
    assert await desk.write(query("SELECT state FROM attempts")) == [("not_sent",)]
    assert await desk.write(lambda tx: tx.queue_heads(LOCAL, desk.clock.now_us(), 10)) == []


async def test_a_job_that_is_being_sent_is_held_back_if_that_is_still_possible(office: Opening) -> None:
    desk = await office()
    await desk.write(lambda tx: attempt_in(tx, AttemptState.SUBMITTING) and None)
    told = await desk.ask("hold", user="ada", jobs=["1"], reason="wait")
    assert told["changed"] == ["1 is being sent this moment: it is held back if that is still possible"]
    assert await desk.write(query("SELECT state FROM attempts")) == [("submitting",)], "its answer says"


@pytest.mark.parametrize(
    ("state", "says"),
    [
        (JobState.RUNNING, f"1 runs at {BACKEND}: it is sent, and will be paid"),
        (JobState.IN_DOUBT, "1 is in doubt: it may have been sent"),
        (JobState.COMPLETED, "1 has ended already: it is completed"),
        (JobState.CANCELLED, "1 has ended already: it is cancelled"),
    ],
)
async def test_what_was_sent_or_has_ended_is_not_held(office: Opening, state: JobState, says: str) -> None:
    desk = await office()
    await desk.write(lambda tx: job_in(tx, state) and None)
    told = await desk.ask("hold", user="ada", jobs=["1"], reason="wait")
    assert (told["changed"], told["unchanged"]) == ([], [says])


async def test_a_job_on_hold_can_be_cancelled(office: Opening) -> None:
    desk = await office()
    await desk.write(lambda tx: receive_jobs(tx, backend=LOCAL))
    await desk.ask("hold", user="ada", jobs=["1"], reason="wait")
    assert (await desk.ask("cancel", user="ada", jobs=["1"]))["changed"]
    assert await desk.write(query("SELECT state FROM jobs")) == [("cancelled",)]
