"""Batches, validation, forms, and versions that are deleted and restored."""

import re

from noetl_contract.json import Json
from noetl_testkit.postgres import Database

from services.catalog.tests.world import Ask, open_world

PLAYBOOK = """apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: hello, path: demo/hello}
workload:
  level: info  # ui:enum=[debug,info]
workflow:
- step: start
  tool: {kind: noop}
"""
AGENT = "kind: {kind}\nmetadata: {{path: {path}, agent: {agent}, capabilities: {abilities}}}\n"


async def versions_of(ask: Ask) -> list[int]:
    listed = (await ask("list", path="demo/hello")).body["entries"]
    return sorted(entry["version"] for entry in listed)


async def test_batch_keeps_what_is_good_and_names_what_is_not(ask: Ask) -> None:
    reply = await ask(
        "register.batch",
        items=[
            {"content": PLAYBOOK, "resource_type": "Playbook"},
            {"content": "a: 1"},
            {"content": 'metadata: {name: "\\0"}'},
            {"content": "kind: Gadget\nmetadata: {name: g}"},
            {"content": PLAYBOOK.replace("step: start", "step: x")},
            {"content": "metadata: {name: m}", "resource_type": "MCP"},
        ],
    )

    results = reply.body["results"]
    assert (reply.body["registered"], reply.body["failed"]) == (3, 3)
    assert list(results[0]) == ["index", "status", "path", "version", "kind", "catalog_id"]
    assert [one["index"] for one in results] == [0, 1, 2, 3, 4, 5]
    assert [one["status"] for one in results] == [
        "registered",
        "error",
        "error",
        "error",
        "registered",
        "registered",
    ]
    assert results[1] == {"index": 1, "status": "error", "error": "Missing 'metadata' section"}
    assert results[3]["error"] == "Unknown kind 'gadget'"
    assert (results[4]["version"], results[4]["problems"]) == (
        2,
        ["Workflow must have a step named 'start'"],
    )
    assert (results[5]["path"], results[5]["kind"]) == ("m", "mcp")


async def test_validate_names_everything_and_keeps_nothing(ask: Ask) -> None:
    good = await ask("validate", content=PLAYBOOK)
    bad = await ask("validate", content=PLAYBOOK.replace("step: start", "step: x"))
    doubtful = await ask("validate", content=PLAYBOOK + "  nope: 1\n")
    broken = await ask("validate", content="a: [")
    other = await ask("validate", content="kind: Subscription\nmetadata: {name: s}")

    assert good.body == {"valid": True, "errors": [], "problems": []}
    assert bad.body["valid"] is False
    assert bad.body["errors"][0] == "line 7: Workflow must have a step named 'start'"
    assert list(bad.body["problems"][0]) == [
        "severity",
        "rule",
        "message",
        "line",
        "column",
        "path",
        "hint",
    ]
    assert doubtful.body["valid"] is True
    assert doubtful.body["errors"] == []
    assert [one["severity"] for one in doubtful.body["problems"]] == ["warning"]
    assert broken.body["valid"] is False
    assert broken.body["problems"][0]["rule"] == "yaml"
    assert other.body["errors"] == ["line 1: kind: Subscription requires a 'spec' block"]
    assert (await ask("list")).body == {"entries": []}


async def test_version_taken_out_starts_nothing_and_lives_on_by_its_id(ask: Ask) -> None:
    ids = [(await ask("register", content=PLAYBOOK)).body["catalog_id"] for _ in range(3)]

    deleted = await ask("delete", path="demo/hello", version=3)
    again = await ask("delete", path="demo/hello", version="3")
    newest = await ask("resolve", path="demo/hello")

    assert deleted.body == {
        "status": "success",
        "message": "Resource 'demo/hello' deleted.",
        "path": "demo/hello",
        "versions": [3],
    }
    assert (again.status, again.error) == (404, "Catalog entry 'demo/hello' version 3 not found")
    assert newest.body["version"] == 2
    assert (await ask("resolve", catalog_id=ids[2])).status == 404
    assert (await ask("resource", catalog_id=ids[2])).status == 404
    assert (await ask("resource", path="demo/hello", version=3)).status == 404
    assert (await ask("content", catalog_id=int(ids[2]))).body["content"] == PLAYBOOK
    assert await versions_of(ask) == [1, 2]
    assert (await ask("register", content=PLAYBOOK)).body["version"] == 4

    restored = await ask("restore", catalog_id=ids[2])
    assert restored.body["versions"] == [3]
    assert await versions_of(ask) == [1, 2, 3, 4]

    everything = await ask("delete", path="demo/hello")
    assert everything.body["versions"] == [1, 2, 3, 4]
    assert (await ask("delete", path="demo/hello")).status == 404
    assert (await ask("restore", path="demo/hello")).body["versions"] == [1, 2, 3, 4]


