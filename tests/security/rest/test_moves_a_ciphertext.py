"""An attacker with access to the database copies a secret's encrypted text into another row.

The key stays with the catalog, but the names of rows decide who is given what: a playbook that may
use `harmless` would be given the secret of `payroll`.
"""

import orjson
from noetl_common.crypto.envelope import Envelope, encode_secret, new_data_key
from noetl_common.crypto.local_keys import LocalKeys, MasterKey, decode_key
from noetl_testkit.postgres import Database

from services.catalog.tests.world import CANARY, KEY, World, open_world

_MOVE = """
UPDATE noetl.credential SET data_encrypted =
    (SELECT data_encrypted FROM noetl.credential WHERE name = 'payroll')
WHERE name = 'harmless'
"""


async def _store_two(world: World) -> None:
    await world.ok("credential.create", name="payroll", type="t", data={"p": CANARY})
    await world.ok("credential.create", name="harmless", type="t", data={"p": "nothing"})


async def _unbind(world: World, **data: str) -> None:
    """Store credentials as records that are bound to no row, as NoETL's own server writes them."""
    keys = LocalKeys(MasterKey("v1", decode_key(KEY.get_secret_value())))
    for name, value in data.items():
        data_key = new_data_key()
        record = Envelope.seal(
            encode_secret({"p": value}), data_key=data_key, dek=keys.wrap(data_key)
        )
        await world.pool.execute(
            "UPDATE noetl.credential SET data_encrypted = $1 WHERE name = $2",
            record.encode(),
            name,
        )


async def test_text_of_another_credential_is_refused_by_name(
    database: Database, nats_url: str
) -> None:
    async with open_world(database, nats_url) as world:
        await _store_two(world)
        await world.pool.execute(_MOVE)
        moved = await world.ask("credential.get", identifier="harmless", include_data=True)
        kept = await world.ok("credential.get", identifier="payroll", include_data=True)

    assert (moved.status, moved.body) == (500, None)
    assert moved.error == (
        "Decryption failed: the record of 'credential:harmless' is another row's, or damaged"
    )
    assert kept["data"] == {"p": CANARY}


async def test_text_of_another_keychain_entry_is_refused(database: Database, nats_url: str) -> None:
    async with open_world(database, nats_url) as world:
        catalog_id = await _document(world)
        for name, value in (("mine", "nothing"), ("theirs", CANARY)):
            await world.ok(
                "keychain.put",
                catalog_id=catalog_id,
                keychain_name=name,
                scope_type="global",
                data=value,
            )
        await world.pool.execute(
            "UPDATE noetl.keychain SET data_encrypted = (SELECT data_encrypted FROM noetl.keychain"
            " WHERE keychain_name = 'theirs') WHERE keychain_name = 'mine'"
        )
        moved = await world.ask(
            "keychain.get", catalog_id=catalog_id, keychain_name="mine", scope_type="global"
        )

    assert (moved.status, moved.body) == (500, None)
    assert f"'keychain:mine:{catalog_id}:global' is another row's" in (moved.error or "")


async def test_declaring_the_record_an_old_one_does_not_help(
    database: Database, nats_url: str
) -> None:
    async with open_world(database, nats_url) as world:
        await _store_two(world)
        record = orjson.loads(await world.stored("payroll"))
        await world.pool.execute(
            "UPDATE noetl.credential SET data_encrypted = $1 WHERE name = 'harmless'",
            orjson.dumps(record | {"v": 1}).decode(),
        )
        moved = await world.ask("credential.get", identifier="harmless", include_data=True)

    assert record["v"] == 2
    assert (moved.status, moved.error) == (500, "Decryption failed: aead::Error")


async def test_records_bound_to_no_row_are_read_until_rotation_has_bound_them(
    database: Database, nats_url: str
) -> None:
    async with open_world(database, nats_url) as world:
        await _store_two(world)
        await _unbind(world, payroll=CANARY, harmless="nothing")
        before = await world.ok("credential.get", identifier="payroll", include_data=True)
        first = await world.ok("wallet.rotate", table="credential")
        again = await world.ok("wallet.rotate", table="credential")
        record = orjson.loads(await world.stored("payroll"))
        await world.pool.execute(_MOVE)
        moved = await world.ask("credential.get", identifier="harmless", include_data=True)

    assert before["data"] == {"p": CANARY}
    assert (first["rewrapped"], again["rewrapped"], again["skipped"]) == (2, 0, 2)
    assert (record["v"], moved.status) == (2, 500)


async def test_records_bound_to_no_row_are_refused_once_the_setting_says_so(
    database: Database, nats_url: str
) -> None:
    async with open_world(database, nats_url, envelope_oldest_version=2) as world:
        await _store_two(world)
        await _unbind(world, payroll=CANARY)
        await world.pool.execute(_MOVE)
        moved = await world.ask("credential.get", identifier="harmless", include_data=True)

    assert moved.status == 500
    assert "the record of 'credential:harmless' is bound to no row" in (moved.error or "")


async def _document(world: World) -> int:
    content = (
        "apiVersion: noetl.io/v2\nkind: Playbook\nmetadata: {name: a, path: demo/a}\n"
        "workflow:\n- step: start\n  tool: {kind: noop}\n"
    )
    return int((await world.ok("register", content=content))["catalog_id"])
