"""The whole catalog service on real servers, asked over NATS."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from noetl_contract.http.catalog.entries import CatalogEntry, CatalogListAnswer, RegisterAnswer
from noetl_contract.http.workers.runtimes import RuntimeAcknowledgement, RuntimeEntry
from noetl_contract.rpc import RpcReply
from pydantic import BaseModel, TypeAdapter

type Ask = Callable[..., Awaitable[RpcReply]]

PLAYBOOK = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: hello, path: demo/hello, labels: {team: core}}
workload: {msg: hi}
workflow:
- step: start
  tool: {kind: noop}
"""


def has_exactly(model: type[BaseModel], body: dict[str, object]) -> None:
    """The body fits the contract's model and has no other key."""
    TypeAdapter(model).validate_python(body, strict=True)
    assert set(body) <= set(model.model_fields)


async def test_register_resolve_and_read_back(ask: Ask) -> None:
    registered = await ask("register", content=PLAYBOOK, resource_type="Playbook")
    resolved = await ask("resolve", path="demo/hello", version="1")
    content = await ask("content", catalog_id=resolved.body["catalog_id"])
    again = await ask("content", catalog_id=resolved.body["catalog_id"])
    resource = await ask("resource", path="demo/hello", version="latest")

    has_exactly(RegisterAnswer, registered.body)
    assert registered.body["message"] == "Resource 'demo/hello' version '1' registered."
    assert resolved.body == {
        "catalog_id": int(registered.body["catalog_id"]),
        "path": "demo/hello",
        "version": 1,
        "kind": "playbook",
    }
    assert content.body == resolved.body | {"content": PLAYBOOK} == again.body
    has_exactly(CatalogEntry, resource.body)
    assert resource.body["layout"] == [{"step": "start", "tool": {"kind": "noop"}}]
    assert (resource.body["payload"], resource.body["meta"]) == ({"msg": "hi"}, {"team": "core"})


async def test_fifty_registrations_at_once_get_fifty_versions(ask: Ask) -> None:
    replies = await asyncio.gather(*(ask("register", content=PLAYBOOK) for _ in range(50)))

    assert sorted(reply.body["version"] for reply in replies) == list(range(1, 51))


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ("a: [", "Invalid YAML: "),
        ("a: 1\na: 2", 'Invalid YAML: duplicate entry with key "a"'),
        ("- 1", "Missing 'metadata' section"),
        ("metadata: {path: 5}", "Missing 'path' or 'name' in metadata"),
        ("metadata: {name: x}\nkind: Gadget", "Unknown kind 'gadget'"),
        ("metadata: {name: x}\nkind: Subscription", "kind: Subscription requires a 'spec' block"),
        ("", "Missing 'metadata' section"),
        ('metadata: {name: "\\0"}', "the database refuses the data"),
    ],
)
async def test_documents_without_sense_are_refused(ask: Ask, content: str, error: str) -> None:
    reply = await ask("register", content=content)

    assert reply.status == 422
    assert (reply.error or "").startswith(error)


async def test_playbook_that_cannot_run_is_kept_and_says_why(ask: Ask) -> None:
    reply = await ask("register", content=PLAYBOOK.replace("step: start", "step: begin"))

    assert reply.status == 200
    assert reply.body["problems"] == ["Workflow must have a step named 'start'"]


async def test_document_over_the_limit_is_refused(ask: Ask) -> None:
    reply = await ask("register", content="x" * (2 * 1024 * 1024 + 1))

    assert reply.status == 413


@pytest.mark.parametrize(
    ("operation", "request_", "status", "error"),
    [
        ("resource", {}, 422, "Either 'catalog_id' or 'path' must be provided"),
        ("resource", {"catalog_id": "x"}, 422, "Invalid catalog_id"),
        ("resource", {"catalog_id": 1 << 63}, 422, "Invalid catalog_id"),
        ("resource", {"catalog_id": "5"}, 404, "Catalog entry '5' not found"),
        ("resource", {"path": "p"}, 404, "Catalog entry 'p' not found"),
        ("resource", {"path": "p", "version": 2}, 404, "Catalog entry 'p' version 2 not found"),
        ("resource", {"path": "p", "version": "v2"}, 422, "Invalid version number"),
        ("resolve", {}, 422, "Either 'path' or 'catalog_id' must be provided"),
        ("resolve", {"path": "p", "version": 70000}, 404, "Playbook not found: p"),
        ("resolve", {"catalog_id": 5}, 404, "Catalog entry not found: 5"),
        ("content", {"catalog_id": 5}, 404, "Catalog entry not found: 5"),
    ],
)
async def test_look_ups_that_find_nothing(
    ask: Ask, operation: str, request_: dict[str, object], status: int, error: str
) -> None:
    reply = await ask(operation, **request_)

    assert (reply.status, reply.error) == (status, error)


