"""Catalog, secrets and workers come over whole, once, and the rest is named."""

import asyncio
import base64
import os
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import orjson
import pytest
from noetl.stack.errors import StackError
from noetl_common.crypto.aead import encrypt
from noetl_common.crypto.envelope import Envelope, encode_secret, new_data_key
from noetl_common.crypto.local_keys import LocalKeys, MasterKey
from noetl_contract.json import Json
from noetl_migrate.moving.importing import bring_over, source_of
from noetl_migrate.moving.json_stream import elements
from noetl_migrate.moving.keys import Keys
from noetl_migrate.moving.report import Report
from noetl_testkit.legacy.server import LegacyServer
from noetl_testkit.postgres import Database
from noetl_testkit.web import WebServer, serving

TABLES = Path(__file__).with_name("old_tables.sql").read_text()
OLD_KEY = bytes(range(32))
OLD_KEY_TEXT = base64.b64encode(OLD_KEY).decode()
OURS = {"NOETL_ENCRYPTION_KEY": base64.b64encode(bytes(range(32, 64))).decode()}
SECRET = "hunter2-of-the-warehouse"
GOOD = """apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: hello, path: demo/hello, labels: {team: core}}
workload: {number: %d}
workflow:
  - step: start
    tool: {kind: noop}
"""
WORKERS = """
INSERT INTO noetl.runtime (runtime_id, name, kind, status, runtime, heartbeat) VALUES
    (5, 'w-1', 'worker_pool', 'ready', '{"worker_public_key": "k"}', '2026-06-15 12:00Z'),
    (6, 'lease', 'server_api', 'ready', NULL, now());
"""
BAD = """apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: broken, path: demo/broken}
workflow:
  - step: first
    tool: {kind: nothing_of_ours}
"""


def literal(value: object) -> str:
    return "'" + str(value).replace("'", "''") + "'"


def entry(number: int, path: str, version: int, content: str, kind: str = "playbook") -> str:
    values = ", ".join((str(number), literal(path), str(version), literal(kind), literal(content)))
    return (
        "INSERT INTO noetl.catalog (catalog_id, path, version, kind, content, created_at) "
        f"VALUES ({values}, '2026-06-15 12:00:00');"
    )


def credential(number: int, name: str, stored: str) -> str:
    return (
        "INSERT INTO noetl.credential (id, name, type, data_encrypted, meta, tags) VALUES "
        f"""({number}, {literal(name)}, 'postgres', {literal(stored)}, '{{"a": 1}}', '{{x,y}}');"""
    )


def keychain(name: str, number: int, stored: str, *, execution: str, until: str) -> str:
    key = f"{name}:{number}:{execution if execution != 'NULL' else 'global'}"
    scope = "global" if execution == "NULL" else "local"
    return (
        "INSERT INTO noetl.keychain (cache_key, keychain_name, catalog_id, credential_type, "
        "cache_type, scope_type, execution_id, data_encrypted, expires_at) VALUES "
        f"({literal(key)}, {literal(name)}, {number}, 'secret', 'token', '{scope}', {execution}, "
        f"{literal(stored)}, {until});"
    )


def envelope(value: Json) -> str:
    data_key, keys = new_data_key(), LocalKeys(MasterKey("v1", OLD_KEY))
    return Envelope.seal(encode_secret(value), data_key=data_key, dek=keys.wrap(data_key)).encode()


def bare(value: Json) -> str:
    return base64.b64encode(encrypt(OLD_KEY, orjson.dumps(value))).decode()


