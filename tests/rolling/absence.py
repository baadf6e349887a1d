"""Outcomes that are reported while no orchestrator lives: none is lost, no tool runs twice.

The scripts of both kinds of workers end, and a worker of another make posts the outcome of its
command, after all orchestrators were killed. They stay away for longer than any request waits and
any lease lasts.
"""

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
from fleet import Fleet
from noetl_contract.json import JsonObject
from noetl_testkit.stack import execute, finish, register
from noetl_testkit.waiting import wait_until

COUNT = 12
_END_SECONDS = 240.0
PLAYBOOK = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: absent, path: rolling/absent}
workload: {mark: "", go: ""}
workflow:
  - step: start
    tool:
      kind: python
      args: {mark: "{{ workload.mark }}", go: "{{ workload.go }}"}
      code: |
        import os, time
        with open(mark, "a") as file:
            file.write("begun\\n")
        while not os.path.exists(go):
            time.sleep(0.1)
        result = {"said": mark}
    next: {arcs: [{step: last}]}
  - step: last
    tool: {kind: noop}
"""


def absence(fleet: Fleet, client: httpx.Client, scratch: Path, *, seconds: float) -> Iterator[str]:
    """Kill all orchestrators, have everything reported, and bring them back after a while.

    Yields:
        What is wrong then.
    """
    register(client, PLAYBOOK)
    go = scratch / "go"
    marks = [scratch / f"mark-{number}" for number in range(COUNT)]
    ids = [execute(client, "rolling/absent", **_workload(mark, go)) for mark in marks]
    theirs, outcome = _claimed(client, go)
    wait_until(lambda: all(map(_runs, marks)), what="all scripts have begun")
    fleet.kill("orchestrator")

    began = time.monotonic()
    go.touch()
    answers = {
        "outcome": client.post("/api/events", json=outcome).status_code,
        "start": client.post(
            "/api/execute",
            json={"path": "rolling/absent", "workload": _workload(scratch / "late", go)},
        ).status_code,
    }
    time.sleep(max(0.0, began + seconds - time.monotonic()))
    fleet.start("orchestrator")

    if answers["outcome"] >= 300:
        # As each client does whose request was not accepted.
        client.post("/api/events", json=outcome).raise_for_status()
    ended = Counter(finish(client, one, seconds=_END_SECONDS) for one in ids)
    wait_until(lambda: _outcomes(fleet, theirs), what="the posted outcome is in the log")
    runs, posted = Counter(map(_runs, marks)), _outcomes(fleet, theirs)
    print(
        f"  {COUNT} scripts ended while no orchestrator lived for {seconds:.0f} s: {dict(ended)}, "
        f"begun {dict(runs)} times; meanwhile an outcome was answered {answers['outcome']} and is "
        f"in the log {posted} times, a start was answered {answers['start']}"
    )
    if set(ended) != {"COMPLETED"}:
        yield f"executions ended {dict(ended)}"
    if set(runs) != {1} or posted != 1:
        yield f"scripts ran {dict(runs)} times, and an outcome is in the log {posted} times"


def _workload(mark: Path, go: Path) -> JsonObject:
    return {"mark": str(mark), "go": str(go)}


def _runs(mark: Path) -> int:
    return len(mark.read_text().splitlines()) if mark.exists() else 0


def _outcomes(fleet: Fleet, execution_id: int) -> int:
    """Count the outcomes that had an effect; one that is posted again is a late row."""
    counted = fleet.database.run(
        "SELECT count(*) FROM noetl.event WHERE event_type = 'command.completed'"
        f" AND execution_id = {execution_id} AND meta ->> 'late' IS DISTINCT FROM 'true'"
    )
    return int(counted)


def _claimed(client: httpx.Client, go: Path) -> tuple[int, JsonObject]:
    """Claim a command as a worker of another make; return its execution and its outcome."""
    started = client.post(
        "/api/execute",
        json={
            "path": "rolling/absent",
            "workload": _workload(go, go),
            "execution_pool": "theirs",
        },
    )
    started.raise_for_status()
    execution_id = int(started.json()["execution_id"])
    rows = client.get(f"/api/executions/{execution_id}").json()["events"]
    issued = next(row["event_id"] for row in rows if row["event_type"] == "command.issued")
    claim = client.post(f"/api/commands/{issued}/claim", json={"worker_id": "theirs"})
    claim.raise_for_status()
    return execution_id, {
        "execution_id": execution_id,
        "step": "start",
        "event_type": "command.completed",
        "status": "COMPLETED",
        "context": {"command_id": claim.json()["meta"]["command_id"]},
        "worker_id": "theirs",
    }