async def test_list_takes_kinds_in_any_case_and_finds_agents(ask: Ask) -> None:
    await ask("register", content=PLAYBOOK)
    await ask(
        "register",
        content="kind: Agent\nmetadata: {path: a, labels: {capabilities: [chat, search]}}",
    )
    everything = await ask("list")
    playbooks = await ask("list", resource_type=" Playbook ")
    chatters = await ask("list", capability="chat")
    painters = await ask("list", capabilities=["chat", "paint"])

    TypeAdapter(CatalogListAnswer).validate_python(everything.body, strict=True)
    assert [entry["path"] for entry in everything.body["entries"]] == ["a", "demo/hello"]
    assert [entry["path"] for entry in playbooks.body["entries"]] == ["demo/hello"]
    assert [entry["path"] for entry in chatters.body["entries"]] == ["a"]
    assert painters.body["entries"] == []


async def test_life_of_a_worker(ask: Ask) -> None:
    runtime = {"kind": "rust", "worker_public_key": "k1"}
    registered = await ask(
        "runtime.register", name="w-1", component_type="worker_pool", runtime=runtime
    )
    beat = await ask("runtime.heartbeat", name="w-1")
    listed = await ask("runtime.pools", name="w-")
    liveness = await ask("runtime.liveness")
    left = await ask("runtime.deregister", name="w-1", component_type="worker_pool")
    late = await ask("runtime.heartbeat", name="w-1")
    gone = await ask("runtime.deregister", name="w-1")

    has_exactly(RuntimeEntry, registered.body)
    assert (registered.body["runtime"], registered.body["status"]) == (runtime, "active")
    has_exactly(RuntimeAcknowledgement, beat.body)
    assert [row["name"] for row in listed.body] == ["w-1"]
    assert liveness.body["workers"]["w-1"]["deregistered_at"] is None
    assert liveness.body["workers"]["w-1"]["over_edge"] is False
    assert left.body["message"] == "Runtime worker_pool w-1 deregistered"
    assert (late.status, gone.status) == (404, 404)
    assert gone.error == "Runtime not found: worker_pool w-1"


async def test_heartbeat_of_a_worker_without_a_row_makes_one(ask: Ask) -> None:
    replies = await asyncio.gather(
        *(ask("runtime.heartbeat", name=f"w-{number % 20}") for number in range(100))
    )
    listed = await ask("runtime.pools")

    assert {reply.status for reply in replies} == {200}
    assert len(listed.body) == 20
    assert {row["status"] for row in listed.body} == {"ready"}


async def test_liveness_tells_edges_and_who_beats_through_them(ask: Ask) -> None:
    await ask("runtime.register", name="e-1", kind="server_api", runtime={"instance": "one"})
    await ask("runtime.register", name="w-1", over_edge=True)
    await ask("runtime.heartbeat", name="w-2", over_edge=True)
    await ask("runtime.heartbeat", name="w-3")
    body = (await ask("runtime.liveness")).body

    assert set(body["edges"]) == {"e-1"}
    assert set(body["edges"]["e-1"]) == {"heartbeat_at", "process_since"}
    ways = {name: seen["over_edge"] for name, seen in body["workers"].items()}
    assert ways == {"w-1": True, "w-2": True, "w-3": False}


async def test_runtime_of_an_unknown_kind_is_refused(ask: Ask) -> None:
    reply = await ask("runtime.register", name="x", kind="toaster")

    assert (reply.status, reply.error) == (422, "Invalid runtime kind: toaster")


async def test_machine_leases_are_told_apart(ask: Ask) -> None:
    one = await ask("machine.lease", holder="one", high_water_ms=0)
    two = await ask("machine.lease", holder="two", high_water_ms=0)
    renewed = await ask(
        "machine.renew", holder="one", machine_id=one.body["machine_id"], high_water_ms=5
    )
    stolen = await ask(
        "machine.renew", holder="two", machine_id=one.body["machine_id"], high_water_ms=5
    )

    assert one.body["machine_id"] != two.body["machine_id"]
    assert renewed.body["high_water_ms"] == 5
    assert stolen.status == 409
