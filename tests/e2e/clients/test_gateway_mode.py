"""The web UI's gateway mode over HTTP, against a stack that asks for logins.

The sequence is that of its sources: validate the token, listen on `/events`, start with the name
of the connection, take the result from there, and come back under the same name.
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Self

import httpx
import pytest
from noetl_contract.access.rights import Role
from noetl_testkit.stack import Stack, finish
from noetl_testkit.waiting import PATIENCE_SECONDS

from tests.security.access.callers import GATEWAY_AT, KEYS, PAGES_AT

pytestmark = pytest.mark.e2e

EXECUTE = """
mutation ExecutePlaybook($name: String!, $variables: JSON, $clientId: String) {
  executePlaybook(name: $name, variables: $variables, clientId: $clientId) {
    id executionId requestId name status textOutput
  }
}
"""
POSTING = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: posting, path: tests/gateway/posting}
workload: {tables: 0}
workflow:
  - step: start
    tool:
      kind: python
      code: |
        import base64, json, os, urllib.parse, urllib.request
        where = urllib.parse.urlsplit(context["server_url"])
        login = f"{where.username}:{where.password}".encode()
        address = f"{where.scheme}://{where.hostname}:{where.port}/api/internal/"
        workload = variables["workload"]

        def post(path, **body):
            sent = json.dumps({"request_id": workload["request_id"], **body}).encode()
            headers = {
                "Content-Type": "application/json",
                "Authorization": "Basic " + base64.b64encode(login).decode(),
            }
            wanted = urllib.request.Request(address + path, data=sent, headers=headers)
            with urllib.request.urlopen(wanted) as answer:
                return json.load(answer)["status"]

        half = post("progress", step="start", message="half", progress=0.5)
        done = post("callback/async", data={"textOutput": f"{workload['tables']} tables"})
        result = {"half": half, "done": done}
"""
PLAIN = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: plain, path: tests/gateway/plain}
workload: {word: hi}
workflow:
  - step: start
    tool: {kind: python, input: {word: "{{ workload.word }}"}, code: "result = {'word': word}"}
"""
FAILING = (
    PLAIN.replace("plain", "failing")
    .replace("result = {'word': word}", "1 / 0")
    .replace("workflow:", "spec: {errors: fail}\nworkflow:")
)


# As the organisation's own playbooks do it: with what the workload says, and no other login.
CALLING_BACK = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: calling, path: tests/gateway/calling}
workload: {request_id: "", gateway_url: ""}
workflow:
  - step: start
    tool:
      kind: http
      method: POST
      url: "{{ workload.gateway_url }}/api/internal/callback/async"
      json:
        request_id: "{{ workload.request_id }}"
        status: COMPLETED
        data: {users: [{email: ada@example.org}], summary: {count: 1}}
    next: {arcs: [{step: end}]}
  - step: end
    tool: {kind: noop}
"""


