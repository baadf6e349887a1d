"""A run that is reported with one call counts once, and reports on its own command only."""

from typing import Any

import httpx
from noetl_contract.access.capability import Capability
from noetl_contract.access.rights import Role
from noetl_testkit.stack import Stack, finish

from .callers import COMMAND_KEY, Callers
from .existing_worker import ExistingWorker, issued


def report_of(worker: ExistingWorker, kind: str = "outcome", **changes: Any) -> dict[str, Any]:
    """Return a start, or an outcome with all events of its run."""
    command_id = f"{worker.execution_id}:start:{worker.event_id}"
    login = Capability(worker.execution_id, worker.event_id, 1).userinfo(COMMAND_KEY.encode())
    told = [("command.started", "STARTED", {})]
    if kind == "outcome":
        result = {"status": "success", "context": {"status": "success", "data": {"n": 3}}}
        told += [
            ("call.done", "COMPLETED", {"call_index": 0, "result": result}),
            ("command.completed", "success", {"status": "success"}),
        ]
    return {
        "type": f"command.{kind}",
        "execution_id": worker.execution_id,
        "hold": {
            "event_id": worker.event_id,
            "command_id": command_id,
            "step": "start",
            "attempts": 0,
            "worker_id": worker.name,
            "instance": "i1",
            "fence": login.partition(":")[2],
        },
        "events": [
            {
                "event_type": event_type,
                "step": "start",
                "event_id": worker.event_id + 4096 * (number + 1),
                "status": status,
                "worker_id": worker.name,
                "meta": {"attempts": 0},
                "context": {"command_id": command_id, **context},
            }
            for number, (event_type, status, context) in enumerate(told)
        ],
    } | changes


def send(
    worker: ExistingWorker, body: dict[str, Any], event_id: int | None = None
) -> httpx.Response:
    return worker.call("POST", f"/api/commands/{event_id or worker.event_id}/reports", body)


def test_a_run_needs_no_claim_and_counts_once(asking_stack: Stack, caller: Callers) -> None:
    worker = issued(asking_stack, caller, "w-report")

    held = [send(worker, report_of(worker, "start")).json() for _ in range(2)]
    ended = [send(worker, report_of(worker)) for _ in range(2)]

    assert held == [{"status": "held"}] * 2
    assert [answer.status_code for answer in ended] == [200, 200], ended[0].text
    assert [answer.json()["status"] for answer in ended] == ["ok", "ok"]
    admin = caller.of(Role.ADMIN)
    assert finish(admin, worker.execution_id) == "COMPLETED"
    told = admin.get(f"/api/executions/{worker.execution_id}/events").json()["events"]
    types = [event["event_type"] for event in told]
    assert [types.count(one) for one in ("command.claimed", "command.started", "call.done")] == [
        *(1, 1, 1)
    ]


def test_another_process_is_told_that_it_has_lost(asking_stack: Stack, caller: Callers) -> None:
    worker = issued(asking_stack, caller, "w-report")
    assert send(worker, report_of(worker, "start")).json() == {"status": "held"}

    start, outcome = report_of(worker, "start"), report_of(worker)
    for body in (start, outcome):
        body["hold"] |= {"instance": "i2"}
        for event in body["events"]:
            event["event_id"] += 1

    assert send(worker, start).json() == {"status": "lost", "reason": "taken"}
    assert send(worker, outcome).json() == {"status": "late", "reason": "taken"}


def test_nothing_is_said_of_another_command(asking_stack: Stack, caller: Callers) -> None:
    worker, other = (issued(asking_stack, caller, "w-report") for _ in range(2))

    foreign = send(worker, report_of(other), other.event_id)
    mixed = send(worker, report_of(worker) | {"hold": report_of(other)["hold"]})
    elsewhere = send(worker, report_of(worker, execution_id=other.execution_id))
    inner = report_of(worker)
    inner["events"][1]["context"]["command_id"] = report_of(other)["hold"]["command_id"]
    inside = send(worker, inner)

    assert foreign.status_code == 403
    assert (mixed.status_code, mixed.json()["error"]) == (
        422,
        "hold.event_id is not the command of the path",
    )
    assert elsewhere.status_code in {403, 404}
    assert inside.status_code == 403


def test_a_run_can_t_say_what_the_engine_says(asking_stack: Stack, caller: Callers) -> None:
    worker = issued(asking_stack, caller, "w-report")
    unproven = report_of(worker)
    del unproven["hold"]["fence"]
    for event_type in ("playbook.completed", "step.exit", "command.claimed"):
        forged = report_of(worker)
        forged["events"][1] |= {"event_type": event_type}
        refused = send(worker, forged)
        assert refused.status_code in {403, 422}, (event_type, refused.text)

    assert send(worker, unproven).json() == {"status": "late", "reason": "fence"}
    assert send(worker, {"type": "command.start"}).status_code == 422
    assert send(worker, report_of(worker, events=[])).status_code == 422
    assert (
        caller.nobody().post(f"/api/commands/{worker.event_id}/reports", json={}).status_code == 401
    )
    assert send(worker, report_of(worker)).json() == {"status": "ok"}
