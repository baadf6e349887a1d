"""An author asks for secrets that are not his.

The catalog reads providers with its own identity; a playbook names the place. Credentials are
named by alias, and any playbook can name any alias.
"""

from collections.abc import Iterator

import orjson
import pytest
from noetl_contract.access.principal import Principal
from noetl_contract.access.rights import Right, Role
from noetl_contract.json import JsonObject
from noetl_contract.rpc.projector import ExecutionOrigin
from noetl_testkit.postgres import Database

from services.catalog.tests.providers.provider_server import Clouds, running_clouds
from services.catalog.tests.world import CANARY, World, open_world

_PLAYBOOK = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: a, path: "%s"}
keychain:
- {name: loot, provider: vault, map: {all: "secret/finance/prod#root_password"}}
- {name: chosen, provider: vault, map: {all: "{{ place }}"}}
- {name: own, provider: vault, map: {x: "secret/team-a/db#password"}}
workflow:
- step: start
  tool: {kind: noop}
"""
_GRANTS = orjson.dumps({"team-a/": ["vault:secret/team-a/*"], "ops/": ["vault:*"]}).decode()
_AUTHOR = Principal(
    name="ada",
    kind="key",
    roles=(Role.AUTHOR, Role.SECRETS),
    grants=(Right.SECRETS_READ,),
    namespaces=("team-a/",),
)


def _sent(principal: Principal) -> JsonObject:
    body: JsonObject = orjson.loads(principal.model_dump_json())
    return body


@pytest.fixture
def vault(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clouds]:
    with running_clouds() as clouds:
        monkeypatch.setenv("VAULT_ADDR", clouds.url)
        monkeypatch.setenv("VAULT_TOKEN", "the catalog's own")
        for path in ("finance/prod", "team-a/db"):
            data = {"root_password": CANARY, "password": CANARY}
            clouds.answer(f"/v1/secret/data/{path}", {"data": {"data": data}})
        yield clouds


async def _start(world: World, path: str, *, execution_id: int, place: str = "x") -> None:
    stored = await world.ok("register", content=_PLAYBOOK % path)
    world.executions[execution_id] = ExecutionOrigin(
        catalog_id=int(stored["catalog_id"]), workload={"place": place}
    )


async def test_a_vault_is_asked_for_what_is_granted_to_the_path_alone(
    database: Database, nats_url: str, vault: Clouds
) -> None:
    async def asked(alias: str, execution_id: int) -> tuple[int, str | None]:
        reply = await world.ask(
            "credential.get", identifier=alias, include_data=True, execution_id=execution_id
        )
        return reply.status, reply.error

    async with open_world(database, nats_url, auth="on", keychain_references=_GRANTS) as world:
        await _start(world, "team-a/x", execution_id=5)
        await _start(world, "team-ab/x", execution_id=6)
        await _start(world, "ops/x", execution_id=7)
        foreign = await asked("loot", 5)
        neighbour = await asked("own", 6)
        for number, place in enumerate(
            (
                "secret/team-a/../finance/prod#root_password",
                "secret/team-a/%2e%2e/finance/prod",
                "secret/team-a//../finance/prod",
                " secret/finance/prod#root_password",
                "secret/finance/prod#secret/team-a/",
            )
        ):
            await _start(world, "team-a/x", execution_id=100 + number, place=place)
            assert (await asked("chosen", 100 + number))[0] == 403, place
        calls = list(vault.calls)
        own, everything = await asked("own", 5), await asked("loot", 7)
        audited = await world.audited(credential="loot")

    assert foreign[0] == 403
    assert foreign[1] == (
        "Keychain entry 'loot': 'team-a/x' may not ask provider 'vault' for"
        " 'secret/finance/prod#root_password';"
        " NOETL_KEYCHAIN_REFERENCES grants references to paths"
    )
    assert neighbour[0] == 403
    assert calls == []
    assert (own[0], everything[0]) == (200, 200)
    assert ("get_credential", "forbidden") in audited


async def test_nothing_is_granted_where_callers_are_known_and_all_where_not(
    database: Database, nats_url: str, vault: Clouds
) -> None:
    async with open_world(database, nats_url, auth="on") as world:
        await _start(world, "team-a/x", execution_id=5)
        refused = await world.ask(
            "credential.get", identifier="own", include_data=True, execution_id=5
        )
        assert vault.calls == []
    async with open_world(database, nats_url) as world:
        await _start(world, "team-a/x", execution_id=5)
        await world.ok("credential.get", identifier="loot", include_data=True, execution_id=5)

    assert refused.status == 403


async def test_a_credential_is_for_the_paths_it_names(database: Database, nats_url: str) -> None:
    async with open_world(database, nats_url) as world:
        await _start(world, "team-a/x", execution_id=5)
        await _start(world, "team-b/x", execution_id=6)
        bank = {"type": "t", "data": CANARY, "allowed_paths": ["team-b"]}
        await world.ok("credential.create", name="bank", **bank)

        async def read(execution_id: int | None, **who: JsonObject) -> int:
            asked = {"identifier": "bank", "include_data": True, "execution_id": execution_id}
            return (await world.ask("credential.get", **asked, **who)).status

        command = Principal(name="c", kind="capability", execution_id=5, event_id=1)
        by_execution = [await read(5), await read(6), await read(77)]
        by_command = await read(6, principal=_sent(command))
        by_author = await read(None, principal=_sent(_AUTHOR))
        await world.ok("credential.create", name="bank", type="t", data=CANARY)
        after = await read(5)

    assert by_execution == [403, 200, 403]
    # A command says 6, and is of 5.
    assert by_command == 403
    assert (by_author, after) == (404, 403)


async def test_an_author_neither_sees_nor_replaces_what_others_use(
    database: Database, nats_url: str
) -> None:
    who = {"principal": _sent(_AUTHOR)}
    async with open_world(database, nats_url) as world:
        await world.ok(
            "credential.create", name="theirs", type="t", data=1, allowed_paths=["team-b/"]
        )
        await world.ok("credential.create", name="everybodys", type="t", data=1)
        mine = await world.ok("credential.create", name="mine", type="t", data=1, **who)
        listed = await world.ok("credential.list", **who)
        statuses = {
            name: (
                (await world.ask("credential.create", name=name, type="t", data=2, **who)).status,
                (await world.ask("credential.get", identifier=name, **who)).status,
                (await world.ask("credential.delete", identifier=name, **who)).status,
            )
            for name in ("theirs", "everybodys", "mine")
        }
        wider = await world.ask(
            "credential.create", name="x", type="t", data=1, allowed_paths=["team"], **who
        )

    assert mine["allowed_paths"] == ["team-a/"]
    assert [one["name"] for one in listed["items"]] == ["mine", "everybodys"]
    assert statuses == {
        "theirs": (403, 404, 404),
        "everybodys": (403, 200, 403),
        "mine": (200, 200, 200),
    }
    assert (wider.status, wider.error) == (403, "'team' is outside of the namespaces of ada")


async def test_a_keychain_is_of_its_playbook(database: Database, nats_url: str) -> None:
    async with open_world(database, nats_url) as world:
        await _start(world, "team-a/x", execution_id=5)
        await _start(world, "team-b/x", execution_id=6)
        theirs = world.executions[6].catalog_id
        command = Principal(name="c", kind="capability", execution_id=5, event_id=1)
        entry = {"catalog_id": theirs, "keychain_name": "t", "scope_type": "global"}
        await world.ok("keychain.put", **entry, data=CANARY)
        for one in (_AUTHOR, command):
            who = {"principal": _sent(one)}
            assert await world.ok("keychain.get", **entry, **who) == {"status": "not_found"}
            assert await world.ok("keychain.delete", **entry, **who) == {"status": "not_found"}
            assert (await world.ask("keychain.put", **entry, data=1, **who)).status == 404
            listed = await world.ok("keychain.list", catalog_id=theirs, **who)
            assert listed["entries"] == []
        assert (await world.ok("keychain.get", **entry))["data"] == CANARY
