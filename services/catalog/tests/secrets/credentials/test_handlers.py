"""Stored credentials and the keychain, asked over NATS, on a real database."""

import asyncio
import base64
from datetime import UTC, datetime, timedelta

import orjson
import pytest
from noetl_common.crypto.aead import encrypt
from noetl_common.crypto.sealed import SealingKey
from noetl_contract.http.secrets.credentials import CredentialBody
from noetl_contract.http.secrets.keychain import KeychainEntryBody
from noetl_contract.rpc import encode_reply
from noetl_testkit.postgres import Database
from prometheus_client import REGISTRY
from pydantic import SecretStr

from services.catalog.tests.world import (
    CANARY,
    KEY,
    NEW_KEY,
    World,
    open_world,
)

PLAYBOOK = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: hello, path: demo/hello}
workflow:
- step: start
  tool: {kind: noop}
"""


async def test_credential_from_creation_to_deletion(world: World) -> None:
    created = await world.ok(
        "credential.create",
        name="pg",
        type="postgres",
        data={"z": 1, "db_password": CANARY},
        meta={"a": 1},
        tags=[],
        description="d",
    )
    plain = await world.ok("credential.get", identifier="pg", include_data=False)
    whole = await world.ok("credential.get", identifier=created["id"], include_data=True)
    replaced = await world.ok("credential.create", name="pg", type="x", data=None)
    again = await world.ok("credential.get", identifier="pg", include_data=True)
    deleted = await world.ok("credential.delete", identifier="pg")
    gone = await world.ask("credential.get", identifier="pg", include_data=True)

    CredentialBody.model_validate(created, strict=True)
    assert created | {"meta": {"a": 1}, "tags": [], "description": "d"} == created == plain
    assert whole == created | {"data": {"z": 1, "db_password": CANARY}}
    assert set(replaced) == {"id", "name", "type", "created_at", "updated_at"}
    assert (replaced["id"], replaced["created_at"]) == (created["id"], created["created_at"])
    assert replaced["updated_at"] > created["updated_at"]
    assert again == replaced | {"data": None}
    assert deleted == {"id": created["id"], "message": "Credential deleted successfully"}
    assert (gone.status, gone.error, gone.detail) == (404, "Credential 'pg' not found", None)
    assert await world.audited() == [
        ("put_credential", "ok"),
        ("get_credential", "ok"),
        ("put_credential", "ok"),
        ("get_credential", "ok"),
        ("delete_credential", "ok"),
        ("get_credential", "credential_not_found"),
    ]


async def test_a_number_is_an_id_first_and_then_a_name(world: World) -> None:
    first = await world.ok("credential.create", name="a", type="t", data=1)
    second = await world.ok("credential.create", name=first["id"], type="t", data=2)
    third = await world.ok("credential.create", name="0012", type="t", data=3)

    by_id = await world.ok("credential.get", identifier=first["id"], include_data=True)
    by_name = await world.ok("credential.get", identifier="0012", include_data=True)

    assert (by_id["id"], by_id["data"]) == (first["id"], 1)
    assert second["id"] != first["id"]
    assert (by_name["id"], by_name["data"]) == (third["id"], 3)


async def test_first_writers_at_once_make_one_credential(world: World) -> None:
    made = await asyncio.gather(
        *(world.ok("credential.create", name="pg", type="t", data=n) for n in range(8))
    )

    assert len({credential["id"] for credential in made}) == 1
    assert len(await world.audited(credential="pg")) == 8


async def test_list_filters_and_never_shows_data(world: World) -> None:
    for name, type_, description in (
        ("pg_a", "postgres", None),
        ("b", "postgres", "A demo"),
        ("c", "", None),
    ):
        await world.ok(
            "credential.create", name=name, type=type_, data=CANARY, description=description
        )

    async def names(**query: str) -> list[str]:
        body = await world.ok("credential.list", **query)
        assert body.get("filter") == (query or None)
        assert CANARY not in orjson.dumps(body).decode()
        return [item["name"] for item in body["items"]]

    assert await names() == ["c", "b", "pg_a"]
    assert await names(type="postgres") == ["b", "pg_a"]
    assert await names(type="") == ["c"]
    assert await names(q="DEMO") == ["b"]
    assert await names(q="p%a") == ["pg_a"]
    assert await names(q="") == ["c", "b", "pg_a"]
    assert await names(type="postgres", q="pg_") == ["pg_a"]


async def test_rows_hold_nothing_in_clear_and_old_forms_are_read(world: World) -> None:
    await world.ok("credential.create", name="pg", type="t", data={"p": CANARY})
    record = orjson.loads(await world.stored("pg"))
    bare = base64.b64encode(encrypt(b"k" * 32, b'{"old":true}')).decode()
    await world.pool.execute(
        "INSERT INTO noetl.credential (id, name, type, data_encrypted) VALUES"
        " (1, 'bare', 't', $1), (2, 'plain', 't', $2)",
        bare,
        f'{{"p":"{CANARY}"}}',
    )

    old = await world.ok("credential.get", identifier="bare", include_data=True)
    foreign = await world.ask("credential.get", identifier="plain", include_data=True)

    assert list(record) == ["v", "alg", "ct", "dek"]
    assert (record["dek"]["p"], record["dek"]["kv"]) == ("local", "v1")
    assert CANARY.encode() not in base64.b64decode(record["ct"])
    assert old["data"] == {"old": True}
    assert foreign.status == 500
    assert foreign.error == "not a wallet envelope record: missing field `v`"
    assert len((await world.ok("credential.list"))["items"]) == 3
    assert await world.ok("wallet.status") == {
        "credential": {"invalid": 2, "v1": 1},
        "keychain": {},
    }


async def test_sealed_answer_opens_for_the_worker_alone(world: World) -> None:
    key = SealingKey()
    for name, runtime in (
        ("w-1", {"worker_public_key": key.public}),
        ("w-2", {"kind": "rust"}),
        ("w-3", {"worker_public_key": "!"}),
        ("w-4", {"worker_public_key": "AAAA"}),
    ):
        await world.ok("runtime.register", name=name, kind="worker_pool", runtime=runtime)
    await world.ok("credential.create", name="pg", type="t", data={"p": CANARY})

    envelope = await world.ok("credential.sealed", identifier="pg", worker_id="w-1", execution_id=5)
    missing = await world.ask("credential.sealed", identifier="no", worker_id="w-1")
    wrong = {
        worker: (await world.ask("credential.sealed", identifier="pg", worker_id=worker)).error
        for worker in ("w-0", "w-2", "w-3", "w-4")
    }

    opened = orjson.loads(key.open(envelope))
    assert (opened["name"], opened["data"]) == ("pg", {"p": CANARY})
    assert CANARY not in orjson.dumps(envelope).decode()
    assert (missing.status, missing.error) == (404, "Credential 'no' not found")
    unregistered = (
        "worker '{}' did not register a sealing pubkey (worker_public_key missing from the"
        " noetl.runtime row, or the worker_pool row doesn't exist)"
    )
    assert wrong["w-0"] == unregistered.format("w-0")
    assert wrong["w-2"] == unregistered.format("w-2")
    assert (wrong["w-3"] or "").startswith("worker 'w-3' worker_public_key base64: ")
    assert wrong["w-4"] == "worker 'w-4' worker_public_key must be 32 bytes, got 3"
    assert await world.audited(execution_id=5) == [("get_sealed", "ok")]
    assert ("get_sealed", "no_pubkey") in await world.audited()


async def test_keychain_entries(world: World) -> None:
    registered = await world.ok("register", content=PLAYBOOK)
    catalog_id = int(registered["catalog_id"])
    named = {"catalog_id": catalog_id, "keychain_name": "token"}
    moment = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)

    stored = await world.ok(
        "keychain.put", **named, data={"t": CANARY}, expires_at=moment.isoformat()
    )
    local = await world.ok(
        "keychain.put", **named, data=1, scope_type="local", execution_id=7, auto_renew=True
    )
    first = await world.ok("keychain.get", **named)
    second = await world.ok("keychain.get", **named, scope_type="odd")
    other = await world.ok("keychain.get", **named, scope_type="shared")
    await world.ok(
        "keychain.put", **named, data=2, expires_in=-5, scope_type="shared", execution_id=9
    )
    expired = await world.ok("keychain.get", **named, scope_type="shared", execution_id=9)
    listed = await world.ok("keychain.list", catalog_id=catalog_id)
    deleted = await world.ok("keychain.delete", **named)
    gone = await world.ok("keychain.delete", **named)

    key = f"token:{catalog_id}"
    shown = moment.isoformat().replace("+00:00", "Z")
    assert stored == {"status": "success", "cache_key": f"{key}:global", "expires_at": shown}
    assert local["cache_key"] == f"{key}:7"
    hour = datetime.fromisoformat(local["expires_at"]) - datetime.now(UTC)
    assert timedelta(minutes=59) < hour <= timedelta(hours=1)
    assert first == {
        "status": "found",
        "data": {"t": CANARY},
        "expires_at": shown,
        "auto_renew": False,
        "access_count": 1,
    }
    assert second["access_count"] == 2
    assert other == {"status": "not_found"}
    assert (expired["status"], expired["access_count"], "data" in expired) == ("expired", 0, False)
    for entry in listed["entries"]:
        KeychainEntryBody.model_validate(entry, strict=True)
    assert listed["catalog_id"] == str(catalog_id)
    assert [(e["scope_type"], e.get("execution_id"), e["expired"]) for e in listed["entries"]] == [
        ("shared", "9", True),
        ("local", "7", False),
        ("global", None, False),
    ]
    assert deleted == {"status": "deleted", "cache_key": f"{key}:global"}
    assert gone == {"status": "not_found"}
    assert await world.audited(credential="token") == [
        ("put_keychain", "ok"),
        ("put_keychain", "ok"),
        ("get_keychain", "ok"),
        ("get_keychain", "ok"),
        ("put_keychain", "ok"),
        ("delete_keychain", "ok"),
    ]


async def test_keychain_entries_without_sense_are_refused(world: World) -> None:
    named = {"catalog_id": 5, "keychain_name": "token", "data": CANARY}
    scope = await world.ask("keychain.put", **named, scope_type="odd")
    kind = await world.ask("keychain.put", **named, cache_type="odd")
    nobody = await world.ask("keychain.put", **named)
    never = await world.ask("keychain.put", **named, expires_in=1 << 62)
    shapeless = await world.ask("keychain.put", **named | {"catalog_id": {"x": CANARY}})

    assert (scope.status, "keychain_scope_type_check" in (scope.error or "")) == (422, True)
    assert (kind.status, "keychain_cache_type_check" in (kind.error or "")) == (422, True)
    assert (nobody.status, nobody.error) == (
        404,
        "Catalog entry '5' not found (keychain_catalog_id_fkey)",
    )
    assert (never.status, shapeless.status) == (422, 422)
    assert all(
        CANARY.encode() not in encode_reply(reply)
        for reply in (scope, kind, nobody, never, shapeless)
    )


async def test_audit_is_filtered_and_bounded(world: World) -> None:
    await world.ok("credential.create", name="a", type="t", data=1)
    for execution_id in (1, 2, 2):
        await world.ok(
            "credential.get", identifier="a", include_data=True, execution_id=execution_id
        )
    rows = (await world.ok("secret.audit", execution_id=2))["rows"]
    newest = (await world.ok("secret.audit", limit=0))["rows"]
    until = await world.ok("secret.audit", to=rows[0]["occurred_at"])
    since = await world.ok("secret.audit", **{"from": rows[0]["occurred_at"]})

    assert [row["execution_id"] for row in rows] == [2, 2]
    assert rows == sorted(rows, key=lambda row: row["audit_id"], reverse=True)
    assert set(rows[0]) == {
        "audit_id", "occurred_at", "credential", "operation", "outcome", "worker_id",
        "execution_id", "parent_execution_id", "server_region", "broker_region", "kek_version",
        "notes",
    }  # fmt: skip
    assert (rows[0]["kek_version"], rows[0]["worker_id"]) == ("v1", None)
    assert newest == rows[:1]
    assert (len(until["rows"]), len(since["rows"])) == (3, 1)


async def test_rotation_turns_every_record_and_can_be_interrupted(
    database: Database, nats_url: str
) -> None:
    async with open_world(database, nats_url) as old:
        catalog_id = (await old.ok("register", content=PLAYBOOK))["catalog_id"]
        for number in range(7):
            await old.ok("credential.create", name=f"c{number}", type="t", data=number)
            await old.ok("keychain.put", catalog_id=catalog_id, keychain_name=f"k{number}", data=1)
        bare = base64.b64encode(encrypt(b"k" * 32, b'"old"')).decode()
        await old.pool.execute(
            "INSERT INTO noetl.credential (id, name, type, data_encrypted) VALUES"
            " (1, 'bare', 't', $1), (2, 'foreign', 't', 'what?')",
            bare,
        )
        ciphertext = orjson.loads(await old.stored("c3"))["ct"]

    turning = {
        "encryption_key": NEW_KEY,
        "encryption_key_version": "v2",
        "encryption_keys_earlier": SecretStr(f"v1={KEY.get_secret_value()}"),
    }
    async with open_world(database, nats_url, **turning) as world:
        readiness = (await world.service.readiness())["encryption_key"]
        part = await world.ok("wallet.rotate", table="credential", batch_size=3, max_batches=1)
        meanwhile = [
            (await world.ok("credential.get", identifier=name, include_data=True))["data"]
            for name in ("bare", "c0", "c6")
        ]
        rest = await world.ok(
            "wallet.rotate", table="credential", batch_size=3, after=part["after"]
        )
        again = await world.ok("wallet.rotate", table="credential", batch_size=2)
        keychain = await world.ok("wallet.rotate", table="keychain", batch_size=100)
        status, key = await world.ok("wallet.status"), await world.ok("wallet.key")

    newest = {"encryption_key": NEW_KEY, "encryption_key_version": "v2"}
    async with open_world(database, nats_url, **newest) as world:
        values = [
            (await world.ok("credential.get", identifier=name, include_data=True))["data"]
            for name in ("bare", "c0", "c6")
        ]
        entry = await world.ok("keychain.get", catalog_id=catalog_id, keychain_name="k5")
        kept = orjson.loads(await world.stored("c3"))["ct"]

    counts = ("processed", "rewrapped", "skipped", "failed")
    assert readiness == "ok"
    assert key == {"is_usable": True}
    assert ([part[name] for name in counts], part["done"]) == ([3, 2, 0, 1], False)
    assert meanwhile == values == ["old", 0, 6]
    assert ([rest[name] for name in counts], rest["done"]) == ([6, 6, 0, 0], True)
    assert [again[name] for name in counts] == [9, 0, 8, 1]
    assert again["last_id"] == rest["last_id"] > 2
    assert ([keychain[name] for name in counts], keychain["last_id"]) == ([7, 7, 0, 0], 0)
    assert status == {"credential": {"invalid": 1, "v2": 8}, "keychain": {"v2": 7}}
    assert (entry["data"], kept) == (1, ciphertext)


async def test_wrong_key_is_noticed_and_nothing_is_readable(
    database: Database, nats_url: str
) -> None:
    async with open_world(database, nats_url) as world:
        await world.ok("credential.create", name="pg", type="t", data=CANARY)
    async with open_world(database, nats_url, encryption_key=NEW_KEY) as world:
        readiness = await world.service.readiness()
        key = await world.ok("wallet.key")
        reply = await world.ask("credential.get", identifier="pg", include_data=True)
        audited = await world.audited()

    assert readiness["encryption_key"].endswith("Decryption failed: aead::Error")
    assert key == {"is_usable": False, "reason": "Decryption failed: aead::Error"}
    assert (reply.status, reply.error) == (500, "Decryption failed: aead::Error")
    assert audited == [("put_credential", "ok"), ("get_credential", "decryption_error")]


async def test_without_a_key_secrets_are_refused_by_name_and_the_rest_works(
    database: Database, nats_url: str
) -> None:
    async with open_world(database, nats_url, encryption_key=SecretStr(" ")) as world:
        readiness = await world.service.readiness()
        key = await world.ok("wallet.key")
        reply = await world.ask("credential.create", name="pg", type="t", data=CANARY)
        listed = await world.ok("credential.list")
        registered = await world.ask("register", content=PLAYBOOK)

    text = "NOETL_ENCRYPTION_KEY is not set: secrets can be neither stored nor read"
    assert readiness["encryption_key"].endswith(text)
    assert key == {"is_usable": False, "reason": text}
    assert (reply.status, reply.error) == (503, text)
    assert (listed, registered.status) == ({"items": []}, 200)


@pytest.mark.parametrize("is_strict", [False, True])
async def test_a_reading_that_cannot_be_recorded(
    database: Database, nats_url: str, *, is_strict: bool
) -> None:
    async with open_world(database, nats_url, secret_audit_required=is_strict) as world:
        await world.ok("credential.create", name="pg", type="t", data=CANARY)
        await world.pool.execute(
            "ALTER TABLE noetl.secret_audit ADD CHECK (outcome <> 'ok') NOT VALID"
        )
        lost = REGISTRY.get_sample_value("noetl_secret_audit_lost_total")
        reply = await world.ask("credential.get", identifier="pg", include_data=True)
        written = await world.ask("credential.create", name="pg", type="t", data=2)
        kept = await world.ok("credential.list")

    assert lost is not None, "an alert sees the first only if the count has begun at 0"
    assert REGISTRY.get_sample_value("noetl_secret_audit_lost_total") == lost + 1
    assert reply.status == (422 if is_strict else 200)
    assert CANARY not in (reply.error or "")
    assert written.status == 422
    assert len(kept["items"]) == 1


async def test_no_secret_is_in_a_log_or_in_a_refusal(
    database: Database,
    nats_url: str,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Errors with the canary in their request never show it; only the requested read does."""
    caplog.set_level("DEBUG")
    bodies: list[tuple[str, dict[str, object]]] = [
        ("credential.create", {"name": {"x": CANARY}, "data": CANARY}),
        ("credential.create", {"name": "n", "type": "t", "data": CANARY, "tags": {"x": CANARY}}),
        ("credential.create", {"name": "n\0", "type": "t", "data": CANARY}),
        ("credential.create", {"data": CANARY}),
        ("keychain.put", {"keychain_name": "k", "catalog_id": 1, "data": CANARY}),
        ("keychain.put", {"data": CANARY, "renew_config": CANARY, "expires_at": CANARY}),
        ("keychain.put", {"catalog_id": CANARY, "keychain_name": "k", "data": CANARY}),
        ("credential.cross_region", {"alias": "a", "worker_public_key_b64": CANARY}),
        ("wallet.rotate", {"table": CANARY}),
    ]
    async with open_world(database, nats_url) as world:
        refused = [await world.ask(operation, **body) for operation, body in bodies]
        await world.ok("credential.create", name="pg", type="t", data={"p": CANARY})
        await world.ok("credential.get", identifier="pg", include_data=True)
        await world.pool.execute(
            "INSERT INTO noetl.credential (id, name, type, data_encrypted)"
            " VALUES (1, 'x', 't', $1)",
            f'{{"p":"{CANARY}"}}',
        )
        unreadable = await world.ask("credential.get", identifier="x", include_data=True)
        await world.ok("wallet.rotate", table="credential")
        readiness = await world.service.readiness()
    async with open_world(database, nats_url, encryption_key=NEW_KEY) as world:
        undecryptable = await world.ask("credential.get", identifier="pg", include_data=True)
    logged = capsys.readouterr()

    shown = [encode_reply(reply).decode() for reply in (*refused, unreadable, undecryptable)]
    assert all(reply.status >= 400 for reply in (*refused, unreadable, undecryptable))
    assert "record_not_rotated" in logged.out
    for text in (*shown, logged.out, logged.err, caplog.text, str(readiness)):
        assert CANARY not in text
        assert KEY.get_secret_value() not in text


async def test_a_login_of_the_platform_is_given_to_services_alone(world: World) -> None:
    data = {"db_password": CANARY}
    await world.ok("credential.create", name="open", type="postgres", data=data)
    await world.ok(
        "credential.create", name="shard-0", type="postgres", data=data, allowed_paths=[]
    )

    found = await world.ok("credential.platform", identifier="shard-0")
    refused = [await world.ask("credential.platform", identifier=n) for n in ("open", "none")]
    by_playbook = await world.ask(
        "credential.get", identifier="shard-0", include_data=True, execution_id=1
    )

    text = (
        "Credential 'open' may be used by playbooks; a login of the platform is stored with"
        " allowed_paths []"
    )
    assert found["data"] == data
    assert [(one.status, one.error) for one in refused] == [
        (403, text),
        (404, "Credential 'none' not found"),
    ]
    assert by_playbook.status == 403
