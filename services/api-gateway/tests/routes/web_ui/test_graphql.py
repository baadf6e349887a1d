"""GraphQL as the web UI's gateway mode asks it: forms, bounds, rights."""

from pathlib import Path
from typing import Any

import orjson
import pytest
from graphql import build_client_schema, get_introspection_query, print_schema
from noetl_api_gateway.routes.web_ui.graphql.schema import SCHEMA
from noetl_contract.access.rights import Role
from noetl_contract.rpc import RpcReply
from noetl_testkit.waiting import unless_it_hangs

from ...access.callers import KEYS, bearer, guarded_world
from ...conftest import EXECUTION_ID, World, make_world

RUN = (
    "mutation Run($name: String!, $variables: JSON, $clientId: String) {"
    " executePlaybook(name: $name, variables: $variables, clientId: $clientId)"
    " { id executionId requestId name status textOutput } }"
)
PROXY = (
    "mutation ($input: ProxyRequestInput!) { proxyRequest(input: $input) { success data error } }"
)


async def ask(world: World, query: str, headers: Any = None, **variables: Any) -> Any:
    """Post a document, and return the body; the status is 200 even for errors."""
    body = orjson.dumps({"query": query, "variables": variables})
    sent = {"content-type": "application/json", **(headers or {})}
    answer = await world.client.post("/graphql", content=body, headers=sent)
    assert answer.status_code == 200, answer.text
    return answer.json()


def message(told: Any) -> str:
    (error,) = told["errors"]
    text: str = error["message"]
    return text


async def test_it_tells_that_it_is_there(world: World) -> None:
    told = await ask(world, "{ health version __typename }")
    page = await world.get("/graphql")

    assert (told["data"]["health"], told["data"]["__typename"]) == ("ok", "Query")
    assert told["data"]["version"]
    assert "errors" not in told
    assert (page.status_code, page.headers["allow"]) == (405, "POST")
    assert "POST" in page.json()["detail"]


async def test_a_start_is_that_of_the_api(world: World) -> None:
    told = await ask(world, RUN, name="demo/hello", variables={"n": 1})

    started = told["data"]["executePlaybook"]
    (message,) = world.backend.ingress
    number = str(message["execution_id"])
    assert started == {
        "id": number,
        "executionId": number,
        "requestId": None,
        "name": "demo/hello",
        "status": "started",
        "textOutput": None,
    }
    assert message["payload"] == {"n": 1}
    assert world.backend.requests("resolve")[-1]["path"] == "demo/hello"


async def test_a_rerun_lies_over_the_stored_workload(world: World) -> None:
    origin = {"catalog_id": 11, "workload": {"a": 1, "b": 2}, "execution_pool": None}
    world.backend.answer("executions.origin", origin)
    query = (
        "mutation ($id: String!, $v: JSON)"
        " { rerunExecution(executionId: $id, variables: $v) { executionId name } }"
    )

    told = await ask(world, query, id=str(EXECUTION_ID), v={"b": 3})
    wrong = await ask(world, query, id="x")

    assert told["data"]["rerunExecution"]["name"] == str(EXECUTION_ID)
    assert world.backend.ingress[-1]["payload"] == {"a": 1, "b": 3}
    assert message(wrong) == "executionId 'x' is no id of an execution"


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("", "Syntax Error: Unexpected <EOF>."),
        ("{", "Syntax Error: Expected Name, found <EOF>."),
        ("{ secrets }", "Cannot query field 'secrets' on type 'Query'."),
        ("query A { health } query B { health }", "Must provide operation name"),
        ("{ " + "x" * 20_000 + " }", "The query has 20004 characters, at most 20000 are taken"),
        ("{ " + "a " * 3000 + "}", "Document contains more than 2000 tokens"),
        ("{ " + "health " * 201 + "}", "The query has 201 fields, at most 200 are taken"),
        (
            "{ " + " ".join(f"a{number}: health" for number in range(11)) + " }",
            "The query has 11 aliases, at most 10 are taken",
        ),
        ("{ a " * 16 + "} " * 16, "The query has 16 levels deep, at most 15 are taken"),
        ("{ a " * 900, "nested"),
        ("{ ...F } fragment F on Query { ...F }", "Cannot spread fragment 'F' within itself."),
        ("mutation { proxyRequest { success } }", "'ProxyRequestInput!' is required"),
    ],
)
async def test_what_is_wrong_is_told_as_an_error(world: World, query: str, text: str) -> None:
    told = await ask(world, query)

    assert told["data"] is None
    assert text in message(told)


async def test_tools_may_ask_for_the_schema(world: World) -> None:
    told = await ask(world, get_introspection_query())

    found = build_client_schema(told["data"])
    assert {*found.type_map["Mutation"].fields} == {  # type: ignore[attr-defined]
        "executePlaybook",
        "rerunExecution",
        "proxyRequest",
    }


def test_the_page_of_the_documents_shows_the_schema() -> None:
    page = next(
        path
        for parent in Path(__file__).resolve().parents
        if (path := parent / "docs" / "web-ui.md").is_file()
    )

    assert f"```text\n{print_schema(SCHEMA)}\n```" in page.read_text()


