"""The capability of a command: its own claim, events, secrets and children, and no other's."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from noetl_contract.access.rights import Role
from noetl_testkit.waiting import eventually

from ..conftest import EXECUTION_ID, World
from .callers import KEYS, bearer, command_login, guarded_world, principal_of

EVENT_ID = 325077236516646912
OTHER = EXECUTION_ID + 4096
LOGIN = command_login(EXECUTION_ID, EVENT_ID)
EVENT = {"execution_id": str(EXECUTION_ID), "step": "s", "event_type": "call.done"}
RESERVED = {"child_id": 99, "owner": "ada", "namespace": "demo/"}


@pytest.fixture
async def world(nats_url: str) -> AsyncIterator[World]:
    async with guarded_world(nats_url) as made:
        made.backend.answer("child", lambda asked: RESERVED | {"child_id": asked["child_id"]})
        yield made


async def post(world: World, path: str, body: dict[str, Any], **options: Any) -> int:
    return (await world.client.post(path, json=body, auth=LOGIN, **options)).status_code


def meta_of(event_id: int) -> dict[str, Any]:
    return {"meta": {"command_id": f"{EXECUTION_ID}:s:{event_id}"}}


async def test_it_reports_on_its_own_command_only(world: World) -> None:
    assert await post(world, "/api/events", EVENT) == 200
    assert await post(world, "/api/events", EVENT | meta_of(EVENT_ID)) == 200
    assert await post(world, "/api/events", EVENT | meta_of(EVENT_ID + 1)) == 403
    assert await post(world, "/api/events", EVENT | {"execution_id": str(OTHER)}) == 404
    batch = {"execution_id": str(OTHER), "events": [{"event_type": "t", "step": "s"}]}
    assert await post(world, "/api/events/batch", batch) == 404
    assert len(world.backend.ingress) == 2


async def test_what_it_reports_is_about_its_own_command_wherever_that_is_named(
    world: World,
) -> None:
    foreign = {"command_id": f"{EXECUTION_ID}:s:{EVENT_ID + 1}"}
    hidden = EVENT | meta_of(EVENT_ID) | {"context": foreign}
    iteration = {"command_id": f"{EXECUTION_ID}:s:{EVENT_ID + 1}:i3"}
    batch = {"event_type": "call.done", "step": "s", "payload": foreign}

    assert await post(world, "/api/events", hidden) == 403
    assert await post(world, "/api/events", EVENT | {"context": iteration}) == 403
    many = {"execution_id": str(EXECUTION_ID), "events": [batch]}
    assert await post(world, "/api/events/batch", many) == 403
    assert world.backend.ingress == []
    own = {"command_id": f"{EXECUTION_ID}:s:{EVENT_ID}:i3"}
    assert await post(world, "/api/events", EVENT | {"context": own}) == 200


async def test_what_names_no_command_is_of_its_own(world: World) -> None:
    assert await post(world, "/api/events", EVENT | {"step": "another"}) == 200
    (message,) = world.backend.ingress

    assert message["events"][0]["meta"]["command_id"] == f"{EXECUTION_ID}:another:{EVENT_ID}"


@pytest.mark.parametrize(
    "event_type",
    ["playbook.completed", "playbook_failed", "execution.cancelled", "playbook_started"],
)
async def test_it_does_not_say_what_the_engine_says(world: World, event_type: str) -> None:
    assert await post(world, "/api/events", EVENT | {"event_type": event_type}) == 403
    assert world.backend.ingress == []


async def test_a_worker_of_a_namespace_claims_there_only(world: World) -> None:
    scoped = principal_of(Role.WORKER, name="w", namespaces=("demo/",))
    world.backend.answer("auth.resolve", {"principal": scoped})

    async def claim(path: str) -> int:
        known = {"exists": True, "status": "RUNNING", "commands_generated": 1, "path": path}
        world.backend.answer("executions.exists", known)
        number = EXECUTION_ID if path.startswith("demo") else OTHER
        command = {"execution_id": number, "node_id": "s", "node_name": "s", "action": "noop"}
        world.backend.answer("command.get", command)
        answer = await world.client.post(
            f"/api/commands/{EVENT_ID}/claim",
            json={"worker_id": "w"},
            headers=bearer(KEYS[Role.WORKER]),
        )
        return answer.status_code

    assert await claim("other/x") == 404
    assert world.backend.requests("claim") == []
    await claim("demo/hello")
    assert len(world.backend.requests("claim")) == 1


async def test_it_claims_its_own_command_only(world: World) -> None:
    await post(world, f"/api/commands/{EVENT_ID}/claim", {"worker_id": "w"})
    assert len(world.backend.requests("claim")) == 1
    other = f"/api/commands/{EVENT_ID + 1}/claim"

    assert await post(world, other, {"worker_id": "w"}) == 403
    assert len(world.backend.requests("claim")) == 1


@pytest.mark.parametrize(
    ("user", "password"),
    [
        (LOGIN[0], LOGIN[1][:-1] + ("A" if LOGIN[1][-1] != "A" else "B")),
        (f"{OTHER}.{EVENT_ID}", LOGIN[1]),
        command_login(EXECUTION_ID, EVENT_ID, "another key"),
        ("admin", "admin"),
    ],
)
async def test_a_made_up_capability_is_nobody_s(world: World, user: str, password: str) -> None:
    answer = await world.client.post("/api/events", json=EVENT, auth=(user, password))

    assert answer.status_code == 401
    assert world.backend.ingress == []


async def test_a_name_without_a_secret_opens_nothing(world: World) -> None:
    answer = await world.client.post("/api/events", json=EVENT, auth=(LOGIN[0], ""))

    assert answer.status_code == 401


async def test_a_command_that_is_over_reads_no_secrets(world: World) -> None:
    world.backend.answer("credential.get", {"id": "1", "name": "x", "type": "t"})
    world.backend.answer("command.standing", {"is_open": False, "path": "demo/hello"})
    answer = await world.client.get("/api/credentials/x?include_data=true", auth=LOGIN)

    assert (answer.status_code, answer.json()["error"]) == (
        401,
        "The command of this login is over",
    )
    assert world.backend.requests("credential.get") == []


async def test_a_command_that_is_not_known_yet_is_asked_about_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = f"/api/executions/{EXECUTION_ID}/status"
    monkeypatch.setattr("noetl_api_gateway.access.reach._UNKNOWN_SECONDS", 0.05)
    del world.backend.answers["command.standing"]  # 404
    assert (await world.client.get(place, auth=LOGIN)).status_code == 401
    world.backend.answer("command.standing", {"is_open": True, "path": "demo/hello"})

    async def is_let_in() -> bool:
        return (await world.client.get(place, auth=LOGIN)).status_code != 401

    await eventually(is_let_in, what="the command is known")


async def test_it_asks_for_secrets_as_what_it_is_and_for_its_execution(world: World) -> None:
    place = "/api/credentials/x?include_data=true&execution_id="
    assert (await world.client.get(f"{place}{OTHER}", auth=LOGIN)).status_code == 404
    assert (
        await world.client.get(f"{place}{OTHER}".replace("_", "%5F"), auth=LOGIN)
    ).status_code == 404
    await world.client.get(f"{place}{EXECUTION_ID}", auth=LOGIN)
    (asked,) = world.backend.requests("credential.get")

    assert asked["principal"]["kind"] == "capability"
    assert asked["principal"]["execution_id"] == EXECUTION_ID


async def test_it_reads_its_execution_and_its_children(world: World) -> None:
    def exists(asked: dict[str, Any]) -> dict[str, Any]:
        parent = EXECUTION_ID if asked["execution_id"] == 77 else None
        known = {"exists": True, "status": "RUNNING", "commands_generated": 1, "path": "x/y"}
        return known | {"parent_execution_id": parent}

    world.backend.answer("executions.exists", exists)
    for number, is_reached in ((EXECUTION_ID, True), (77, True), (OTHER, False)):
        answer = await world.client.get(f"/api/executions/{number}/status", auth=LOGIN)
        is_hidden = answer.json()["error"] == f"Execution not found: {number}"
        assert is_hidden != is_reached
    writing = await world.client.post("/api/vars/77", json={"variables": []}, auth=LOGIN)
    assert writing.json()["error"] == "Execution not found: 77"
    uri = f"noetl://execution/{OTHER}/result/x/1"
    foreign = await world.client.get("/api/result/resolve", params={"ref": uri}, auth=LOGIN)
    assert (foreign.status_code, world.backend.requests("result.resolve")) == (404, [])


async def test_its_children_belong_to_the_owner_of_its_execution(world: World) -> None:
    assert await post(world, "/api/execute", {"path": "demo/hello"}) == 200
    (message,) = world.backend.ingress

    assert message["parent_execution_id"] == EXECUTION_ID
    assert (message["owner"], message["namespace"]) == ("ada", "demo/")
    assert message["actor"] == f"command:{EXECUTION_ID}.{EVENT_ID}"


@pytest.mark.parametrize(
    ("path", "more"),
    [
        ("other/x", {}),
        ("system/steal", {}),
        ("demo/hello", {"execution_pool": "system"}),
        ("demo/hello", {"execution_pool": "gpu"}),
        ("demo/hello", {"parent_execution_id": str(OTHER)}),
    ],
)
async def test_its_children_stay_where_its_owner_is(
    world: World, path: str, more: dict[str, Any]
) -> None:
    entry = {"catalog_id": 11, "path": path, "version": 3, "kind": "playbook"}
    world.backend.answer("resolve", entry)

    assert await post(world, "/api/execute", {"path": path} | more) in {403, 404}
    assert world.backend.ingress == []


async def test_who_starts_is_the_owner_and_stays_in_his_namespaces_and_pools(
    nats_url: str,
) -> None:
    async with guarded_world(nats_url) as world:
        scoped = principal_of(Role.OPERATOR, name="ada", namespaces=("demo/", "team/a"))
        world.backend.answer("auth.resolve", {"principal": scoped})

        async def start(path: str, **more: Any) -> int:
            entry = {"catalog_id": 11, "path": path, "version": 3, "kind": "playbook"}
            world.backend.answer("resolve", entry)
            body = {"path": path, **more}
            headers = bearer(KEYS[Role.OPERATOR])
            return (await world.client.post("/api/execute", json=body, headers=headers)).status_code

        assert await start("demo/hello") == 200
        assert world.backend.requests("resolve")[-1]["principal"]["name"] == "ada"
        assert world.backend.ingress[-1]["owner"] == "ada"
        assert world.backend.ingress[-1]["namespace"] == "demo/"
        assert await start("demonstration/hello") == 404
        assert await start("system/steal") == 404
        assert await start("demo/hello", execution_pool="system") == 403
        assert await start("demo/hello", execution_pool="gpu") == 403
        assert len(world.backend.ingress) == 1


async def test_executions_outside_of_the_namespaces_are_not_there(nats_url: str) -> None:
    async with guarded_world(nats_url) as world:
        scoped = principal_of(Role.OPERATOR, name="ada", namespaces=("demo/",))
        world.backend.answer("auth.resolve", {"principal": scoped})

        def exists(asked: dict[str, Any]) -> dict[str, Any]:
            path = "demo/hello" if asked["execution_id"] == EXECUTION_ID else "other/x"
            return {"exists": True, "status": "RUNNING", "commands_generated": 1, "path": path}

        world.backend.answer("executions.exists", exists)
        headers = bearer(KEYS[Role.OPERATOR])

        async def cancel(number: int) -> int:
            path = f"/api/executions/{number}/cancel"
            return (await world.client.post(path, headers=headers)).status_code

        assert await cancel(EXECUTION_ID) == 200
        assert world.backend.ingress[-1]["actor"] == "ada"
        assert await cancel(OTHER) == 404
        assert (await world.get("/api/dashboard/stats", **headers)).status_code == 403
        replay = f"/api/replay/state?execution_id={OTHER}"
        assert (await world.get(replay, **headers)).status_code == 404
        listed = await world.get("/api/executions", **headers)
        assert listed.status_code == 404  # from the services here, which got the caller
        assert world.backend.requests("executions.list")[-1]["principal"]["namespaces"] == ["demo/"]


async def test_an_idempotency_key_is_its_sender_s_and_for_one_playbook(world: World) -> None:
    async def key_of(role: Role, path: str) -> str:
        entry = {"catalog_id": 11, "path": path, "version": 3, "kind": "playbook"}
        world.backend.answer("resolve", entry)
        headers = bearer(KEYS[role]) | {"idempotency-key": "same"}
        answer = await world.client.post("/api/execute", json={"path": path}, headers=headers)
        assert answer.status_code == 200
        return str(world.backend.ingress[-1]["idempotency_key"])

    first = await key_of(Role.OPERATOR, "demo/hello")

    assert await key_of(Role.OPERATOR, "demo/hello") == first
    assert await key_of(Role.AUTHOR, "demo/hello") != first
    assert await key_of(Role.OPERATOR, "demo/other") != first
