"""Refusals that every route words alike: bodies that are none, ids, methods."""

import re
from typing import Any

import httpx
import pytest
from golden import TOKEN
from routes import DOCUMENT, OPERATIONS

pytestmark = pytest.mark.e2e

# These take a body of any kind or none, as their clients call them.
LAX = {
    "POST /api/executions/{execution_id}/cancel",
    "POST /api/executions/{execution_id}/pause",
    "POST /api/executions/{execution_id}/resume",
    "POST /api/executions/{execution_id}/stop",
    "POST /api/executions/{execution_id}/rerun",
    "POST /api/executions/{execution_id}/restart",
    "POST /api/executions/{execution_id}/signals/{signal}",
    "POST /api/executions/{execution_id}/waits/{wait}/links",
    "POST /api/executions/cleanup",
    "POST /api/internal/cleanup/purge",
    "POST /api/internal/projection/advance",
    "POST /api/internal/projection/rebuild",
}
# Senders and people without a login: what they are refused with is of another shape.
PUBLIC = {"POST /api/links/{link}", "POST /ingress/{listener}"}
WITH_BODY = sorted(name for name in OPERATIONS if "requestBody" in OPERATIONS[name])
STRICT = [name for name in WITH_BODY if name not in LAX | PUBLIC]
# The routes of workers, asked so often or with so much that a second parse counts.
BUSY = {
    "POST /api/commands/{event_id}/claim",
    "POST /api/commands/{event_id}/output",
    "POST /api/commands/{event_id}/reports",
    "POST /api/events",
    "POST /api/events/batch",
    "PUT /api/result/{execution_id}",
    "PUT /api/temp/{execution_id}",
}
LIMIT = 2 * 1024 * 1024
LARGE = ("/api/result/", "/api/temp/", "/api/catalog/register/batch")
AUTHORIZED = {"authorization": f"Bearer {TOKEN}"}
# The container's callback reads its path after the body, and as text.
ODD_PATHS = {"POST /api/internal/container-callback/{execution_id}/{step}"}
BY_NUMBER = (
    *("execution_id", "catalog_id", "event_id", "request_id"),
    *("schedule_id", "subscription_id"),
)


def ask(client: httpx.Client, name: str, **sent: Any) -> httpx.Response:
    method, _, path = name.partition(" ")
    filled = re.sub(r"{(\w+)}", "1", path)
    sent["headers"] = {**AUTHORIZED, **sent.get("headers", {})}
    if path.startswith("/api/catalog/playbook"):
        filled += "?playbook_id=golden"
    return client.request(method, filled, **sent)


def assert_refused(answer: httpx.Response, status: int, text: str) -> None:
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert list(body) == ["error", "status", "detail"]
    assert body["status"] == status
    assert re.fullmatch(text, body["error"]), body["error"]
    assert body["detail"] == body["error"]
    assert answer.headers["content-type"] == "application/json"


def test_bodies_need_a_content_type(client: httpx.Client, subtests: pytest.Subtests) -> None:
    for name in STRICT:
        with subtests.test(name):
            answer = ask(client, name, content=b"{}")
            text = "Expected request with `Content-Type: application/json`"
            assert_refused(answer, 415, re.escape(text))


def test_bodies_are_json_objects(client: httpx.Client, subtests: pytest.Subtests) -> None:
    headers = {"content-type": "application/json"}
    for name in STRICT:
        with subtests.test(name):
            answer = ask(client, name, content=b"", headers=headers)
            text = "Failed to parse the request body as JSON: EOF while .* line 1 column 0"
            assert_refused(answer, 400, text)
            answer = ask(client, name, content=b"7", headers=headers)
            text = (
                "Failed to deserialize the JSON body into the target type: "
                "invalid type: integer `7`, expected .+"
            )
            assert_refused(answer, 422, text)