async def test_document_instead_of_another_must_be_of_its_path(ask: Ask) -> None:
    catalog_id = (await ask("register", content=PLAYBOOK)).body["catalog_id"]

    same = await ask("register", content=PLAYBOOK, instead_of={"catalog_id": catalog_id})
    other = await ask(
        "register",
        content=PLAYBOOK.replace("demo/hello", "demo/other"),
        instead_of={"path": "demo/hello"},
    )
    nobody = await ask("register", content=PLAYBOOK, instead_of={"path": "nope"})

    assert same.body["version"] == 2
    assert (other.status, other.error) == (
        422,
        "The document belongs to 'demo/other', not to 'demo/hello'",
    )
    assert (nobody.status, nobody.error) == (404, "Catalog entry 'nope' not found")


async def test_ui_schema_of_a_version(ask: Ask) -> None:
    await ask("register", content=PLAYBOOK)

    body = (await ask("ui_schema", path="demo/hello", version="latest")).body
    missing = await ask("ui_schema", path="demo/hello", version="2")

    assert list(body) == [
        "path",
        "version",
        "kind",
        "title",
        "description_markdown",
        "exposed_in_ui",
        "fields",
        "generated_at",
    ]
    assert (body["path"], body["version"], body["kind"]) == ("demo/hello", 1, "playbook")
    assert [(one["name"], one["kind"]) for one in body["fields"]] == [("level", "enum")]
    assert (missing.status, missing.error) == (
        404,
        "Catalog entry 'demo/hello' version 2 not found",
    )


async def test_an_agent_with_a_workflow_is_read_as_a_playbook(ask: Ask) -> None:
    agent = PLAYBOOK.replace("kind: Playbook", "kind: Agent")
    wrong = agent.replace("kind: noop", "kind: nop")

    assert (await ask("validate", content=agent)).body["valid"] is True
    assert (await ask("validate", content=wrong)).body["errors"] == [
        "line 8: unknown tool kind 'nop', did you mean 'noop'?"
    ]
    assert "problems" not in (await ask("register", content=agent)).body
    assert len((await ask("register", content=wrong)).body["problems"]) == 1
    # An agent without steps only describes an agent elsewhere.
    kept = await ask("register", content="kind: Agent\nmetadata: {path: elsewhere}\n")
    assert (kept.body["kind"], "problems" in kept.body) == ("agent", False)


async def test_agents_are_found_by_kind_metadata_or_labels(ask: Ask) -> None:
    await ask("register", content=PLAYBOOK)
    for kind, path, agent, abilities in [
        ("Agent", "a", "null", "[chat]"),
        ("Playbook", "b", "true", "[chat, draw]"),
        ("Playbook", "c", "false", "[chat]"),
        ("Agent", "d", "''", "chat"),
    ]:
        content = AGENT.format(kind=kind, path=path, agent=agent, abilities=abilities)
        assert (await ask("register", content=content)).status == 200
    await ask("register", content="kind: MCP\nmetadata: {path: e, labels: {agent: 1}}")

    async def paths(**filters: Json) -> list[str]:
        return sorted(entry["path"] for entry in (await ask("list", **filters)).body["entries"])

    assert await paths(agent_only=True) == ["a", "b", "d", "e"]
    assert await paths(capabilities=["chat"]) == ["a", "b"]
    assert await paths(capability="draw") == ["b"]
    assert await paths(agent_only=True, path="b") == ["b"]
    assert await paths(agent_only=True, resource_type="MCP") == ["e"]
    agents = (await ask("agents", capability="draw")).body["entries"]
    assert [entry["payload"]["metadata"]["capabilities"] for entry in agents] == [["chat", "draw"]]


