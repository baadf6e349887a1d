"""Keys, grants and the access audit, asked over NATS, on a real database."""

import asyncio
import hashlib
import re

import orjson
import pytest
from noetl_bus.broker import connect
from noetl_bus.topology import ensure_topology
from noetl_catalog.access.keys import BadAccessKey, configured_keys, new_key
from noetl_contract.access.audit import AccessRecord, AccessRecords
from noetl_contract.access.principal import Principal
from noetl_contract.access.rights import Role
from noetl_contract.json import Json, JsonObject
from noetl_contract.streams import AUDIT
from noetl_contract.subjects import ACCESS_AUDIT, ACCESS_HINT
from noetl_testkit.bus import flush
from noetl_testkit.postgres import Database
from noetl_testkit.waiting import PATIENCE_SECONDS, eventually

from services.catalog.tests.world import World, make_settings, open_world

ADMIN = Principal(name="root", kind="key", roles=(Role.ADMIN,), namespaces=("",))
AUTHOR = Principal(
    name="ada", kind="jwt", roles=(Role.AUTHOR,), namespaces=("team-a/",), pools=("gpu",)
)


def sent(principal: Principal) -> JsonObject:
    body: JsonObject = orjson.loads(principal.model_dump_json())
    return body


async def test_a_key_from_its_making_to_its_end(world: World) -> None:
    made = await world.ok(
        "auth.key_create",
        principal=sent(ADMIN),
        name="ci",
        roles=["operator"],
        namespaces=["team-a/"],
        pools=["gpu"],
    )
    known = await world.ok("auth.resolve", token=made["token"])
    listed = await world.ok("auth.key_list")
    revoked = await world.ok("auth.key_revoke", key_id=made["key_id"])
    again = await world.ok("auth.key_revoke", key_id=made["key_id"])
    gone = await world.ok("auth.resolve", token=made["token"])
    stored = await world.pool.fetchrow("SELECT * FROM noetl.api_key")
    audited = await world.ok("access_audit.list", object=f"key:{made['key_id']}")

    assert re.fullmatch(r"nk_[0-9a-f]{12}_[\w-]{43}", made["token"])
    assert known["key_id"] == made["key_id"]
    assert known["principal"] == {
        "name": "ci",
        "kind": "key",
        "roles": ["operator"],
        "grants": [],
        "namespaces": ["team-a/"],
        "pools": ["gpu"],
        "expires_at": None,
    }
    assert [key["created_by"] for key in listed["keys"]] == ["root"]
    assert "token" not in listed["keys"][0]
    assert stored["sha256"] == hashlib.sha256(made["token"].encode()).digest()
    assert made["token"] not in repr(dict(stored))
    assert again == revoked
    assert gone["reason"] == "revoked"
    assert (await world.ok("auth.key_list"))["keys"] == []
    assert len((await world.ok("auth.key_list", with_revoked=True))["keys"]) == 1
    assert [(row["route"], row["principal"]) for row in audited["rows"]] == [
        ("auth.key_revoke", ""),
        ("auth.key_revoke", ""),
        ("auth.key_create", "root"),
    ]


async def test_other_texts_are_no_keys(world: World) -> None:
    made = await world.ok("auth.key_create", name="ci", roles=["viewer"])
    wrong = made["token"][:-1] + ("A" if made["token"][-1] != "A" else "B")
    for token in ("", "x", wrong, new_key().token, made["token"] + "\n", "nk__"):
        assert (await world.ok("auth.resolve", token=token))["reason"] == "unknown"


async def test_a_key_whose_time_is_over(world: World) -> None:
    late = await world.ask(
        "auth.key_create", name="x", roles=["viewer"], expires_at="2020-01-01T00:00:00Z"
    )
    made = await world.ok(
        "auth.key_create", name="x", roles=["viewer"], expires_at="2999-01-01T00:00:00Z"
    )
    assert (await world.ok("auth.resolve", token=made["token"]))["principal"]["expires_at"]
    await world.pool.execute("UPDATE noetl.api_key SET expires_at = now() - interval '1 s'")

    assert (late.status, late.error) == (422, "expires_at is over already")
    assert (await world.ok("auth.resolve", token=made["token"]))["reason"] == "expired"


BEYOND: list[tuple[JsonObject, str | None]] = [
    ({"roles": ["admin"]}, "ada can't give the right access_audit.read, which it hasn't got"),
    (
        {"roles": ["viewer"], "grants": ["secrets.read"]},
        "ada can't give the right secrets.read, which it hasn't got",
    ),
    ({"roles": ["viewer"]}, "ada can't give the namespace '', which it doesn't reach"),
    (
        {"roles": ["viewer"], "namespaces": ["team-b/"]},
        "ada can't give the namespace 'team-b/', which it doesn't reach",
    ),
    (
        {"roles": ["viewer"], "namespaces": ["team-a/x"], "pools": ["system"]},
        "ada can't give the pool 'system', which it hasn't got",
    ),
    (
        {"roles": ["viewer"], "namespaces": ["team-a/x"], "pools": ["*"]},
        "ada can't give the pool '*', which it hasn't got",
    ),
    ({"roles": ["viewer"], "namespaces": ["team-a/x"], "pools": ["gpu", "shared"]}, None),
]


async def test_nobody_gives_more_than_he_has(world: World) -> None:
    for given, problem in BEYOND:
        key = await world.ask("auth.key_create", principal=sent(AUTHOR), name="x", **given)
        grant = await world.ask(
            "auth.grant_put", principal=sent(AUTHOR), kind="jwt", claim="groups:x", **given
        )

        assert (key.error, grant.error) == (problem, problem)
        assert key.status == grant.status == (403 if problem else 200)


