"""Findings of the doctor at the edge, and its report about findings."""

from pathlib import Path

import pytest
from noetl.commands.doctor import lines, newest_migration
from noetl.doctor.edge import INTERNAL_TOKEN, look_at_edge
from noetl.doctor.finding import KINDS, Finding, Report, Severity
from noetl.main import app
from noetl_testkit.web import Request, Response, serving
from typer.testing import CliRunner

ROOT = Path(__file__).resolve().parents[3]


def guarded(request: Request) -> Response:
    """Answer as an edge without a database where callers must log in."""
    if request.path == "/api/health":
        body = {"status": "unhealthy", "database": "disconnected", "nats": "connected"}
        return Response(body, status=503)
    if request.headers.get("authorization") == "Bearer good":
        return Response([])
    return Response({"error": "This key is not known"}, status=401)


def test_the_edge_s_health_and_logins_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(INTERNAL_TOKEN, "bad")
    with serving(guarded) as server:
        refused = look_at_edge(server.url, token="bad")
        monkeypatch.setenv(INTERNAL_TOKEN, "good\n")
        taken = look_at_edge(server.url, token="good")

    assert [one.code for one in refused] == [
        "login_refused",
        "edge_unhealthy",
        "internal_token_refused",
    ]
    assert "This key is not known" in refused[0].text
    assert "database disconnected, nats connected" in refused[1].text
    assert [one.code for one in taken] == ["edge_unhealthy"]


@pytest.mark.parametrize(
    "url",
    [
        *("http://127.0.0.1:1", "http://[", "nonsense", "", "http://a:many", "http://a b"),
        "http://" + "a" * 64,
    ],
)
def test_an_edge_that_does_not_answer(url: str) -> None:
    assert [one.code for one in look_at_edge(url, token="")] == ["edge_unreachable"]


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (Response(b"<html>It works!</html>"), "edge_foreign"),
        (Response({"ok": True}), "edge_foreign"),
        (Response([]), "edge_foreign"),
        (Response({}, status=404), "edge_foreign"),
        (Response(b"<html>Bad gateway</html>", status=502), "edge_unhealthy"),
        (Response({"status": "unhealthy", "database": "x", "nats": "y"}), "edge_unhealthy"),
    ],
)
def test_an_answer_is_not_health(answer: Response, code: str) -> None:
    with serving(lambda _: answer) as server:
        found = look_at_edge(server.url, token="")

    assert [one.code for one in found] == [code]


def test_a_wrong_call_has_an_exit_code_of_its_own() -> None:
    """That of warnings is the usual one of a wrong call."""
    runner = CliRunner()

    assert runner.invoke(app, ["doctor", "--nonsense"]).exit_code == 64
    assert runner.invoke(app, ["doctor", "--stuck-minutes", "soon"]).exit_code == 64
    assert runner.invoke(app, ["status", "--nonsense"]).exit_code == 2


def test_the_worst_comes_first_and_decides() -> None:
    report = Report()
    assert report.severity is Severity.HEALTHY
    assert lines(report) == ["nothing was looked at"]
    assert (report.exit_code, report.as_json()["status"]) == (1, "unknown")

    report.add("broker", [Finding("dead_letters", "noetl_dead", "2 dead letters", ("5: x",))])
    assert report.exit_code == 2
    report.notes.append("pool etl is paused")
    report.add("pools", [Finding("pool_without_workers", "gpu", "pool gpu: 1 command waiting")])
    report.left_out["edge"] = "its address is not known"

    assert report.as_json()["exit_code"] == 3
    assert [one["code"] for one in report.as_json()["findings"]] == [
        "pool_without_workers",
        "dead_letters",
    ]
    assert lines(report) == [
        "CRITICAL  pool gpu: 1 command waiting  [pool_without_workers]",
        "    These commands run when a worker of the pool is there, and no sooner.",
        "    next: noetl-server status; start a worker with WORKER_POOL_NAME=gpu",
        "",
        "WARNING  2 dead letters  [dead_letters]",
        "    - 5: x",
        "    Messages that could never be handled are kept for seven days; nobody works on them.",
        "    next: noetl-server dead-letters list; docs/operations/runbook.md#noetldeadletters",
        "",
        "note: pool etl is paused",
        "2 found; looked at: broker, pools",
        "not looked at: edge: its address is not known",
    ]


def test_the_page_has_every_finding_and_next_commands_are_there() -> None:
    page = (ROOT / "docs/operations/monitoring.md").read_text()
    runbook = (ROOT / "docs/operations/runbook.md").read_text().lower()

    assert [code for code in KINDS if f"| `{code}` |" not in page] == []
    for kind in KINDS.values():
        name, _, anchor = kind.next.partition("#")
        if name == "docs/operations/runbook.md":
            assert f"### {anchor}" in runbook


def test_the_newest_migration_is_that_of_the_folder(tmp_path: Path) -> None:
    for name in ("0002_a.sql", "0010_b.sql"):
        (tmp_path / name).touch()

    assert newest_migration(tmp_path) == "0010"
