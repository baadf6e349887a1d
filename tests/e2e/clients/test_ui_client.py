"""Requests of the web UI, sent and read as by a browser."""

import json
from collections.abc import Iterator
from datetime import datetime
from types import NoneType

import pytest
from noetl_contract.json import Json
from noetl_testkit.stack import Stack
from real_cli import FAILS
from ui_client import MODES, ORIGIN, Page, check, double, printed, shown_text

pytestmark = pytest.mark.e2e

# The longest page of events.
MOST_EVENTS = 2000
SAYS = """\
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: says, path: PATH, description: Says a word}
workload:
  word: hello  # ui:enum=[hello,bye]
  times: 1
  much: 1.5
  loud: false
  who: {name: you, token: null}  # ui:secret # ui:description=Whom to greet
  tags: [a]
workflow:
  - step: start
    tool: {kind: python, args: {word: "{{ workload.word }}"}, code: "result = {'text': word}"}
"""
# Below "subscription/" it goes to a pool that has no worker here: it runs until it is cancelled.
WAITS = """\
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: waits, path: subscription/PATH}
workflow:
  - step: start
    tool: {kind: noop}
"""
AGENT = """\
apiVersion: noetl.io/v2
kind: Agent
metadata: {name: helper, path: PATH, description: Helps, agent: true, capabilities: [chat, PATH]}
workload: {}
workflow:
  - step: start
    tool: {kind: noop}
"""

_TEXT = (str, NoneType)
_NUMBER = (int, float)
_ID = (str, NoneType)
ENTRY = {
    "execution_id": str, "catalog_id": str, "path": str, "version": int, "status": str,
    "start_time": str, "end_time": _TEXT, "duration_seconds": _NUMBER, "duration_human": str,
    "progress": int, "error": _TEXT, "parent_execution_id": _ID,
    "started_at": str, "completed_at": _TEXT,
}  # fmt: skip
PAGES = {
    "page": int, "page_size": int, "total_events": int, "total_pages": int,
    "has_next": bool, "has_prev": bool,
}  # fmt: skip
DETAIL = ENTRY | {
    "result": (dict, NoneType), "events": list, "pagination": PAGES, "events_included": bool,
    "events_endpoint": str, "workload": dict,
}  # fmt: skip
EVENT = {
    "execution_id": str, "event_id": int, "event_type": str, "node_id": str, "node_name": str,
    "status": str, "created_at": str, "timestamp": str, "duration": (int, float, NoneType),
    "context": (dict, NoneType), "result": (dict, NoneType), "error": _TEXT, "catalog_id": str,
    "parent_execution_id": _ID, "parent_event_id": _ID,
}  # fmt: skip
STREAMED = {
    name: EVENT[name]
    for name in (
        "execution_id", "event_id", "event_type", "node_name", "status", "created_at", "result",
        "error",
    )
}  # fmt: skip
CATALOG = {"catalog_id": str, "path": str, "version": int, "kind": str}
CREDENTIAL = {
    "id": str, "name": str, "type": str, "tags": list, "description": str, "created_at": str,
    "updated_at": str,
}  # fmt: skip


