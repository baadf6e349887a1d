"""An author registers documents where he has no rights, or reads the ones there.

A document below `system/` runs on the pool that holds the internal token.
"""

import json

import orjson
from noetl_contract.access.principal import Principal
from noetl_contract.access.rights import Role
from noetl_contract.json import JsonObject
from noetl_testkit.postgres import Database

from services.catalog.tests.world import open_world

_AUTHOR = Principal(name="ada", kind="key", roles=(Role.AUTHOR,), namespaces=("team-a/",))
_WIDE = Principal(name="eve", kind="key", roles=(Role.AUTHOR,), namespaces=("",))
_ADMIN = Principal(name="root", kind="key", roles=(Role.ADMIN,), namespaces=("",))


def _who(principal: Principal) -> JsonObject:
    return {"principal": orjson.loads(principal.model_dump_json())}


def _document(path: str) -> str:
    metadata = json.dumps({"name": "x", "path": path})
    return f"apiVersion: noetl.io/v2\nkind: Playbook\nmetadata: {metadata}\nworkflow: []\n"


async def test_paths_and_pools_of_others_are_refused(database: Database, nats_url: str) -> None:
    async with open_world(database, nats_url) as world:

        async def register(path: str, principal: Principal) -> tuple[int, str | None]:
            reply = await world.ask("register", content=_document(path), **_who(principal))
            return reply.status, reply.error

        own = await register("team-a/x", _AUTHOR)
        foreign = await register("team-b/x", _AUTHOR)
        alike = await register("team-abc/x", _AUTHOR)
        system = await register("system/steal", _WIDE)
        by_admin = await register("system/tidy", _ADMIN)
        batch = await world.ok(
            "register.batch",
            items=[{"content": _document("team-a/y")}, {"content": _document("system/steal")}],
            **_who(_WIDE),
        )
        moved = [
            (await world.ask(operation, path="system/tidy", **_who(_WIDE))).status
            for operation in ("delete", "restore")
        ]

    assert own[0] == 200
    assert foreign == (403, "'team-b/x' is outside of the namespaces of ada")
    assert alike[0] == 403
    assert system == (
        403,
        "'system/steal' needs the right `system.paths`, which eve hasn't got",
    )
    assert by_admin[0] == 200
    assert [one["status"] for one in batch["results"]] == ["registered", "error"]
    assert moved == [403, 403]


async def test_messages_start_no_playbook_that_the_author_could_not(
    database: Database, nats_url: str
) -> None:
    async with open_world(database, nats_url) as world:

        async def subscribe(**dispatch: str) -> tuple[int, str | None]:
            document = {
                "kind": "Subscription",
                "metadata": {"path": "team-a/orders"},
                "spec": {"source": "nats", "mode": "pull", "dispatch": dispatch},
            }
            reply = await world.ask("register", content=json.dumps(document), **_who(_AUTHOR))
            return reply.status, reply.error

        own = await subscribe(playbook="team-a/x", execution_pool="shared")
        foreign = await subscribe(playbook="team-b/x")
        system = await subscribe(playbook="system/tidy")
        pool = await subscribe(playbook="team-a/x", execution_pool="gpu")

        async def chosen(controls: str, **rule: object) -> int:
            directive = {"header": "x", "controls": controls, **rule}
            document = {
                "kind": "Subscription",
                "metadata": {"path": "team-a/orders"},
                "spec": {
                    "source": "nats",
                    "mode": "pull",
                    "dispatch": {"playbook": "team-a/x"},
                    "headers": {"directives": [directive]},
                },
            }
            reply = await world.ask("register", content=json.dumps(document), **_who(_AUTHOR))
            return int(reply.status)

        by_header = [
            await chosen("dispatch.playbook", allowed=["team-a/y"]),
            await chosen("dispatch.playbook", allowed=["team-a/y", "team-b/x"]),
            await chosen("dispatch.execution_pool", allowed=["gpu"]),
            await chosen("priority", map={"high": "system"}),
        ]

    assert by_header == [200, 403, 403, 403]
    assert own[0] == 200
    assert foreign == (403, "'team-b/x' is outside of the namespaces of ada")
    assert system[0] == 403
    assert pool == (403, "The worker pool 'gpu' is not granted to ada")


async def test_messages_of_others_stay_with_their_listener(
    database: Database, nats_url: str
) -> None:
    async with open_world(database, nats_url) as world:

        async def listen(path: str, gateway_path: str, principal: Principal) -> JsonObject:
            verify = {"type": "bearer", "secret": "key"}
            spec = {"source": "webhook", "mode": "push", "dispatch": {"playbook": "team-a/x"}}
            spec["ingress"] = {"gateway_path": gateway_path, "verify": verify}
            document = {"kind": "Subscription", "metadata": {"path": path}, "spec": spec}
            reply = await world.ask("register", content=json.dumps(document), **_who(principal))
            return {"status": reply.status, "error": reply.error}

        await listen("team-b/orders", "/hooks/orders", _ADMIN)
        stolen = await listen("team-a/orders", "/x/orders/", _AUTHOR)
        own = [await listen("team-a/bills", "/hooks/bills", _AUTHOR) for _ in range(2)]
        found = await world.ok("subscription.listener", listener="orders")

    assert stolen == {"status": 409, "error": "Another subscription listens as 'orders' already"}
    assert [one["status"] for one in own] == [200, 200]
    assert found["path"] == "team-b/orders"


async def test_documents_of_others_are_not_there(database: Database, nats_url: str) -> None:
    async with open_world(database, nats_url) as world:
        for path in ("team-a/x", "team-ab/x", "team-b/x", "/team-a/y"):
            await world.ok("register", content=_document(path))
        theirs = (await world.ok("resolve", path="team-b/x"))["catalog_id"]
        listed = await world.ok("list", **_who(_AUTHOR))
        refused = [
            (await world.ask(operation, **name, **_who(_AUTHOR))).error
            for operation in ("resource", "ui_schema", "resolve", "delete", "restore")
            for name in ({"path": "team-b/x"}, {"catalog_id": theirs})
        ]
        unknown = (await world.ask("resource", path="team-b/z", **_who(_AUTHOR))).error
        seen = await world.ok("resource", path="team-a/x", **_who(_AUTHOR))

    assert [entry["path"] for entry in listed["entries"]] == ["/team-a/y", "team-a/x"]
    assert set(refused) == {
        "Catalog entry 'team-b/x' not found",
        f"Catalog entry '{theirs}' not found",
        "Playbook not found: team-b/x",
        f"Catalog entry not found: {theirs}",
    }
    assert unknown == "Catalog entry 'team-b/z' not found"
    assert seen["path"] == "team-a/x"


async def test_names_with_control_characters_are_refused(database: Database, nats_url: str) -> None:
    async with open_world(database, nats_url) as world:
        for path in ("a\nb", "a\rb", "a\x1b[31m", "a\x00", "a\x7f", "a\u2028b", "a\u0085"):
            reply = await world.ask("register", content=_document(path))
            assert (reply.status, "control character U+" in (reply.error or "")) == (422, True)
            judged = await world.ok("validate", content=_document(path))
            assert "control character U+" in judged["errors"][0]
        await world.pool.execute(
            "INSERT INTO noetl.catalog (catalog_id, path, version, kind, content)"
            " VALUES (1, E'old\\nname', 1, 'playbook', '')"
        )
        assert (await world.ok("resource", path="old\nname"))["path"] == "old\nname"