@pytest.fixture
def old(empty_database: Database) -> Database:
    """The contract's tables, with every form of everything."""
    data: Json = {"db_password": SECRET}
    kms = envelope(data).replace('"p":"local"', '"p":"gcp-kms"')
    soon, over = "now() + interval '1 day'", "now() - interval '1 day'"
    rows = [
        entry(2**60 + 1, "demo/hello", 1, GOOD % 1),
        entry(2**60 + 2, "demo/hello", 2, GOOD % 2),
        entry(2**60 + 3, "demo/hello", 10, GOOD % 10),
        entry(2**60 + 4, "demo/broken", 1, BAD),
        entry(2**60 + 5, "demo/scrap", 1, "{no: [yaml"),
        entry(2**60 + 6, "demo/tool", 1, "kind: Tool\nmetadata: {name: t}", kind="tool"),
        credential(2**60 + 1, "plain", orjson.dumps(data).decode()),
        credential(2**60 + 2, "wrapped", envelope(data)),
        credential(2**60 + 3, "bare", bare(data)),
        credential(2**60 + 4, "kms", kms),
        credential(2**60 + 5, "scrap", "no form at all"),
        keychain("token", 2**60 + 3, envelope("t-1"), execution="NULL", until=soon),
        keychain("gone", 2**60 + 3, envelope("t-2"), execution="NULL", until=over),
        keychain("own", 2**60 + 3, envelope("t-3"), execution="77", until=soon),
        WORKERS,
    ]
    empty_database.run(TABLES + "\n".join(rows))
    return empty_database


def bring(source: str, into: Database, *, key: str = OLD_KEY_TEXT, trial: bool = False) -> Report:
    door = source_of(source, token="", keys=Keys.of_legacy(key))
    ours = Keys.of_ours("", OURS)
    return asyncio.run(bring_over(door, into.address, ours, is_trial=trial, say=lambda _line: None))


def counts(report: Report) -> dict[str, tuple[int, int, int, int]]:
    return {
        name: (one.came, one.present, one.count("left"), one.count("refused"))
        for name, one in report.sections()
    }


def opened(database: Database, name: str) -> Json:
    stored = database.run(f"SELECT data_encrypted FROM noetl.credential WHERE name = '{name}'")
    assert SECRET not in stored
    assert stored.startswith('{"v":2,')
    return Keys.of_ours("", OURS).open(stored, row=f"credential:{name}").value


def test_a_database_comes_over_whole_and_once(old: Database, database: Database) -> None:
    before = old.run("SELECT md5(string_agg(c::TEXT, ',')) FROM noetl.credential AS c")
    trial = bring(old.dsn, database, trial=True)
    assert database.run("SELECT count(*) FROM noetl.catalog") == "0"

    report = bring(old.dsn, database)

    expected = {
        "catalog": (6, 0, 0, 0),
        "credentials": (3, 0, 0, 2),
        "keychain": (1, 0, 2, 0),
        "workers": (1, 0, 0, 0),
    }
    assert counts(trial) == counts(report) == expected
    assert [name for name, _ in report.catalog.remarks] == ["demo/broken v1", "demo/scrap v1"]
    assert dict(report.credentials.refused)["kms"].endswith("import from the server's address")
    assert "wallet envelope" in dict(report.credentials.refused)["scrap"] or dict(
        report.credentials.refused
    )["scrap"].startswith("what it holds")
    versions = database.run(
        "SELECT version, catalog_id, payload, meta, created_at AT TIME ZONE 'UTC'"
        " FROM noetl.catalog WHERE path = 'demo/hello' ORDER BY version"
    ).splitlines()
    assert [row.split("|")[0] for row in versions] == ["1", "2", "10"]
    assert versions[2] == (
        f'10|{2**60 + 3}|{{"number": 10}}|{{"team": "core"}}|2026-06-15 12:00:00'
    )
    for name in ("plain", "wrapped", "bare"):
        assert opened(database, name) == {"db_password": SECRET}
    assert database.run("SELECT name, heartbeat FROM noetl.runtime").startswith("w-1|2026-06-15")
    assert old.run("SELECT md5(string_agg(c::TEXT, ',')) FROM noetl.credential AS c") == before
    assert SECRET not in str(report.as_json())
    assert not report.is_whole

    again = counts(bring(old.dsn, database))
    assert again["catalog"] == (0, 6, 0, 0)
    assert again["credentials"] == (0, 3, 0, 2)
    assert again["keychain"] == (0, 1, 2, 0)
    assert again["workers"] == (0, 1, 0, 0)


def test_what_is_here_already_is_left_as_it_is(old: Database, database: Database) -> None:
    mine = Keys.of_ours("", OURS).seal({"db_password": "mine"}, row="credential:plain")
    database.run(entry(9, "demo/hello", 2, "another text") + credential(9, "plain", str(mine)))

    report = bring(old.dsn, database)

    assert dict(report.catalog.refused) == {
        "demo/hello v2": "another text has this path and version here"
    }
    assert dict(report.credentials.refused)["plain"] == "another credential has its name here"
    assert opened(database, "plain") == {"db_password": "mine"}
    assert report.catalog.came == 5


