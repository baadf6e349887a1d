"""`logs EXECUTION --output`: the output of steps, asked of a server."""

import json
import subprocess
from typing import Any

from fake_edge import EXECUTION, FakeEdge, done, event, of_command, serving
from noetl_testkit.stack import command
from noetl_testkit.waiting import PATIENCE_SECONDS

EVENTS = [
    *done("load", 1, {"n": 1}, stdout="one\ntwo\n", stderr="oops\n"),
    *done("quiet", 10, {"n": 1}, stdout=""),
    of_command("call.error", "late", 20, error="no", stdout="last words\n"),
    event(58, "playbook.completed", "playbook"),
]


def logs(edge: FakeEdge, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*command(is_warm=True), "logs", str(EXECUTION), *words, "--server-url", edge.url],
        capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS,
    )  # fmt: skip


def test_kept_lines_come_in_the_order_of_time() -> None:
    with serving(FakeEdge(events=EVENTS)) as edge:
        whole = logs(edge)
        step = logs(edge, "load", "--json")
        nothing = logs(edge, "quiet")

    assert whole.stdout.splitlines() == [
        "output | 09:18:04.000 load stdout | one",
        "output | 09:18:04.000 load stdout | two",
        "output | 09:18:04.000 load stderr | oops",
        "output | 09:18:20.000 late stdout | last words",
    ]
    found: list[dict[str, Any]] = [json.loads(line) for line in step.stdout.splitlines()]
    assert [(one["step"], one["stream"], one["msg"]) for one in found] == [
        ("load", "stdout", "one"), ("load", "stdout", "two"), ("load", "stderr", "oops"),
    ]  # fmt: skip
    assert (nothing.returncode, nothing.stdout) == (1, "")
    assert "has printed anything" in nothing.stderr


def test_options_that_do_not_go_together_are_refused() -> None:
    with serving(FakeEdge()) as edge:
        done = logs(edge, "--file", "-")

    assert done.returncode == 2
