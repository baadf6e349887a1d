"""An execution that failed goes on in another one; nothing that it has done is done again."""

from typing import Any

import pytest
from noetl_testkit.stack import Stack, events, execute, finish, register
from noetl_testkit.waiting import wait_until

pytestmark = pytest.mark.e2e


def test_the_example_goes_on_from_its_failed_iteration(
    transport_stack: Stack, pytestconfig: pytest.Config
) -> None:
    text = (pytestconfig.rootpath / "examples" / "resume.yaml").read_text()
    with transport_stack.client() as client:
        path = register(client, text)["path"]
        origin = execute(client, path)
        assert finish(client, origin) == "FAILED"

        def group() -> dict[str, Any] | None:
            found = client.get("/api/failures", params={"path": path}).json()["failures"]
            return next((one for one in found if str(origin) in one["execution_ids"]), None)

        wait_until(lambda: group() is not None)
        listed = group()
        assert listed is not None
        assert (listed["step"], listed["path"]) == ("divide", path)
        assert "ZeroDivisionError" in listed["message"]

        answer = client.post(
            f"/api/executions/{origin}/restart",
            json={"input": {"shift": 1}},
            headers={"Idempotency-Key": f"restart-{origin}"},
        )
        assert answer.status_code == 200, answer.text
        again = answer.json()["execution_id"]
        repeated = client.post(
            f"/api/executions/{origin}/restart",
            json={"input": {"shift": 1}},
            headers={"Idempotency-Key": f"restart-{origin}"},
        ).json()
        assert (repeated["execution_id"], repeated["status"]) == (again, "duplicate")

        assert finish(client, again) == "COMPLETED"
        detail = client.get(f"/api/executions/{again}").json()
        # 12/1 and 12/2 were there; 12/(0+1) and, where it had not run, 12/(4+1) came after.
        assert detail["result"]["sum"] in {12 + 6 + 12 + 3, 12 + 6 + 12 + 12 / 5}
        log = events(client, again)
        assert log[0]["event_type"] == "playbook_started"
        started = [one["node_name"] for one in log if one["event_type"] == "command.started"]
        assert "start" not in started
        assert 2 <= len(started) <= 3
        wait_until(lambda: group() is None)


def test_why_names_the_pool_that_nobody_works_for(transport_stack: Stack) -> None:
    text = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: lonely, path: tests/lonely}
workflow: [{step: start, tool: {kind: noop}}]
"""
    with transport_stack.client() as client:
        path = register(client, text)["path"]
        started = client.post(
            "/api/execute", json={"path": path, "execution_pool": "nobody"}
        ).json()
        execution_id = started["execution_id"]
        told = client.get(f"/api/executions/{execution_id}/why").json()
        client.post(f"/api/executions/{execution_id}/cancel")

    (reason,) = told["reasons"]
    assert (reason["code"], reason["pool"]) == ("no_worker", "nobody")
    assert reason["text"] == (
        "step 'start' waits for a worker: no worker of pool 'nobody' is registered"
    )
    assert told["workers"] == []