def test_the_same_text_under_another_id_takes_its_keychain(
    old: Database, database: Database
) -> None:
    database.run(entry(9, "demo/hello", 10, GOOD % 10))

    report = bring(old.dsn, database)

    assert report.catalog.present == 1
    assert database.run("SELECT cache_key, catalog_id FROM noetl.keychain") == "token:9:global|9"


def test_without_the_key_only_what_is_plain_comes(old: Database, database: Database) -> None:
    report = bring(old.dsn, database, key="")

    assert report.credentials.came == 1
    assert "--key-file" in dict(report.credentials.refused)["wrapped"]


def test_a_wrong_key_is_told_without_quoting_anything(old: Database, database: Database) -> None:
    report = bring(old.dsn, database, key=base64.b64encode(os.urandom(32)).decode())

    assert "Decryption failed" in dict(report.credentials.refused)["wrapped"]
    assert SECRET not in str(report.as_json())


@pytest.fixture
def server() -> Iterator[WebServer]:
    """The existing server's API, with two versions, a credential, a keychain and a worker."""
    with serving(LegacyServer().answer) as web, httpx.Client(base_url=web.url) as client:
        for number in (1, 2):
            kept = client.post("/api/catalog/register", json={"content": GOOD % number}).json()
        secret = {"name": "pg", "type": "postgres", "data": {"db_password": SECRET}, "tags": ["a"]}
        client.post("/api/credentials", json=secret)
        entry = {"data": "t-1", "expires_at": "2999-01-01T00:00:00Z"}
        client.post(f"/api/keychain/{kept['catalog_id']}/token", json=entry)
        own = {**entry, "execution_id": 7, "scope_type": "local"}
        client.post(f"/api/keychain/{kept['catalog_id']}/own", json=own)
        client.post("/api/worker/pool/register", json={"name": "w-1", "capacity": 4})
        yield web


def test_a_server_comes_over_whole_and_once(server: WebServer, database: Database) -> None:
    report = bring(server.url, database)

    assert counts(report) == {
        "catalog": (2, 0, 0, 0),
        "credentials": (1, 0, 0, 0),
        "keychain": (1, 0, 1, 0),
        "workers": (1, 0, 0, 0),
    }
    assert opened(database, "pg") == {"db_password": SECRET}
    assert counts(bring(server.url, database))["catalog"] == (0, 2, 0, 0)


def test_a_server_that_is_away_is_told(database: Database) -> None:
    with serving(LegacyServer().answer) as web:
        url = web.url
    with pytest.raises(StackError, match="gives no answer"):
        bring(url, database)


async def _pieces(text: str, size: int) -> AsyncIterator[str]:
    for at in range(0, len(text), size):
        yield text[at : at + size]


async def _read(text: str, size: int, key: str = "entries") -> list[Json]:
    return [one async for one in elements(_pieces(text, size), key)]


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
async def test_a_list_is_read_element_by_element(size: int) -> None:
    wanted: list[Json] = [{"a": ']}"[', "b": [1, [2]]}, 12, "x", None, {}]
    for text in (orjson.dumps({"n": 1, "entries": wanted, "z": {}}), orjson.dumps(wanted)):
        assert await _read(text.decode(), size) == wanted
    assert await _read('{"entries": [ ] }', size) == []


async def test_half_a_list_is_no_list() -> None:
    with pytest.raises(StackError, match="middle"):
        await _read('{"entries": [{"a": 1}, {"a"', 5)
    with pytest.raises(StackError, match="no list `entries`"):
        await _read('{"other": 1}', 5)


async def test_one_element_is_held_at_a_time() -> None:
    async def many() -> AsyncIterator[str]:
        yield '{"entries": ['
        for number in range(200):
            yield orjson.dumps({"n": number, "text": "x" * 50_000}).decode() + ","
        yield "0]}"

    tracemalloc.start()
    try:
        number = 0
        async for _ in elements(many(), "entries"):
            number += 1
        assert number == 201
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