async def test_a_page_finds_name_steps_and_day_where_it_looks(ask: Ask) -> None:
    await ask("register", content=PLAYBOOK)
    await ask("register", content="kind: MCP\nmetadata: {path: e, labels: {registered_at: x}}")

    plain = (await ask("list")).body["entries"]
    agent, playbook = (await ask("list", for_page=True)).body["entries"]

    metadata = {"name": "hello", "path": "demo/hello"}
    steps = [{"step": "start", "tool": {"kind": "noop"}}]
    assert playbook["payload"] == {"level": "info", "metadata": metadata, "workflow": steps}
    assert playbook["meta"] == {"registered_at": playbook["created_at"]}
    assert agent["meta"] == {"registered_at": "x"}
    assert [entry["payload"] for entry in plain] == [None, {"level": "info"}]
    assert plain[1]["meta"] is None


async def test_counts_are_of_playbooks_and_of_workers_heard_lately(ask: Ask) -> None:
    await ask("register", content=PLAYBOOK)
    await ask("register", content=PLAYBOOK)
    await ask("register", content="kind: MCP\nmetadata: {path: e}")
    await ask("runtime.register", name="w-1", status="ready")
    await ask("runtime.register", name="w-2")
    await ask("runtime.register", name="e-1", kind="server_api")
    await ask("runtime.deregister", name="w-2")

    assert (await ask("counts")).body == {"total_playbooks": 2, "total_workers": 1}


async def test_bodies_have_every_key_in_the_contracts_order(ask: Ask) -> None:
    registered = (await ask("register", content="kind: MCP\nmetadata: {name: bare}")).body
    entry = (await ask("resource", path="bare")).body
    listed = (await ask("list")).body["entries"]
    runtime = (await ask("runtime.register", name="w-1")).body
    pools = (await ask("runtime.pools")).body

    assert list(registered) == ["status", "message", "path", "version", "catalog_id", "kind"]
    assert registered == {
        "status": "success",
        "message": "Resource 'bare' version '1' registered.",
        "path": "bare",
        "version": 1,
        "catalog_id": registered["catalog_id"],
        "kind": "mcp",
    }
    assert isinstance(registered["catalog_id"], str)
    assert entry == {
        "catalog_id": registered["catalog_id"],
        "path": "bare",
        "kind": "mcp",
        "version": 1,
        "content": "kind: MCP\nmetadata: {name: bare}",
        "layout": None,
        "payload": None,
        "meta": None,
        "created_at": entry["created_at"],
    }
    assert list(entry) == [
        "catalog_id",
        "path",
        "kind",
        "version",
        "content",
        "layout",
        "payload",
        "meta",
        "created_at",
    ]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3}|\.\d{6})?Z", entry["created_at"])
    assert listed == [entry]
    assert list(runtime) == [
        "runtime_id",
        "name",
        "kind",
        "uri",
        "status",
        "labels",
        "capabilities",
        "capacity",
        "runtime",
        "heartbeat",
        "created_at",
        "updated_at",
    ]
    assert isinstance(runtime["runtime_id"], int)
    nulls = [name for name, value in runtime.items() if value is None]
    assert nulls == ["uri", "labels", "capabilities", "capacity", "runtime"]
    assert (runtime["kind"], runtime["status"]) == ("worker_pool", "active")
    assert pools == [runtime]


async def test_a_list_that_is_cut_says_so(database: Database, nats_url: str) -> None:
    async with open_world(database, nats_url, catalog_list_limit=2) as world:
        await world.ok("register", content=PLAYBOOK)
        short = await world.ok("list")
        await world.ok("register", content=PLAYBOOK)
        cut = await world.ok("list")

    assert list(short) == ["entries"]
    assert (len(cut["entries"]), cut["truncated"]) == (2, True)


async def test_pools_are_filtered_and_in_the_order_of_their_names(ask: Ask) -> None:
    for name, status in (("b_1", "ready"), ("a_1", "ready"), ("a%2", "busy"), ("B_1", "ready")):
        await ask("runtime.register", name=name, status=status)
    await ask("runtime.register", name="edge", kind="server_api")

    async def names(**query: str) -> list[str]:
        return [row["name"] for row in (await ask("runtime.pools", **query)).body]

    ready = await names(status="ready")
    assert ready.index("a_1") < ready.index("b_1")
    assert set(await names(name="_1")) == set(ready) == {"a_1", "b_1", "B_1"}
    assert set(await names(name="b_")) == {"b_1"}
    assert await names(name="%") == ["a%2"]
    assert await names(status="READY") == []
    assert await names(kind="server_api") == ["edge"]
