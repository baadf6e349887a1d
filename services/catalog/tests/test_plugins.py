"""Plug-ins: registration, the version that an execution keeps, and access to the module."""

import base64
import gzip
import hashlib

import orjson
import pytest
from noetl_bus.rpc import Encoded
from noetl_catalog.entries.parsers import Parsers
from noetl_catalog.entries.register_handlers import RegisterHandlers
from noetl_catalog.entries.settings import EntrySettings
from noetl_catalog.entries.store import EntryStore
from noetl_catalog.libraries import Resolver, ResolveSettings
from noetl_catalog.plugins import PluginHandlers
from noetl_catalog.schedules.store import ScheduleStore
from noetl_common.errors import NoetlError
from noetl_common.ids import SnowflakeIds
from noetl_contract.http.catalog.entries import RegisterAnswer
from noetl_contract.plugins.requests import PluginNames, PluginRequest
from noetl_contract.rpc import Refusal
from noetl_contract.rpc.catalog import (
    CheckDocument,
    EntryName,
    RegisterDocument,
)
from noetl_pg.database import Database
from noetl_pg.pool import Pool

SETTINGS = EntrySettings(plugin_module_max_bytes=100_000)
PLAYBOOK = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: uses, path: p/uses}
workflow:
- step: start
  tool: {kind: wasm, plugin: p/a}
"""


def document(module: str = 'wat: "(module)"', more: str = "", path: str = "p/a") -> str:
    return (
        f"apiVersion: noetl.io/v2\nkind: Plugin\nmetadata: {{name: a, path: {path}}}\n"
        f"spec:\n  interface: noetl.plugin/1\n  module: {{{module}}}\n{more}"
    )


class World:
    """The handlers of documents and of plug-ins."""

    def __init__(self, pool: Pool) -> None:
        async def changed() -> None:
            pass

        store, parsers = EntryStore(Database(pool)), Parsers(SETTINGS)
        self.write = RegisterHandlers(
            store,
            settings=SETTINGS,
            ids=SnowflakeIds(7),
            parsers=parsers,
            schedules=ScheduleStore(Database(pool)),
            resolver=Resolver(ResolveSettings()),
            changed=changed,
        )
        self.plugins = PluginHandlers(store, settings=SETTINGS, parsers=parsers)

    async def register(self, text: str) -> RegisterAnswer:
        answer = await self.write.on_register(RegisterDocument(content=text))
        assert isinstance(answer, RegisterAnswer)
        return answer

    async def pins(self, *names: str, namespace: str | None = None) -> dict[str, int]:
        found = await self.plugins.on_pins(PluginNames(names=list(names), namespace=namespace))
        return {name: pin.version for name, pin in found.pins.items()}


@pytest.fixture
def world(pool: Pool) -> World:
    return World(pool)


async def test_the_newest_version_counts_and_a_kept_one_stays(world: World) -> None:
    missing = await world.register(PLAYBOOK)
    for number in range(2):
        await world.register(document(f'wat: "(module) ;; {number}"'))
    first = await world.plugins.on_pins(PluginNames(names=["p/a@1", "p/a"]))
    pin = first.pins["p/a"]

    assert missing.problems == ["plug-in 'p/a' is not registered: step 'start' fails"]
    assert (await world.register(PLAYBOOK)).problems is None
    assert await world.pins("p/a", "p/a@1", "p/a@3", "p/b", "{{ x }}") == {"p/a": 2, "p/a@1": 1}
    assert await world.pins("p/a", namespace="other") == {}
    assert await world.pins("p/a", namespace="p") == {"p/a": 2}

    await world.write.on_delete(EntryName(path="p/a", version=2))
    assert await world.pins("p/a", "p/a@2") == {"p/a": 1}
    wanted = PluginRequest(catalog_id=pin.catalog_id, digest=pin.digest)
    for _ in range(2):
        body = await world.plugins.on_plugin(wanted)
        assert isinstance(body, Encoded)
        told = orjson.loads(body.body)
        assert (told["path"], told["version"]) == ("p/a", 2)
        assert told["module"] == "(module) ;; 1"
        assert hashlib.sha256(told["module"].encode()).hexdigest() == pin.digest


async def test_who_does_not_know_the_digest_gets_nothing(world: World) -> None:
    kept = await world.register(document())
    other = await world.register(PLAYBOOK)

    for number in (kept.catalog_id, other.catalog_id, "5"):
        wanted = PluginRequest(catalog_id=int(number), digest="0" * 64)
        answer = await world.plugins.on_plugin(wanted)
        assert isinstance(answer, Refusal)
        assert (answer.status, answer.error) == (404, f"Plug-in not found: {number}")


async def test_a_check_names_the_plugins_that_are_not_there(world: World) -> None:
    told = await world.write.on_validate(CheckDocument(content=PLAYBOOK))

    assert not isinstance(told, Refusal)
    assert told.valid
    assert [(one.line, one.rule) for one in told.problems] == [(7, "unknown-plugin")]


def packed(data: bytes) -> str:
    return f"gzip: {base64.b64encode(gzip.compress(data)).decode()}"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (document().replace("plugin/1", "plugin/2"), "'spec.interface' is 'noetl.plugin/2'; this"),
        (document("file: x.wasm"), "'spec.module.file' is for the command line"),
        (document('wat: "(module)", base64: AA'), "'spec.module' needs one of base64, gzip, wat"),
        (document("base64: '?'"), "'spec.module.base64' can't be unpacked"),
        (document("base64: AAAA"), "'spec.module.base64' is no WebAssembly module"),
        (document(packed(bytes(100_001))), "is no WebAssembly module"),
        (document(packed(b"\0asm\1\0\0\0" + bytes(100_000))), "has more than 100000 bytes"),
        (document(packed(b"\0asm\1\0\0\0")), "it exports no memory 'memory'"),
        (document(packed(b"\0asm\1\0\0\0\1\x0c\1")), "it ends in the middle"),
        (document('wat: "(module)", sha256: "00"'), "'spec.module.sha256' is '00', the module's"),
        (document(more="  uses: [clock]\n"), "'spec.uses' has 'clock'; there are log, http, kv"),
        (document(more="  uses: [http]\n"), "'spec.allowed_hosts' is empty"),
        (document(more="  allowed_hosts: [h]\n"), "'spec.allowed_hosts' needs http"),
        (document(more="  uses: [http]\n  allowed_hosts: ['*']\n"), "takes host, host:port, *."),
        (document(more="  uses: [http]\n  allowed_hosts: [a@b.c]\n"), "takes host, host:port, *."),
        (document(more="  limits: {fuel: 0}\n"), "'spec.limits.fuel' is 0, no number from 1"),
        (document(more="  limits: {cores: 1}\n"), "'spec.limits' has the unknown key 'cores'"),
    ],
)
async def test_what_is_no_plugin_is_refused_by_the_key(world: World, text: str, why: str) -> None:
    with pytest.raises(NoetlError) as raised:
        await world.write.on_register(RegisterDocument(content=text))

    assert why in raised.value.message
    assert raised.value.message.startswith("Invalid plug-in: ")
    assert raised.value.http_status == 422
