"""The chart's job that registers the schedule of the system pool, against a running system."""

import importlib.util
import subprocess
import sys
from http import HTTPStatus
from itertools import cycle
from pathlib import Path

import pytest
from golden import TOKEN
from noetl_testkit.stack import Stack
from noetl_testkit.waiting import PATIENCE_SECONDS
from noetl_testkit.web import Response, serving

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
        timeout=PATIENCE_SECONDS,
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


class _Clock:
    """A clock that only pauses move on, each by more than the job's timeout."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, _seconds: float) -> None:
        self.now += 400


def test_the_job_s_patience_is_one_for_all_its_questions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = importlib.util.spec_from_file_location("register", SCRIPT)
    assert spec
    assert spec.loader
    job = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(job)
    monkeypatch.setattr(job, "time", _Clock())
    monkeypatch.setenv("NOETL_INTERNAL_API_TOKEN", TOKEN)
    (tmp_path / "1-chart.cleanup.yaml").write_text(PLAYBOOK)
    # Every question is answered, the second time that it is asked.
    busy, there = Response(status=HTTPStatus.SERVICE_UNAVAILABLE), Response({"version": 1})
    answers = cycle((busy, there))

    with serving(lambda _request: next(answers)) as edge:
        monkeypatch.setenv("NOETL_SERVER_URL", edge.url)
        assert job.main(str(tmp_path)) == 1
    assert edge.lines() == ["POST /api/catalog/resource"] * 2 + ["POST /api/catalog/register"]
    assert "the edge did not answer: HTTP Error 503" in capsys.readouterr().err
