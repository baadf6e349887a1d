"""Routes of the catalog: their requests to the service, answers and refusals."""

import base64
from typing import Any

import pytest
from noetl_contract.json import Json
from noetl_contract.rpc import RpcReply

from ...conftest import World, make_world

SHAPE = "Failed to deserialize the JSON body into the target type: "
QUERY = "Failed to deserialize query string: "
YAML = "kind: Playbook\nmetadata: {path: a/b}\n"
ENCODED = base64.b64encode(YAML.encode()).decode()


def is_told(answer: Any, status: int, text: str) -> None:
    assert (answer.status_code, answer.json()) == (
        status,
        {"error": text, "status": status, "detail": text},
    )


async def test_batch_decodes_every_item_and_passes_the_answer_on(world: World) -> None:
    """As `noetl catalog load` sends and reads it."""
    body = {
        "registered": 1,
        "failed": 1,
        "results": [
            {"index": 0, "status": "registered", "path": "a/b", "version": 1},
            {"index": 1, "status": "error", "error": "Missing 'metadata' section"},
        ],
    }
    world.backend.answer("register.batch", body)

    answer = await world.post(
        "/api/catalog/register/batch",
        {"items": [{"content": ENCODED, "resource_type": "Playbook"}, {"content": "x: 1"}]},
    )

    assert (answer.status_code, answer.json()) == (200, body)
    assert world.backend.requests("register.batch") == [
        {
            "items": [
                {"content": YAML, "resource_type": "Playbook"},
                {"content": "x: 1", "resource_type": "Playbook"},
            ]
        }
    ]


async def test_batch_of_a_wrong_shape_is_refused(nats_url: str) -> None:
    async with make_world(nats_url, max_batch_items=2) as world:
        url = "/api/catalog/register/batch"
        is_told(await world.post(url, {}), 422, SHAPE + "missing field `items`")
        is_told(
            await world.post(url, {"items": {}}),
            422,
            SHAPE + "items: invalid type: map, expected a sequence",
        )
        is_told(
            await world.post(url, {"items": [{"content": "x"}, {}]}),
            422,
            SHAPE + "items[1]: missing field `content`",
        )
        is_told(
            await world.post(url, {"items": [{"content": "x"}] * 3}),
            422,
            "At most 2 items, 3 were sent",
        )

        assert world.backend.requests("register.batch") == []


async def test_batch_larger_than_a_message_goes_in_parts(world: World) -> None:
    def register(request: Json) -> Json:
        items = request["items"]
        results = [
            {"index": i, "status": "registered", "path": item["content"][:3]}
            for i, item in enumerate(items)
        ]
        return {"registered": len(items), "failed": 0, "results": results}

    world.backend.answer("register.batch", register)
    contents = [f"{number:03}{'x' * 500_000}" for number in range(20)]

    answer = await world.post(
        "/api/catalog/register/batch", {"items": [{"content": content} for content in contents]}
    )

    body = answer.json()
    assert (answer.status_code, body["registered"], body["failed"]) == (200, 20, 0)
    assert [(one["index"], one["path"]) for one in body["results"]] == [
        (number, f"{number:03}") for number in range(20)
    ]
    assert len(world.backend.requests("register.batch")) > 1


async def test_agents_are_asked_for_with_the_lists_filters(world: World) -> None:
    world.backend.answer("agents", {"entries": []})

    answer = await world.post("/noetl/catalog/agents/list", {"capabilities": ["chat"]})

    assert (answer.status_code, answer.json()) == (200, {"entries": []})
    assert world.backend.requests("agents") == [{"capabilities": ["chat"]}]


UI_SCHEMAS: list[tuple[str, str, str]] = [
    ("/api/catalog/form/ui_schema", "form", "latest"),
    ("/api/catalog/demo/a/form/ui_schema?version=", "demo/a/form", "latest"),
    ("/noetl/catalog/demo/form/ui_schema?version=2", "demo/form", "2"),
    ("/api/catalog/demo%2Fform/ui_schema", "demo/form", "latest"),
    ("/api/catalog/a%20b%25/ui_schema", "a b%", "latest"),
    ("/api/catalog//vars/test/ui_schema", "/vars/test", "latest"),
    ("/api/catalog/playbooks/x/ui_schema", "playbooks/x", "latest"),
    ("/api/catalog/agents/list/ui_schema", "agents/list", "latest"),
    ("/api/catalog/register/ui_schema", "register", "latest"),
    ("/api/catalog/playbook/content/ui_schema", "playbook/content", "latest"),
    ("/api/catalog/ui_schema/ui_schema", "ui_schema", "latest"),
]


async def test_ui_schema_takes_paths_with_slashes(world: World, subtests: pytest.Subtests) -> None:
    for path, asked, version in UI_SCHEMAS:
        with subtests.test(str(path)):
            world.backend.asked.clear()
            fields = [{"name": "x", "default": {"execution_id": 7}}]
            world.backend.answer("ui_schema", {"path": asked, "fields": fields})

            answer = await world.get(path)

            assert answer.status_code == 200, answer.text
            assert answer.json() == {"path": asked, "fields": fields}
            assert world.backend.requests("ui_schema") == [{"path": asked, "version": version}]