class Page:
    """A page behind a gateway, with its own name for the connection."""

    def __init__(self, stack: Stack, token: str) -> None:
        self.token = token
        self.client_id = ""
        self._client = httpx.AsyncClient(
            base_url=stack.url,
            timeout=PATIENCE_SECONDS,
            headers={
                "Authorization": f"Bearer {token}",
                "x-session-token": token,
                "Origin": stack.url,
                "Sec-Fetch-Site": "same-origin",
            },
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def post(self, path: str, **body: Any) -> Any:
        answer = await self._client.post(path, json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[AsyncIterator[tuple[str, Any]]]:
        query = {"session_token": self.token}
        if self.client_id:
            query["client_id"] = self.client_id
        async with self._client.stream("GET", "/events", params=query) as answer:
            told = _messages(answer.aiter_lines())
            name, hello = await anext(told)
            assert name == "message"
            self.client_id = hello["result"]["clientId"]
            yield told

    async def start(self, path: str, **variables: Any) -> dict[str, Any]:
        sent = {"name": path, "variables": variables, "clientId": self.client_id}
        told = await self.post("/graphql", query=EXECUTE, variables=sent)
        started: dict[str, Any] = told["data"]["executePlaybook"]
        return started


async def _messages(lines: AsyncIterator[str]) -> AsyncIterator[tuple[str, Any]]:
    name = ""
    async for line in lines:
        if line.startswith("event: "):
            name = line[7:]
        elif line.startswith("data: "):
            yield name, json.loads(line[6:])


async def _until_result(told: AsyncIterator[tuple[str, Any]]) -> tuple[Any, list[str]]:
    """Return the parameters of the next result, and the names of the messages before it."""
    before = []
    async for name, body in told:
        if name == "playbook/result":
            return body["params"], before
        before.append(name)
    raise AssertionError("the stream has ended")


async def _until_result_of(told: AsyncIterator[tuple[str, Any]], request_id: str) -> Any:
    """Return the parameters of the next result of a request."""
    while True:
        result, _ = await _until_result(told)
        if result["requestId"] == request_id:
            return result


@pytest.fixture(scope="module")
def stack(asking_stack: Stack) -> Stack:
    with asking_stack.client(KEYS[Role.AUTHOR]) as author:
        for text in (POSTING, PLAIN, FAILING, CALLING_BACK):
            author.post("/api/catalog/register", json={"content": text}).raise_for_status()
    return asking_stack


async def test_a_page_logs_in_starts_and_gets_what_it_missed(stack: Stack) -> None:
    async with Page(stack, KEYS[Role.OPERATOR]) as page:
        valid = await page.post("/api/auth/validate", session_token=page.token)
        async with page.listening() as told:
            posted = await page.start("tests/gateway/posting", tables=3)
            result, before = await _until_result(told)
        # The connection is lost before these end.
        plain = await page.start("tests/gateway/plain", word="later")
        failing = await page.start("tests/gateway/failing")
        ids = {one["requestId"]: one["executionId"] for one in (posted, plain, failing)}
        async with page.listening() as told:
            results: dict[str, Any] = {}
            while results.keys() != ids.keys():
                missed = (await _until_result(told))[0]
                results[missed["requestId"]] = missed

    assert valid["valid"]
    assert posted["status"] == "started"
    assert "playbook/progress" in before, (before, result)
    assert result == {
        "requestId": posted["requestId"],
        "executionId": posted["executionId"],
        "status": "COMPLETED",
        "data": {"textOutput": "3 tables"},
    }
    assert {number: one["executionId"] for number, one in results.items()} == ids
    assert results[posted["requestId"]] == result
    assert results[plain["requestId"]]["data"] == {
        "word": "later",
        "textOutput": '{"word":"later"}',
    }
    failed = results[failing["requestId"]]
    assert (failed["status"], failed["error"]["code"]) == ("FAILED", -32000)
    assert "ZeroDivisionError" in failed["error"]["message"]


async def test_a_page_that_reads_its_answer_late_loses_no_result(stack: Stack) -> None:
    """As the real page: it drops messages about a request that it does not know yet."""
    async with Page(stack, KEYS[Role.OPERATOR]) as page, page.listening() as told:
        for _ in range(5):
            request_id = (await page.start("tests/gateway/plain", word="quick"))["requestId"]
            dropped = await _until_result_of(told, request_id)
            kept = await _until_result_of(told, request_id)

            assert kept == dropped


async def test_a_playbook_calls_back_with_the_gateway_url_alone(stack: Stack) -> None:
    async with Page(stack, KEYS[Role.OPERATOR]) as page, page.listening() as told:
        run = await page.start("tests/gateway/calling")
        result = await _until_result_of(told, run["requestId"])
    with stack.client(KEYS[Role.OPERATOR]) as client:
        path = f"/api/executions/{run['executionId']}"
        ended = finish(client, int(run["executionId"]))
        shown = client.get(path, params={"include": "context"}).json()

    assert result["data"] == {
        "users": [{"email": "ada@example.org"}],
        "summary": {"count": 1},
        "textOutput": '{"count":1}',
    }
    assert (ended, shown["soft_errors"]) == ("COMPLETED", 0)
    # Who may read the execution may not answer for it.
    assert shown["workload"]["callback_token"] == "[REDACTED]"
    assert ":[REDACTED]@" in shown["workload"]["gateway_url"]


async def test_who_may_not_start_is_told_so(stack: Stack) -> None:
    async with Page(stack, KEYS[Role.VIEWER]) as page:
        told = await page.post(
            "/graphql", query=EXECUTE, variables={"name": "tests/gateway/plain", "clientId": "x"}
        )

    (error,) = told["errors"]
    assert error["message"] == "The right `executions.start` is missing"


@pytest.mark.parametrize(
    ("address", "register", "listed"), [(GATEWAY_AT, 403, 403), (PAGES_AT, 200, 200)]
)
async def test_calls_of_a_page_come_through_a_gateway(
    stack: Stack, address: str, register: int, listed: int
) -> None:
    """It forwards the page's session, which only it knows, and no `Authorization`."""
    at = httpx.AsyncHTTPTransport(local_address=address)
    headers = {"x-session-token": "a-session-of-the-gateway", "x-requested-with": "page"}
    async with httpx.AsyncClient(
        base_url=stack.url, transport=at, headers=headers, timeout=PATIENCE_SECONDS
    ) as gateway:
        calls = [
            gateway.post("/api/execute", json={"path": "tests/gateway/plain"}),
            gateway.post("/api/catalog/register", json={"content": PLAIN}),
            gateway.post("/api/catalog/list", json={"resource_type": "Playbook"}),
            gateway.get("/api/executions"),
            gateway.get("/api/credentials"),
            gateway.post("/api/catalog/playbooks/validate", json={"content": PLAIN}),
        ]
        statuses = [(await call).status_code for call in calls]
        secret = await gateway.get("/api/internal/secret-audit")

    assert statuses == [200, register, listed, 200, listed, register]
    assert secret.status_code == 403