async def test_values_of_the_wrong_form_are_refused(world: World) -> None:
    listed = await ask(world, RUN, name="demo/hello", variables=[1])
    nothing = await ask(world, RUN)
    kind = await ask(world, 'mutation { executePlaybook(name: "a", resourceKind: "tool") { id } }')
    huge = await ask(
        world, f'mutation {{ executePlaybook(name: "a", variables: {{n: {"9" * 30}}}) {{ id }} }}'
    )
    call = f'{{method: "POST", endpoint: "/execute", body: {{n: {"9" * 30}}}}}'
    passed = await ask(world, f"mutation {{ proxyRequest(input: {call}) {{ success }} }}")
    client = await ask(world, RUN, name="demo/hello", clientId="a.*")
    no_json = await world.client.post("/graphql", content=b"{", headers=bearer("x"))

    assert message(listed) == "variables is no object: its keys are laid over the workload"
    assert "$name" in message(nothing)
    assert message(kind) == "resourceKind 'tool' is none of playbook, agent"
    assert message(huge) == "variables can't be sent as JSON: Integer exceeds 64-bit range"
    assert message(passed) == "body can't be sent as JSON: Integer exceeds 64-bit range"
    assert message(client).startswith("clientId is no name of a connection")
    assert no_json.status_code == 415
    assert world.backend.ingress == []


async def test_refusals_have_the_status_of_the_route(world: World) -> None:
    world.backend.answer("resolve", RpcReply(status=404, error="Playbook not found: demo/no"))

    told = await ask(world, RUN, name="demo/no", clientId="page")

    assert told["data"] is None
    (error,) = told["errors"]
    assert error["message"] == "Playbook not found: demo/no"
    assert (error["path"], error["extensions"]) == (["executePlaybook"], {"status": 404})


async def test_a_document_has_its_time(nats_url: str) -> None:
    async with make_world(nats_url, graphql_patience_seconds=0.05) as world:
        world.backend.on_ingress = lambda _message, _delivery: _nothing()
        told = await ask(world, RUN, name="demo/hello")

    assert told["errors"] == [
        {
            "message": "No answer in 0.05 s; what was begun may go on",
            "extensions": {"status": 504},
        }
    ]


async def _nothing() -> None:
    return None


async def test_a_call_is_passed_on_to_the_api_only(world: World) -> None:
    entry = {"execution_id": EXECUTION_ID, "status": "COMPLETED"}
    world.backend.answer("executions.list", [entry])
    wanted = {"method": "get", "endpoint": "/api/executions?limit=5&status=COMPLETED"}

    told = (await ask(world, PROXY, input=wanted))["data"]["proxyRequest"]
    bare = (await ask(world, PROXY, input={"method": "GET", "endpoint": "executions"}))["data"]
    started = await ask(
        world,
        PROXY,
        input={"method": "POST", "endpoint": "/noetl/execute", "body": {"path": "demo/hello"}},
    )
    missing = (await ask(world, PROXY, input={"method": "GET", "endpoint": "/nothing"}))["data"]

    assert told == {
        "success": True,
        "data": [{"execution_id": str(EXECUTION_ID), "status": "COMPLETED"}],
        "error": None,
    }
    asked = world.backend.requests("executions.list")
    assert (asked[0]["limit"], asked[0]["status"]) == (5, "COMPLETED")
    assert bare["proxyRequest"]["success"]
    assert started["data"]["proxyRequest"]["data"]["status"] == "started"
    assert missing["proxyRequest"] == {"success": False, "data": None, "error": "Not Found"}


@pytest.mark.parametrize(
    ("wanted", "text"),
    [
        ({"method": "TRACE", "endpoint": "/executions"}, "method 'TRACE' is none of GET"),
        ({"method": "GET", "endpoint": "http://other.example/x"}, "is no percent-encoded path"),
        ({"method": "GET", "endpoint": "//other.example/x"}, "is no percent-encoded path"),
        ({"method": "GET", "endpoint": "/a b"}, "is no percent-encoded path"),
        ({"method": "GET", "endpoint": "/a?x=1&x=2"}, "names a parameter twice"),
        ({"method": "GET", "endpoint": "/a?" + "&" * 200}, "has more than 100 parameters"),
    ],
)
async def test_a_call_elsewhere_is_refused(world: World, wanted: Any, text: str) -> None:
    assert text in message(await ask(world, PROXY, input=wanted))


async def test_a_call_of_a_stream_ends(world: World) -> None:
    tail = {
        "events": [],
        "status": "RUNNING",
        "position": 0,
        "after_position": 0,
        "has_secrets": False,
    }
    world.backend.answer("executions.tail", tail)
    wanted = {"method": "GET", "endpoint": f"/executions/{EXECUTION_ID}/events/stream"}

    async with unless_it_hangs():
        told = (await ask(world, PROXY, input=wanted))["data"]["proxyRequest"]

    assert told["success"]


async def test_each_call_has_the_rights_of_its_route(nats_url: str) -> None:
    viewer, operator = bearer(KEYS[Role.VIEWER]), bearer(KEYS[Role.OPERATOR])
    async with guarded_world(nats_url) as world:
        nobody = await world.post("/graphql", {"query": "{ health }"})
        stranger = await world.client.post(
            "/graphql", json={"query": "{ health }"}, headers=bearer(KEYS[Role.SECRETS])
        )
        looked = await ask(world, "{ health }", viewer)
        refused = await ask(world, RUN, viewer, name="demo/hello", clientId="page")
        keys = {"method": "GET", "endpoint": "/admin/keys"}
        passed = await ask(world, PROXY, operator, input=keys)
        started = await ask(world, RUN, operator, name="demo/hello", clientId="page")
        owners = [one["owner"] for one in world.backend.ingress]

    assert (nobody.status_code, stranger.status_code) == (401, 403)
    assert looked["data"]["health"] == "ok"
    assert message(refused) == "The right `executions.start` is missing"
    assert refused["errors"][0]["extensions"] == {"status": 403}
    assert passed["data"]["proxyRequest"] == {
        "success": False,
        "data": None,
        "error": "The right `keys.manage` is missing",
    }
    assert started["data"]["executePlaybook"]["requestId"]
    assert owners == ["the operator"]
