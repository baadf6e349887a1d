"""Requests of each screen of the web UI, and their answers: status and shape."""

from collections.abc import Iterator

import pytest
from noetl_contract.json import Json, JsonObject
from noetl_testkit.stack import Stack
from test_ui_client import CATALOG, SAYS
from ui_client import MODES, ORIGIN, Mode, Page, check, until

pytestmark = pytest.mark.e2e
ROOT = "screens"
HEAD = "apiVersion: noetl.io/v2\nkind: Playbook\nmetadata: {name: x, path: PATH}\nworkflow:\n"
FAILING = """\
- step: start
  tool: {kind: http, url: "http://127.0.0.1:9/", method: GET}
"""
SOFT = """\
- step: start
  tool: {kind: python, code: "result = 1 / 0"}
"""
LOOP = """\
- step: start
  loop: {in: "{{ range(40) | list }}", iterator: i, spec: {mode: parallel}}
  tool: {kind: noop}
"""
LARGE = """\
- step: start
  tool: {kind: python, code: "result = {'rows': ['row %d' % n for n in range(20000)]}"}
"""
PARENT = """\
- step: start
  tool: {kind: playbook, path: screens/waiting, return_step: start}
"""
WAITING = """\
- step: start
  tool: {kind: wait, signal: go, timeout: 1h}
"""
SUITE = {
    "suite_id": str, "file_path": str, "playbook_path": str, "tests": list, "metadata": dict,
    "updated_at": str,
}  # fmt: skip
ANALYSIS = {
    "execution_id": str, "status": str, "summary": str, "findings": list,
    "recommendations": list, "generated_at": str,
}  # fmt: skip


@pytest.fixture(scope="module")
def page(nats_stack: Stack) -> Iterator[Page]:
    with Page(nats_stack.url, MODES["direct"]) as page:
        yield page


def written(name: str, steps: str) -> str:
    return HEAD.replace("PATH", f"{ROOT}/{name}") + steps


def run(page: Page, name: str, steps: str) -> tuple[str, JsonObject]:
    """Register and run a playbook; return the execution's id and its detail."""
    page.register(written(name, steps))
    execution_id = page.post("/execute", {"path": f"{ROOT}/{name}"})["execution_id"]
    page.ended(execution_id)
    return execution_id, page.get(f"/executions/{execution_id}", page=1, page_size=200)


def event(detail: JsonObject, kind: str) -> JsonObject:
    return next(one for one in detail["events"] if one["event_type"] == kind)


def test_new_playbook(page: Page) -> None:
    check(page.register(written("new", FAILING)), CATALOG | {"status": str, "message": str})
    broken = page.ask("POST", "/catalog/register", {"content": "a: ["}, status=422)
    assert "at line 2 column 1" in broken["detail"]
    # The dialog's own example: it registers, and a run says what is missing.
    page.register(written("example", "- step: start\n"))
    refused = page.ask("POST", "/execute", {"path": f"{ROOT}/example"}, status=400)
    assert "missing field `tool`" in refused["detail"]


def test_editor(page: Page) -> None:
    wrong = written("edited", "- step: start\n  tool: {kind: pyton}\n")
    told = page.post("/catalog/playbooks/validate", {"content": wrong})
    assert told["errors"] == ["line 6: unknown tool kind 'pyton', did you mean 'python'?"]
    assert told["problems"][0]["line"] == 6
    first = page.register(written("edited", SOFT))
    saved = page.ask(
        "PUT", "/catalog/playbook/content", {"content": wrong}, playbook_id=first["catalog_id"]
    )
    assert saved["version"] == 2
    unsaved = {"path": f"{ROOT}/unsaved", "version": "1.0"}
    assert "not found" in page.ask("POST", "/execute", unsaved, status=404)["detail"]


def test_what_a_failure_says(page: Page) -> None:
    _, hard = run(page, "hard", FAILING)
    _, soft = run(page, "soft", SOFT)
    assert (hard["status"], soft["status"]) == ("FAILED", "COMPLETED")
    assert "HTTP error" in hard["error"]
    assert "ZeroDivisionError" in soft["error"]
    assert soft["duration_human"].endswith(("s", "ms"))
    assert event(hard, "call.error")["error"]


