"""The chart's job that registers the schedule of the system pool, against a running system."""

import subprocess
import sys
from pathlib import Path

from golden import TOKEN
from noetl_testkit.stack import Stack

SCRIPT = Path(__file__).parents[2] / "helm" / "noetl" / "files" / "register.py"
PLAYBOOK = """apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: cleanup, path: chart/cleanup}
workflow:
  - step: start
    tool: {kind: noop}
"""
SCHEDULE = """apiVersion: noetl.io/v2
kind: Schedule
metadata: {name: times, path: chart/cleanup_times}
spec: {playbook: chart/cleanup, cron: "17 * * * *", paused: true}
"""


def _register(stack: Stack, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, SCRIPT, folder],
        env={"NOETL_SERVER_URL": stack.url, "NOETL_INTERNAL_API_TOKEN": TOKEN},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_documents_are_registered_once_and_refusals_end_the_job(
    guarded_stack: Stack, tmp_path: Path
) -> None:
    (tmp_path / "1-chart.cleanup.yaml").write_text(PLAYBOOK)
    (tmp_path / "2-chart.cleanup_times.yaml").write_text(SCHEDULE)

    first, again = _register(guarded_stack, tmp_path), _register(guarded_stack, tmp_path)
    assert first.stdout == (
        "chart/cleanup is version 1 now\nchart/cleanup_times is version 1 now\n"
    ), first.stderr
    assert again.stdout == "chart/cleanup is there already\nchart/cleanup_times is there already\n"
    with guarded_stack.client() as client:
        (kept,) = [
            one
            for one in client.get("/api/schedules").json()["schedules"]
            if one["path"] == "chart/cleanup_times"
        ]
    assert (kept["cron"], kept["playbook"]) == ("17 * * * *", "chart/cleanup")

    (tmp_path / "2-chart.cleanup_times.yaml").write_text(SCHEDULE.replace("17 *", "97 *"))
    refused = _register(guarded_stack, tmp_path)
    assert refused.returncode == 1
    assert "chart/cleanup_times: 422" in refused.stderr