@pytest.fixture(params=MODES)
def page(nats_stack: Stack, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A page in each of the ways in which pages reach the edge."""
    with Page(nats_stack.url, MODES[request.param]) as page:
        yield page


@pytest.fixture
def root(request: pytest.FixtureRequest) -> str:
    """Return the beginning of the paths of a test's playbooks."""
    return "ui/" + request.node.name.translate(str.maketrans("[]", "/_"))


def test_from_the_list_to_the_detail_cancel_rerun_and_run(page: Page, root: str) -> None:
    """A page runs, cancels and reruns; behind a gateway with prefix and token."""
    path = f"subscription/{root}"
    registered = page.register(WAITS.replace("PATH", root))
    run = {"catalog_id": registered["catalog_id"], "workload": {"n": 1}}
    started = page.post("/execute", run | {"resource_kind": "playbook"})

    entry = page.listed(path, lambda entry: entry["status"] == "RUNNING")
    detail = page.get(f"/executions/{entry['execution_id']}", page=1, page_size=10)
    assert entry["execution_id"] == started["execution_id"] == detail["execution_id"]
    assert detail["path"] == path

    mine = f"/executions/{entry['execution_id']}"
    cancelled = page.post(f"{mine}/cancel", {"reason": "by hand", "cascade": True})
    assert (cancelled["status"], cancelled["execution_id"]) == ("cancelled", entry["execution_id"])
    assert cancelled["cancelled_executions"] == [entry["execution_id"]]
    assert page.ended(entry["execution_id"]) == "CANCELLED"
    assert page.listed(path, lambda entry: entry["status"] == "CANCELLED")["progress"] == 100
    page.ask("POST", f"{mine}/cancel", {"reason": "again", "cascade": True}, status=422)

    over = {"workload": {"m": 2}, "resource_kind": "playbook"}
    again = page.post(f"{mine}/rerun", over)["execution_id"]
    assert isinstance(again, str)
    assert page.get(f"/executions/{again}")["workload"] == {"n": 1, "m": 2}
    page.post(f"/executions/{again}/stop", {})
    assert page.ended(again) == "CANCELLED"

    (found,) = [
        entry
        for entry in page.post("/catalog/list", {"resource_type": "Playbook"})["entries"]
        if entry["path"] == path
    ]
    body = page.post("/execute", {"catalog_id": found["catalog_id"], "workload": {}})
    newest = page.listed(path, lambda entry: entry["execution_id"] == body["execution_id"])
    assert newest["parent_execution_id"] is None
    page.post(f"/executions/{body['execution_id']}/stop", {})


def test_list_detail_and_status_have_each_field(page: Page, root: str) -> None:
    page.register(SAYS.replace("PATH", root))
    page.register(FAILS.replace("PATH", f"{root}/fails"))
    good = page.post("/execute", {"path": root})["execution_id"]
    bad = page.post("/execute", {"path": f"{root}/fails"})["execution_id"]
    assert (page.ended(good), page.ended(bad)) == ("COMPLETED", "FAILED")

    entries = page.get("/executions")
    assert isinstance(entries, list)
    for entry in entries:
        check(entry, ENTRY)
    one = page.listed(root, lambda entry: entry["status"] == "COMPLETED")
    detail = page.get(f"/executions/{good}", page=1, page_size=10)
    check(detail, DETAIL)
    assert {name: detail[name] for name in ENTRY} == {name: one[name] for name in ENTRY}
    assert (one["version"], one["progress"], one["error"]) == (1, 100, None)
    begin, end = (datetime.fromisoformat(one[name]) for name in ("start_time", "end_time"))
    assert (end - begin).total_seconds() == pytest.approx(one["duration_seconds"], abs=0.002)
    assert shown_text(detail) == "hello"
    for event in detail["events"]:
        check(event, EVENT)
        assert event["timestamp"] == event["created_at"]

    failed = page.get(f"/executions/{bad}")
    check(failed, DETAIL)
    assert "iterable" in failed["error"]
    assert (
        page.listed(f"{root}/fails", lambda entry: entry["status"] == "FAILED")["error"]
        == failed["error"]
    )
    status = page.get(f"/executions/{bad}/status")
    check(status, {"execution_id": str, "completed": bool, "failed": bool, "error": str})
    assert (status["status"], status["execution_id"]) == ("FAILED", bad)
    page.ask("GET", "/executions/1", status=404)
    page.ask("GET", "/executions/1/status", status=404)


def test_pages_of_events_are_newest_first_and_forgive_rounding(page: Page, root: str) -> None:
    page.register(SAYS.replace("PATH", root))
    execution_id = page.post("/execute", {"path": root})["execution_id"]
    page.ended(execution_id)
    mine = f"/executions/{execution_id}"
    whole = page.get(mine)["events"]
    types = [event["event_type"] for event in whole]

    first = page.get(mine, page=1, page_size=10)
    assert [event["event_type"] for event in first["events"]] == types[::-1][:10]
    assert first["pagination"] == {
        "page": 1, "page_size": 10, "total_events": len(types), "total_pages": 1,
        "has_next": False, "has_prev": False,
    }  # fmt: skip
    behind = page.get(mine, page=2, page_size=10)
    assert (behind["events"], behind["pagination"]["has_prev"]) == ([], True)
    assert page.get(mine, page=1)["pagination"]["page_size"] == 100
    assert page.get(mine, page_size=50_000)["pagination"]["page_size"] == MOST_EVENTS
    only = page.get(mine, event_type="playbook.completed")["events"]
    assert [event["event_type"] for event in only] == ["playbook.completed"]

    # What follows an event is never lost, though the page knows a rounded id only.
    for event in whole:
        since = printed(event["event_id"])
        newer = page.get(mine, since_event_id=since, page_size=100)["events"]
        late = {other["event_id"] for other in whole if other["event_id"] > event["event_id"]}
        assert late <= {found["event_id"] for found in newer}, since


def test_the_stream_of_events_as_an_event_source_reads_it(page: Page, root: str) -> None:
    page.register(WAITS.replace("PATH", root))
    execution_id = page.post("/execute", {"path": f"subscription/{root}"})["execution_id"]
    stream = f"/executions/{execution_id}/events/stream"
    seen: list[dict[str, str]] = []
    with page.source(stream) as messages:
        seen += [next(messages), next(messages), next(messages)]
        page.post(f"/executions/{execution_id}/cancel", {"cascade": True})
        seen += messages

    assert seen[0] == {"retry": "3000"}
    assert [message["event"] for message in seen[1:]] == ["event"] * (len(seen) - 2) + ["end"]
    bodies = [json.loads(message["data"], parse_int=double) for message in seen[1:]]
    for body in bodies[:-1]:
        check(body, STREAMED)
    assert [body["event_type"] for body in bodies[:2]] == ["playbook_started", "command.issued"]
    assert bodies[-1] == {"execution_id": execution_id, "status": "CANCELLED"}
    # The browser keeps the text of the id, and goes on behind it.
    with page.source(stream, **{"Last-Event-ID": seen[2]["id"]}) as messages:
        rest = [message["id"] for message in messages if message.get("event") == "event"]
    assert rest == [message["id"] for message in seen[3:-1]]


def test_what_the_run_dialog_may_send(page: Page, root: str) -> None:
    ids = [page.register(SAYS.replace("PATH", root))["catalog_id"] for _ in range(2)]
    page.register(WAITS.replace("PATH", root))

    def ran(**body: Json) -> tuple[int, str]:
        answer = page.post("/execute", {"resource_kind": "playbook"} | body)
        check(answer, {"execution_id": str, "status": str, "commands_generated": int})
        detail = page.get(f"/executions/{answer['execution_id']}")
        return detail["version"], detail["workload"]["word"]

    assert ran(catalog_id=ids[0]) == (1, "hello")
    for version, wanted in (("1", 1), (1, 1), ("2", 2), ("latest", 2), (None, 2)):
        assert ran(path=root, version=version)[0] == wanted
    assert ran(path=root, workload={"word": "bye"}) == (2, "bye")
    both = {"workload": {"word": "no", "x": 1}, "payload": {"word": "yes"}}
    assert ran(path=root, **both) == (2, "yes")

    missing = page.ask("POST", "/execute", {"path": f"{root}/none"}, status=404)
    assert missing["detail"] == f"Playbook not found: {root}/none"
    page.ask("POST", "/execute", {"path": root, "version": "9"}, status=404)
    page.ask("POST", "/execute", {"path": root, "version": "new"}, status=422)
    page.ask("POST", "/execute", {"workload": {}}, status=422)


def test_the_catalog_has_each_field(page: Page, root: str) -> None:
    registered = page.register(SAYS.replace("PATH", root))
    check(registered, CATALOG | {"status": str, "message": str})
    page.register(AGENT.replace("PATH", f"{root}/agent"))
    run = {"path": f"{root}/agent", "workload": {}, "resource_kind": "agent"}
    assert page.ended(page.post("/execute", run)["execution_id"]) == "COMPLETED"

    entries = page.post("/catalog/list", {"resource_type": "Playbook"})["entries"]
    for entry in entries:
        check(entry, CATALOG | {"meta": {"registered_at": str}})
    (mine,) = (entry for entry in entries if entry["path"] == root)
    check(mine["payload"], {"metadata": {"name": str, "description": str}, "workflow": list})
    assert len(mine["payload"]["workflow"]) == 1
    wish = {"capabilities": ["chat", f"{root}/agent"]}
    (agent,) = page.post("/catalog/agents/list", wish)["entries"]
    check(agent, CATALOG | {"payload": {"metadata": {"name": str, "capabilities": list}}})
    assert (agent["path"], agent["kind"]) == (f"{root}/agent", "agent")
    assert page.post("/catalog/list", {"resource_type": "mcp"}) == {"entries": []}

    entry = page.post("/catalog/resource", {"path": root, "version": "latest"})
    check(entry, CATALOG | {"content": str, "payload": dict})
    assert entry["catalog_id"] == registered["catalog_id"]
    page.ask("POST", "/catalog/resource", {"path": f"{root}/none"}, status=404)


def test_the_form_of_a_playbook(page: Page, root: str) -> None:
    page.register(SAYS.replace("PATH", root))
    for version in ("latest", 1):
        form = page.get(f"/catalog/{root}/ui_schema", version=version)
        check(form, {"path": str, "version": int, "kind": str, "title": str,
                     "description_markdown": str, "exposed_in_ui": bool})  # fmt: skip
        fields = {field.pop("name"): field for field in form["fields"]}
        assert {name: field["kind"] for name, field in fields.items()} == {
            "word": "enum", "times": "integer", "much": "number", "loud": "boolean",
            "who": "object", "tags": "array",
        }  # fmt: skip
        for field in fields.values():
            assert set(field) == {
                "kind", "default", "description", "secret", "credential_glob", "options",
                "children",
            }  # fmt: skip
    assert fields["word"]["options"] == ["hello", "bye"]
    assert (fields["who"]["secret"], fields["who"]["description"]) == (True, "Whom to greet")
    assert [child["kind"] for child in fields["who"]["children"]] == ["string", "null"]


def test_the_editor(page: Page, root: str) -> None:
    text = SAYS.replace("PATH", root)
    catalog_id = page.register(text)["catalog_id"]

    for playbook_id in (catalog_id, root):
        assert page.get("/catalog/playbook/content", playbook_id=playbook_id)["content"] == text
    for path in ("/catalog/playbook/content", "/catalog/playbook"):
        page.ask("PUT", path, {"content": text}, playbook_id=catalog_id)
    newest = page.post("/catalog/resource", {"path": root, "version": "latest"})
    assert newest["version"] == 3
    good = page.post("/catalog/playbooks/validate", {"content": text})
    bad = page.post("/catalog/playbooks/validate", {"content": "a: 1"})
    assert (good["valid"], good["errors"]) == (True, [])
    assert (bad["valid"], bad["errors"]) == (False, ["line 1: Missing 'metadata' section"])
    page.ask("DELETE", f"/catalog/playbooks/{newest['catalog_id']}")
    assert page.post("/catalog/resource", {"path": root, "version": "latest"})["version"] == 2


def test_credentials(page: Page, root: str) -> None:
    name = root.replace("/", "-")
    made = {"name": name, "type": name, "data": {"token": "t0p"}, "tags": ["x"]}
    page.post("/credentials", made | {"description": f"of {name}"})

    for query in ({"type": name}, {"q": name}):
        (item,) = page.get("/credentials", **query)["items"]
        check(item, CREDENTIAL)
        assert (item["name"], item["tags"], "data" in item) == (name, ["x"], False)
    for identifier in (item["id"], name):
        assert "data" not in page.get(f"/credentials/{identifier}", include_data="false")
        shown = page.get(f"/credentials/{identifier}", include_data="true")
        check(shown, CREDENTIAL)
        assert shown["data"] == {"token": "t0p"}
    page.ask("DELETE", f"/credentials/{item['id']}")
    page.ask("GET", f"/credentials/{name}", status=404)


def test_health_and_what_only_another_server_has(page: Page) -> None:
    assert page.get("/health")["status"] in {"ok", "healthy"}
    check(page.get("/dashboard/stats")["stats"], {"total_playbooks": int, "total_executions": int})
    # AI exists in the Python server alone: refused by name, as JSON.
    for path in (
        "/catalog/playbooks/explain/ai",
        "/catalog/playbooks/generate/ai",
        "/executions/1/analyze/ai",
    ):
        assert page.ask("POST", path, {}, status=501)["detail"].startswith("AI is not part")


def test_preflight_and_foreign_origins(nats_stack: Stack) -> None:
    asked = {
        "Origin": ORIGIN,
        "Access-Control-Request-Method": "PUT",
        "Access-Control-Request-Headers": "authorization,content-type,x-session-token",
    }
    with nats_stack.client() as client:
        for path in ("/api/executions", "/noetl/catalog/playbook/content", "/noetl/nothing"):
            answer = client.options(path, headers=asked)
            allowed = answer.headers["access-control-allow-headers"].lower()
            assert answer.status_code == 200
            assert answer.headers["access-control-allow-origin"] in {ORIGIN, "*"}
            assert answer.headers["access-control-allow-methods"] == "*"
            # The star covers everything but this one.
            assert "*" in allowed
            assert "authorization" in allowed
            assert "access-control-allow-credentials" not in answer.headers
        foreign = client.get("/api/executions", headers={"Origin": "https://elsewhere.example"})
    assert "access-control-allow-origin" not in foreign.headers


def test_scripts_get_integers(nats_stack: Stack) -> None:
    """Ids are strings for pages only."""
    with Page(nats_stack.url, MODES["direct"]) as page, nats_stack.client() as client:
        page.register(SAYS.replace("PATH", "ui/script"))
        started = client.post("/api/execute", json={"path": "ui/script"}).json()
        detail = client.get(f"/api/executions/{started['execution_id']}").json()
        listed = client.post("/api/catalog/list", json={"path": "ui/script"}).json()["entries"]
    assert isinstance(started["execution_id"], str)
    assert detail["execution_id"] == int(started["execution_id"])
    assert (type(detail["catalog_id"]), "metadata" in listed[0]["payload"]) == (int, False)