ELSEWHERE: list[tuple[str, int, str]] = [
    ("/api/catalog/ui_schema", 404, "no route matched GET /api/catalog/ui_schema"),
    ("/api/catalog/a/b", 404, "no route matched GET /api/catalog/a/b"),
    ("/api/catalog/playbooks/a", 404, "no route matched GET /api/catalog/playbooks/a"),
    ("/api/catalog//ui_schema", 422, "ui_schema path must not be empty"),
    ("/api/catalog/a//b/ui_schema", 404, "Not Found"),
    ("/api/catalog/%ff/ui_schema", 400, "Invalid URL: Invalid UTF-8 in `path`"),
    (
        "/api/catalog/a/ui_schema?version=1&version=2",
        400,
        QUERY + "duplicate field `version`",
    ),
    ("/api/catalog/playbook/content", 400, QUERY + "missing field `playbook_id`"),
]


async def test_other_paths_below_the_catalog(world: World, subtests: pytest.Subtests) -> None:
    for path, status, text in ELSEWHERE:
        with subtests.test(str(path)):
            world.backend.asked.clear()
            is_told(await world.get(path), status, text)


async def test_refusals_of_the_catalog_keep_their_status(world: World) -> None:
    text = "Catalog entry 'a' version 2 not found"
    world.backend.answer("ui_schema", RpcReply(status=404, error=text))

    is_told(await world.get("/api/catalog/a/ui_schema?version=2"), 404, text)


@pytest.mark.parametrize(
    ("playbook_id", "named"),
    [("12", {"catalog_id": "12"}), ("demo/hello", {"path": "demo/hello"})],
)
async def test_editor_reads_and_writes_by_id_or_path(
    world: World, playbook_id: str, named: Json
) -> None:
    entry = {
        "catalog_id": "12",
        "path": "demo/hello",
        "kind": "playbook",
        "version": 3,
        "content": YAML,
        "layout": [],
        "payload": None,
        "meta": None,
        "created_at": "2026-06-15T12:00:00Z",
    }
    world.backend.answer("resource", entry)
    world.backend.answer("register", {"status": "success", "version": 4})
    world.backend.answer("delete", {"status": "success", "versions": [3]})
    query = {"playbook_id": playbook_id}
    url = "/api/catalog/playbook/content"

    read = await world.client.get(url, params=query)
    written = await world.client.put(url, params=query, json={"content": ENCODED})
    old = await world.client.put("/api/catalog/playbook", params=query, json={"content": YAML})
    gone = await world.client.delete(f"/api/catalog/playbooks/{playbook_id}")

    names = ["catalog_id", "path", "version", "kind", "content"]
    assert list(read.json()) == names
    assert read.json() == {name: entry[name] for name in names}
    assert world.backend.requests("resource") == [named]
    assert written.json() == old.json() == {"status": "success", "version": 4}
    assert world.backend.requests("register") == [{"content": YAML, "instead_of": named}] * 2
    assert gone.json() == {"status": "success", "versions": [3]}
    assert world.backend.requests("delete") == [named]


async def test_validate_keeps_the_linters_answer(world: World) -> None:
    body = {"valid": False, "errors": ["no"], "problems": []}
    world.backend.answer("validate", body)

    answer = await world.post("/api/catalog/playbooks/validate", {"content": ENCODED})
    nothing = await world.post("/api/catalog/playbooks/validate", {})

    assert (answer.status_code, answer.json()) == (200, body)
    assert world.backend.requests("validate") == [{"content": YAML, "resource_type": "Playbook"}]
    is_told(nothing, 422, SHAPE + "missing field `content`")


async def test_versions_are_taken_out_and_put_back_under_the_token(nats_url: str) -> None:
    moved = {"status": "success", "message": "m", "path": "p", "versions": [1]}
    async with make_world(nats_url, internal_api_token="secret") as world:
        world.backend.answer("delete", moved)
        world.backend.answer("restore", moved)
        body = {"path": "p", "version": 1}

        open_door = await world.post("/api/catalog/delete", body)
        by_id = await world.client.delete("/api/catalog/playbooks/12")
        deleted = await world.post("/api/catalog/delete", body, authorization="Bearer secret")
        restored = await world.post("/api/catalog/restore", body, authorization="Bearer secret")

        assert (open_door.status_code, by_id.status_code) == (403, 403)
        assert deleted.json() == restored.json() == moved
        assert world.backend.requests("delete") == world.backend.requests("restore") == [body]


async def test_preflights_let_logins_through_that_a_star_leaves_out(world: World) -> None:
    asked = {"origin": "http://localhost:3000", "access-control-request-headers": "Authorization"}

    answer = await world.client.options("/api/catalog/list", headers=asked)

    assert answer.headers["access-control-allow-headers"] == "*, authorization"