def test_bodies_have_each_field_once(client: httpx.Client, subtests: pytest.Subtests) -> None:
    headers = {"content-type": "application/json"}
    for name in STRICT:
        if name in BUSY:
            continue
        with subtests.test(name):
            field = first_field(name)
            content = f'{{"{field}":null,"{field}":null}}'.encode()
            answer = ask(client, name, content=content, headers=headers)
            text = (
                "Failed to deserialize the JSON body into the target type: "
                f"duplicate field `{field}`"
            )
            assert_refused(answer, 422, text)


def first_field(name: str) -> str:
    """Return a field that the route's body has."""
    schema = OPERATIONS[name]["requestBody"]["content"]["application/json"]["schema"]
    while "$ref" in schema or "oneOf" in schema or "anyOf" in schema:
        schema = (schema.get("oneOf") or schema.get("anyOf") or [schema])[0]
        if "$ref" in schema:
            schema = DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return str(next(iter(schema.get("properties", {"x": {}}))))


def test_bodies_have_a_limit(client: httpx.Client, subtests: pytest.Subtests) -> None:
    headers = {"content-type": "application/json"}
    content = b'{"x":"' + b"x" * LIMIT + b'"}'
    for name in WITH_BODY:
        if name.partition(" ")[2].startswith(LARGE) or name in PUBLIC:
            continue
        with subtests.test(name):
            answer = ask(client, name, content=content, headers=headers)
            text = "Failed to buffer the request body: length limit exceeded"
            assert_refused(answer, 413, text)


def test_ids_are_numbers(client: httpx.Client, subtests: pytest.Subtests) -> None:
    for name in sorted(set(OPERATIONS) - ODD_PATHS):
        method, _, path = name.partition(" ")
        first = re.search(r"{(\w+)}", path)
        if first is None or first[1] not in BY_NUMBER:
            continue
        with subtests.test(name):
            parameters = len(re.findall(r"{\w+}", path))
            path = re.sub(r"{\w+}", "pause", path.replace(first[0], "abc", 1))
            sent = {"json": {}} if "requestBody" in OPERATIONS[name] else {}
            answer = client.request(method, path, headers=AUTHORIZED, **sent)
            which = "value at index 0 with value " if parameters > 1 else ""
            assert_refused(answer, 400, f"Invalid URL: Cannot parse {which}`abc` to a `i64`")


def test_texts_in_paths_are_utf8(client: httpx.Client, subtests: pytest.Subtests) -> None:
    body = {"state": "failed", "job_name": "golden"}
    for name in sorted(OPERATIONS):
        method, _, path = name.partition(" ")
        texts = [part for part in re.findall(r"{(\w+)}", path) if part not in BY_NUMBER]
        if not texts or "{path}" in path:
            continue
        with subtests.test(name):
            path = re.sub(r"{\w+}", "1", path.replace(f"{{{texts[-1]}}}", "%ff"))
            path = path.replace("/sealed", "/sealed?worker_id=w")
            sent = {"json": body} if "requestBody" in OPERATIONS[name] else {}
            answer = client.request(method, path, headers=AUTHORIZED, **sent)
            assert_refused(answer, 400, f"Invalid URL: Invalid UTF-8 in `{texts[-1]}`")


def test_other_methods_are_named(client: httpx.Client, subtests: pytest.Subtests) -> None:
    methods: dict[str, set[str]] = {}
    for name in OPERATIONS:
        method, _, path = name.partition(" ")
        methods.setdefault(re.sub(r"{(\w+)}", "1", path), set()).add(method)
    for path in sorted(methods):
        with subtests.test(path):
            answer = client.request("PATCH", path)
            assert_refused(answer, 405, "Method Not Allowed")
            allowed = answer.headers["allow"]
            assert " " not in allowed
            named = set(allowed.split(","))
            assert named >= methods[path]
            assert ("HEAD" in named) == ("GET" in named)
            assert "OPTIONS" not in named


def test_no_path_ends_with_a_slash(client: httpx.Client, subtests: pytest.Subtests) -> None:
    for name in sorted(OPERATIONS):
        method, _, path = name.partition(" ")
        with subtests.test(name):
            answer = client.request(method, re.sub(r"{\w+}", "1", path) + "/", json={})
            assert_refused(answer, 404, "Not Found")
