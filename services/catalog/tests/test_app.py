"""The whole catalog service on real servers, asked over NATS."""

import asyncio

from noetl_contract.http.catalog.entries import CatalogEntry, CatalogListAnswer, RegisterAnswer
from noetl_contract.http.workers.runtimes import RuntimeAcknowledgement, RuntimeEntry
from noetl_contract.rpc.registry import all_operations
from pydantic import BaseModel, TypeAdapter

from services.catalog.tests.world import Ask

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


async def test_every_operation_is_answered(ask: Ask) -> None:
    names = [one.name for one in all_operations() if one.service == "catalog"]
    statuses = {name: (await ask(name)).status for name in names}

    assert names
    assert set(statuses.values()) <= {200, 422}, statuses


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
