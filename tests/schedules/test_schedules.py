"""Schedules on the whole system: the example, a backfill by command, and a clock that fires."""

import json
import signal
import subprocess
from pathlib import Path

import httpx
import pytest
from noetl.main import app
from noetl_contract.json import Json
from noetl_testkit.stack import Stack, command, finish, register
from noetl_testkit.waiting import PATIENCE_SECONDS, wait_for, wait_until
from typer.testing import CliRunner

pytestmark = pytest.mark.e2e

WORK = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: timed, path: schedules/timed}
workload: {at: ""}
workflow:
- step: start
  tool: {kind: python, input: {at: "{{ workload.at }}"}, code: "result = {'at': at}"}
"""
TICK = """
kind: Schedule
metadata: {name: tick, path: schedules/tick}
spec:
  playbook: schedules/timed
  interval: 1s
  overlap: allow
  payload: {at: "{{ scheduled_at }}"}
"""


def run(stack: Stack, *arguments: str, code: int = 0) -> str:
    """Run a command on a stack and return its output."""
    done = CliRunner().invoke(app, [*arguments, "--server-url", stack.url])
    assert done.exit_code == code, done.output
    return done.stdout


def history(stack: Stack, path: str) -> list[dict[str, Json]]:
    said = run(stack, "schedule", "history", path, "-n", "1000", "--json")
    return list(json.loads(said)["firings"])


def test_the_example_and_its_backfill(nats_stack: Stack, pytestconfig: pytest.Config) -> None:
    examples = pytestconfig.rootpath / "examples"
    path = "examples/nightly_schedule"
    with nats_stack.client() as client:
        register(client, (examples / "nightly.yaml").read_text())
        said = run(nats_stack, "schedule", "register", str(examples / "nightly_schedule.yaml"))
        assert said.startswith(f"{path} version 1, next at ")
        days = ("--from", "2026-03-27", "--to", "2026-04-01", "--parallel", "3")

        first = json.loads(run(nats_stack, "backfill", path, *days, "--json"))
        again = run(nats_stack, "backfill", path, *days)

        assert (first["total"], first["completed"], first["started"]) == (5, 5, 5)
        assert again == f"{path}: 5 firings, 5 completed; 0 of them started by this command\n"
        made = history(nats_stack, path)
        # The night of the change of the clocks is among them, half an hour late.
        assert [one["scheduled_at"] for one in made] == [
            "2026-03-31T00:30:00Z",
            "2026-03-30T00:30:00Z",
            "2026-03-29T01:00:00Z",
            "2026-03-28T01:30:00Z",
            "2026-03-27T01:30:00Z",
        ]
        assert {one["status"] for one in made} == {"COMPLETED"}
        assert workload_of(client, str(made[2]["execution_id"])) == {"day": "2026-03-28"}
    run(nats_stack, "schedule", "pause", path)
    assert "paused" in run(nats_stack, "schedule", "show", path)
    listed = json.loads(run(nats_stack, "schedule", "list", "--json"))
    assert {one["path"]: one["state"] for one in listed}[path] == "paused"


def test_the_clock_fires_until_it_is_paused(nats_stack: Stack) -> None:
    with nats_stack.client() as client:
        register(client, WORK)
        register(client, TICK)
        made = wait_for(lambda: found if len(found := started(nats_stack)) >= 2 else None)
        for one in made[:2]:
            assert finish(client, int(str(one["execution_id"]))) == "COMPLETED"
            said = workload_of(client, str(one["execution_id"]))["at"]
            assert str(said).replace("+00:00", "Z") == one["scheduled_at"]
        times = [one["scheduled_at"] for one in made]
        assert len(set(times)) == len(times)

        run(nats_stack, "schedule", "pause", "schedules/tick")

        wait_until(lambda: {one["state"] for one in history(nats_stack, TICK_PATH)} == {"started"})
        assert run(nats_stack, "schedule", "next", TICK_PATH) == ""


def test_an_interrupted_backfill_says_so_and_goes_on(nats_stack: Stack, tmp_path: Path) -> None:
    path, gate = "schedules/slow", tmp_path / "gate"
    gate.touch()
    waits = f"import os, time\nwhile os.path.exists({str(gate)!r}): time.sleep(0.02)\nresult ="
    with nats_stack.client() as client:
        register(client, WORK.replace("result =", json.dumps(waits)[1:-1]))
        register(
            client,
            TICK.replace("schedules/tick", path).replace(
                "interval: 1s", "interval: 1d\n  paused: true"
            ),
        )
    words = ["backfill", path, "--from", "2025-01-01", "--to", "2025-01-09", "--parallel", "2"]
    with (tmp_path / "said").open("w+") as said:
        going = subprocess.Popen(
            [*command(is_warm=True), *words, "--server-url", nats_stack.url],
            stdout=said,
            stderr=said,
        )
        wait_until(lambda: len(history(nats_stack, path)) >= 2)
        going.send_signal(signal.SIGINT)
        assert going.wait(timeout=PATIENCE_SECONDS) == 130
        said.seek(0)
        assert "The same command goes on with the rest." in said.read()
    before = {one["execution_id"] for one in history(nats_stack, path)}
    gate.unlink()
    assert len(before) == 2, "two at once, which wait"

    summary = run(nats_stack, *words)

    assert summary.startswith(f"{path}: 8 firings, 8 completed; {8 - len(before)} of them")
    after = [one["execution_id"] for one in history(nats_stack, path)]
    assert len(set(after)) == len(after) == 8
    assert before <= set(after)


def test_mistakes_are_named(nats_stack: Stack) -> None:
    unknown = CliRunner().invoke(
        app, ["schedule", "show", "schedules/none", "--server-url", nats_stack.url]
    )
    text, hint = str(unknown.exception).split("\n")
    assert text == "no schedule has the path 'schedules/none'"
    assert "`noetl-server schedule list`" in hint


TICK_PATH = "schedules/tick"


def started(stack: Stack) -> list[dict[str, Json]]:
    return [one for one in history(stack, TICK_PATH) if one["state"] == "started"]


def workload_of(client: httpx.Client, execution_id: str) -> dict[str, Json]:
    """Return the workload of an execution."""
    answer = client.get(f"/api/executions/{execution_id}/events?event_type=playbook_started")
    answer.raise_for_status()
    (event,) = answer.json()["events"]
    return dict(event["context"]["workload"])
