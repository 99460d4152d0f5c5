"""Jobs that come after others, as people meet them: refused by name, shown by name and state."""

from __future__ import annotations

import base64
import json

from scheduler.core.lifecycle import JobState
from tests.api.conftest import Office, Opening
from tests.support.stores import job_in, receive_jobs

LOCAL = "local:simulator"
CODE = "OPENQASM 3.0; qubit q; bit c; c = measure q;"


def document(name: str, *after: str) -> dict[str, str]:
    text = json.dumps({"code": CODE, "name": name, "after": list(after)}, indent=1)
    return {"name": f"{name}.json", "content_base64": base64.b64encode(text.encode()).decode()}


async def submit(desk: Office, *documents: dict[str, str]) -> dict[str, object]:
    told: dict[str, object] = await desk.ask("submit", user="ada", documents=list(documents))
    return told


async def test_a_waiting_job_names_what_it_comes_after_with_the_states(office: Opening) -> None:
    desk = await office()
    await desk.write(lambda tx: receive_jobs(tx, 2, backend=LOCAL) and None)
    await desk.write(lambda tx: job_in(tx, JobState.RUNNING) and None)
    await submit(desk, document("later", "1", "any:2"))
    view = await desk.ask("show", job="3")
    (gate,) = [gate for gate in view["gates"] if gate["code"] == "dependency"]
    assert gate["sentence"] == (
        "1.1 is waiting and has to complete; 1.2 is waiting and has to complete; 2 is running and has to end"
    )


async def test_of_very_many_the_first_are_named_and_the_others_counted(office: Opening) -> None:
    desk = await office()
    await desk.write(lambda tx: receive_jobs(tx, 30, backend=LOCAL) and None)
    await submit(desk, document("later", "1"))
    view = await desk.ask("show", job="2")
    assert view["gates"][0]["sentence"].endswith("1.20 is waiting and has to complete; and 10 more")


async def test_one_file_that_can_never_start_is_refused_and_the_others_are_taken(office: Opening) -> None:
    desk = await office()
    await desk.write(lambda tx: job_in(tx, JobState.CANCELLED) and None)
    told = await submit(desk, document("a", "99"), document("b"), document("c", "1"), document("d", "any:1"))
    assert told["refused"] == [
        {"name": "a.json", "why": "a.json:5: after: there is no job 99"},
        {
            "name": "c.json",
            "why": "c.json:5: after: 1 is cancelled and will never complete, so this job could never start; "
            "'any:1' only waits for its end",
        },
    ]
    assert [batch["name"] for batch in told["batches"]] == ["b", "d"]  # type: ignore[attr-defined]
