"""Requests of a page behind a gateway: a token's holder, its rights, and changes of executions."""

import orjson
from noetl_contract.access.rights import Role
from noetl_contract.json import JsonObject
from noetl_contract.subjects import event_subject
from noetl_testkit.waiting import eventually, unless_it_hangs

from ...access.callers import KEYS, guarded_world
from ...conftest import EXECUTION_ID, World
from .open_page import messages


def is_told(event: str, status: str | None = None) -> JsonObject:
    return {
        "execution_id": str(EXECUTION_ID),
        "event_type": event,
        "node_name": "start",
        "status": status,
        "created_at": "2026-06-15T09:18:22.901000Z",
    }


async def test_where_no_login_is_needed_each_token_is_good(world: World) -> None:
    valid = await world.post("/api/auth/validate", {"session_token": "t"})
    wanted = {"session_token": "t", "playbook_path": "a/b", "permission_type": "execute"}
    access = await world.post("/noetl/auth/check-access", wanted)

    user = {"user_id": 0, "email": "local", "display_name": "local", "roles": ["admin"]}
    assert valid.json() == {
        "valid": True,
        "user": user,
        "expires_at": None,
        "message": "Session is valid",
    }
    assert valid.headers["cache-control"] == "no-store"
    assert access.json() == {
        "allowed": True,
        "user": user,
        "playbook_path": "a/b",
        "permission_type": "execute",
        "message": "Access granted",
    }


async def test_a_page_hears_what_happens(world: World) -> None:
    path = "/events?session_token=t&client_id=mine"
    async with unless_it_hangs(), world.client.stream("GET", path) as answer:
        told = messages(answer.aiter_lines())
        _, hello = await anext(told)
        name, ping = await anext(told)
        subject = event_subject(EXECUTION_ID, shard=0)
        for event in (is_told("command.failed"), {"event_type": 7}, is_told("step.exit", "X")):
            await world.backend.bus.send(subject, orjson.dumps(event))
        await world.backend.bus.send(subject, orjson.dumps(is_told("playbook.failed")))
        heard = []
        while len(heard) < 2:
            kind, body = await anext(told)
            if kind == "playbook/state":
                heard.append(body["params"])
        beat, _ = await anext(told)

    assert (hello["result"]["clientId"], hello["result"]["protocolVersion"]) == (
        "mine",
        "2024-11-05",
    )
    assert (name, ping) == ("ping", {"jsonrpc": "2.0", "method": "ping", "params": {}})
    at = "2026-06-15T09:18:22.901000Z"
    number = str(EXECUTION_ID)
    assert heard == [
        {
            "execution_id": number,
            "event_type": "step.exit",
            "step_name": "start",
            "status": "X",
            "at": at,
        },
        {
            "execution_id": number,
            "event_type": "playbook.failed",
            "step_name": "start",
            "status": "FAILED",
            "at": at,
        },
    ]
    assert beat == "ping"
    await eventually(lambda: not world.shell.service.opened_gateway().places.taken, what="left")


async def test_a_token_is_looked_at_where_logins_are_needed(nats_url: str) -> None:
    key = KEYS[Role.VIEWER]
    async with guarded_world(nats_url) as world:
        mine = (await world.post("/api/auth/validate", {"session_token": key})).json()
        wanted = {"session_token": key, "playbook_path": "mine/p", "permission_type": "execute"}
        starts = (await world.post("/api/auth/check-access", wanted)).json()
        looks = wanted | {"permission_type": "view"}
        views = (await world.post("/api/auth/check-access", looks)).json()
        guessed = (await world.post("/api/auth/validate", {"session_token": "x"})).json()
        nothing = (await world.post("/api/auth/validate", {"session_token": " "})).json()
        refused = (await world.get("/events?session_token=x")).text
        worker = (await world.get(f"/events?session_token={KEYS[Role.SECRETS]}")).text

    assert (mine["valid"], mine["user"]["roles"]) == (True, ["viewer"])
    assert (starts["allowed"], starts["message"]) == (False, "Access denied")
    assert views["allowed"] is True
    invalid = {
        "valid": False,
        "user": None,
        "expires_at": None,
        "message": "Invalid or expired session",
    }
    assert guessed == nothing == invalid
    assert refused.startswith("event: error\ndata: ")
    assert ('"code":-32002' in refused, '"code":-32003' in worker) == (True, True)


async def test_guessed_tokens_are_few(nats_url: str) -> None:
    settings = {"rate_limiting": "on", "rate_limits": "failed_logins 1/min 2"}
    async with guarded_world(nats_url, **settings) as world:
        statuses = [
            (await world.post("/api/auth/validate", {"session_token": token})).status_code
            for token in ("a", "b", "a", "c")
        ]

    assert statuses == [200, 200, 200, 429]


async def test_a_page_that_may_not_read_any_more_is_let_go(nats_url: str) -> None:
    key = KEYS[Role.VIEWER]
    async with (
        unless_it_hangs(),
        guarded_world(nats_url) as world,
        world.client.stream("GET", f"/events?session_token={key}") as answer,
    ):
        told = messages(answer.aiter_lines())
        await anext(told)
        world.backend.answer("auth.resolve", {"reason": "revoked"})
        world.shell.service.gatekeeper.identities.forget()
        left = [name async for name, _ in told]

    assert set(left) == {"ping"}