async def test_a_revoked_key_is_told_to_all_edges_at_once(
    world: World, database: Database, nats_url: str
) -> None:
    heard: asyncio.Queue[bytes] = asyncio.Queue()
    made = await world.ok("auth.key_create", name="ci", roles=["viewer"])
    async with connect(make_settings(database, nats_url=nats_url), name="edge") as bus:

        async def take(message: object) -> None:
            heard.put_nowait(message.data)  # type: ignore[attr-defined]

        await bus.nc.subscribe(ACCESS_HINT, cb=take)
        await flush(bus)
        await world.ok("auth.key_revoke", key_id=made["key_id"])
        body = await asyncio.wait_for(heard.get(), PATIENCE_SECONDS)

    assert orjson.loads(body) == {"revoked": [made["key_id"]]}


async def test_the_last_use_is_written_later(database: Database, nats_url: str) -> None:
    async with open_world(database, nats_url, access_key_use_seconds=0.1) as world:
        made = await world.ok("auth.key_create", name="ci", roles=["viewer"])
        assert (await world.ok("auth.key_list"))["keys"][0]["last_used_at"] is None
        await world.ok("auth.resolve", token=made["token"])

        async def is_written() -> bool:
            return (await world.ok("auth.key_list"))["keys"][0]["last_used_at"] is not None

        await eventually(is_written)


async def test_keys_of_the_settings_are_there_and_stay_revoked(
    database: Database, nats_url: str
) -> None:
    key, other = new_key(), new_key()
    text = f"admin={key.token}, worker={other.token}"
    async with open_world(database, nats_url, access_keys=text) as world:
        admin = await world.ok("auth.resolve", token=key.token)
        worker = await world.ok("auth.resolve", token=other.token)
        await world.ok("auth.key_revoke", key_id=key.key_id)
    async with open_world(database, nats_url, access_keys=text) as world:
        assert (await world.ok("auth.resolve", token=key.token))["reason"] == "revoked"

    assert admin["principal"]["roles"] == ["admin"]
    assert (worker["principal"]["roles"], worker["principal"]["pools"]) == (["worker"], ["*"])


@pytest.mark.parametrize(
    "text",
    ["admin=nk_1_short", pytest.param("nobody=" + new_key().token, id="a role of nobody"), "nk_a"],
)
def test_unusable_keys_of_the_settings_are_not_quoted(text: str) -> None:
    with pytest.raises(BadAccessKey, match="NOETL_ACCESS_KEYS: entry 1 is ") as caught:
        list(configured_keys(text))

    assert "nk_1" not in str(caught.value)


async def test_grants_of_the_lowest_rank_make_the_principal(world: World) -> None:
    async def put(claim: str, **given: Json) -> JsonObject:
        body: JsonObject = await world.ok("auth.grant_put", kind="jwt", claim=claim, **given)
        return body

    await put("groups:all", roles=["viewer"])
    await put("groups:ops", rank=10, roles=["operator"], namespaces=["team-a/"])
    await put("groups:sec", rank=10, roles=["secrets"], namespaces=["team-a/"])
    await put("groups:b", rank=10, roles=["author"], namespaces=["team-b/"])
    mine = await put("sub:ada", rank=1, issuer="https://id/", roles=["author"])

    async def principal(*values: str, subject: str = "eve", issuer: str = "") -> JsonObject:
        resolved: JsonObject = await world.ok(
            "auth.grants", kind="jwt", subject=subject, issuer=issuer, values=list(values)
        )
        return resolved

    both = (await principal("groups:all", "groups:ops", "groups:sec", "groups:b"))["principal"]
    ada = (await principal("groups:all", subject="ada", issuer="https://id/"))["principal"]
    other = await principal(subject="ada", issuer="https://elsewhere/")
    await world.ok("auth.grant_delete", grant_id=mine["grant_id"])

    assert (both["name"], both["kind"]) == ("eve", "jwt")
    assert (both["roles"], both["namespaces"]) == (["operator", "secrets"], ["team-a/"])
    assert ada["roles"] == ["author"]
    assert other["reason"] == "unknown"
    assert len((await world.ok("auth.grant_list"))["grants"]) == 4
    assert (await world.ask("auth.grant_delete", grant_id=mine["grant_id"])).status == 404
    assert (await world.ask("auth.grant_put", kind="jwt", claim="nothing")).status == 422


async def test_records_arrive_by_the_stream_once(
    world: World, database: Database, nats_url: str
) -> None:
    record = AccessRecord(
        record_id="r1",
        occurred_at="2026-06-15T12:00:00Z",
        principal="ci\0",
        kind="key",
        address="10.0.3.7",
        right="executions.cancel",
        method="POST",
        route="/api/executions/{execution_id:str}/cancel",
        object="execution:7",
        outcome="forbidden",
    )
    body = AccessRecords(records=[record, record], dropped=1).model_dump_json().encode()
    async with connect(make_settings(database, nats_url=nats_url), name="edge") as bus:
        await ensure_topology(bus, (AUDIT,))
        for message_id in ("a", "b"):
            await bus.publish(ACCESS_AUDIT, body, message_id=message_id)
        await bus.publish(ACCESS_AUDIT, b"nonsense", message_id="c")

        async def has_come() -> bool:
            return bool((await world.ok("access_audit.list", outcome="forbidden"))["rows"])

        await eventually(has_come)
    rows = (await world.ok("access_audit.list", principal_name="ci\ufffd"))["rows"]

    assert [row["record_id"] for row in rows] == ["r1"]
    assert rows[0]["right"] == "executions.cancel"
    assert (await world.ok("access_audit.list", right="x"))["rows"] == []