def test_events_of_a_loop_are_told_apart(page: Page) -> None:
    _, detail = run(page, "loop", LOOP)
    ids = [one["event_id"] for one in detail["events"]]
    assert len(set(ids)) == len(ids) > 100
    assert all(isinstance(one["id"], str) for one in detail["events"])


def test_a_large_result_is_shown(page: Page) -> None:
    _, detail = run(page, "large", LARGE)
    done = event(detail, "call.done")
    data = done["result"]["context"]["result"]["context"]["data"]
    check(data, {"_ref": str, "_size": int, "_type": str, "_preview": str})
    assert len(data["_preview"]) == 2048
    assert data["_size"] > 100_000
    assert detail["result"]["_preview"] == data["_preview"]


def test_durations_and_progress(page: Page) -> None:
    _, detail = run(page, "short", SOFT)
    assert event(detail, "call.done")["duration"] > 0
    page.register(written("waiting", WAITING))
    execution_id = page.post("/execute", {"path": f"{ROOT}/waiting"})["execution_id"]
    listed = page.listed(f"{ROOT}/waiting", lambda one: one["status"] == "RUNNING")
    assert 0 <= listed["progress"] < 100
    assert page.post(f"/executions/{execution_id}/stop", None)["status"] == "cancelled"


def test_cancel_with_a_child(page: Page) -> None:
    page.register(written("waiting", WAITING))
    page.register(written("parent", PARENT))
    parent = page.post("/execute", {"path": f"{ROOT}/parent"})["execution_id"]

    def child() -> Json:
        found = page.get("/executions", parent_execution_id=parent)
        return found[0] if found else None

    entry = until(child, lambda one: one is not None)
    cancelled = page.post(f"/executions/{parent}/cancel", {"reason": "r", "cascade": True})
    assert sorted(cancelled["cancelled_executions"]) == sorted([parent, entry["execution_id"]])


def test_reports_without_and_with_ai(page: Page) -> None:
    execution_id, _ = run(page, "fixed", FAILING)
    analysis = page.post(f"/executions/{execution_id}/analyze", {"max_events": 100})
    check(analysis, ANALYSIS)
    assert analysis["summary"].startswith("it ended FAILED: ")
    for path in ("catalog/playbooks/explain/ai", "catalog/playbooks/generate/ai"):
        assert page.ask("POST", f"/{path}", {}, status=501)["detail"].startswith("AI is not")
    page.ask("POST", f"/executions/{execution_id}/analyze/ai", {}, status=501)


def test_the_test_lab(page: Page) -> None:
    path = f"{ROOT}/lab"
    page.register(SAYS.replace("PATH", path).replace("name: says", 'name: says, version: "1.0"'))
    started = page.post("/execute", {"path": path, "version": "1.0", "workload": {}})
    assert page.ended(started["execution_id"]) == "COMPLETED"
    suite = f"/playbook-tests/suites/{path}"
    page.ask("GET", suite, status=404)
    kept = page.ask("PUT", suite, {"playbook_path": path, "tests": [{"name": "a"}]})
    check(kept, SUITE)
    assert page.get(suite) == kept
    assert page.ask("DELETE", suite)["status"] == "success"


def test_users_travel_and_the_gateway_mode(page: Page, nats_stack: Stack) -> None:
    assert page.post("/auth/validate", {"session_token": "dev-skip-auth"})["valid"] is True
    travel = {"path": "automation/agents/travel/runtime", "workload": {}}
    detail = page.ask("POST", "/execute", travel, status=404)["detail"]
    assert detail == "Playbook not found: automation/agents/travel/runtime"
    with Page(nats_stack.url, MODES["gateway"]) as other:
        assert "entries" in other.post("/catalog/list", {"resource_type": "Playbook"})
    with (
        Page(nats_stack.url, Mode("", {"Origin": ORIGIN})) as source,
        source.source("/events?session_token=t") as told,
    ):
        hello = next(message for message in told if message.get("event") == "message")
    assert '"clientId"' in hello["data"]
