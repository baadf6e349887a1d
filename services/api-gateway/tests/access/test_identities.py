"""Authentication: keys, sessions, capabilities, addresses, and two credentials at once."""

import asyncio
import base64
import secrets
from typing import Any

import pytest
from noetl_api_gateway.access.identities import Identities
from noetl_api_gateway.http.refusals import Refusal
from noetl_contract.access.rights import Role
from noetl_contract.subjects import ACCESS_HINT
from noetl_testkit.waiting import PATIENCE_SECONDS, eventually, unless_it_hangs

from ..conftest import EXECUTION_ID, IMPATIENT, World, make_settings, make_world
from .callers import (
    COMMAND_KEY,
    INTERNAL,
    KEYS,
    bearer,
    command_login,
    guarded_world,
    new_key,
    principal_of,
    resolve_keys,
)

EVENT_ID = 325077236516646912
VIEWER, ADMIN = KEYS[Role.VIEWER], KEYS[Role.ADMIN]
PLACE = "/api/pool/status"


def unasked_identities() -> Identities:
    """Return identities that are found out without any service."""

    def services() -> Any:
        raise AssertionError("a service was asked")

    settings = make_settings("", internal_api_token=INTERNAL)
    return Identities(settings, services, command_key=COMMAND_KEY.encode())


def showing(authorization: str) -> dict[str, Any]:
    return {"headers": [(b"authorization", authorization.encode())]}


def _basic(login: tuple[str, str]) -> str:
    return base64.b64encode(":".join(login).encode()).decode()


def basic(user: str, password: str) -> dict[str, Any]:
    return showing("Basic " + _basic((user, password)))


@pytest.mark.parametrize(
    "scope", [basic(*command_login(EXECUTION_ID, EVENT_ID)), showing(f"Bearer {INTERNAL}")]
)
async def test_what_was_proven_once_is_the_same_caller_at_once(scope: dict[str, Any]) -> None:
    identities = unasked_identities()

    assert await identities.of(scope) is await identities.of(scope)


async def test_a_proof_proves_no_other_attempt_and_no_other_command() -> None:
    identities = unasked_identities()
    user, password = command_login(EXECUTION_ID, EVENT_ID)
    assert await identities.of(basic(user, password)) is not None

    mac = password.partition(".")[2]
    for scope in (basic(user, f"2.{mac}"), basic(f"{EXECUTION_ID}.7", password)):
        with pytest.raises(Refusal) as refused:
            await identities.of(scope)
        assert refused.value.status == 401


def session(token: str) -> dict[str, str]:
    return {"x_session_token": token}


async def status(world: World, **headers: str) -> int:
    return (await world.get(PLACE, **headers)).status_code


async def test_a_key_counts_in_either_header_and_in_both(nats_url: str) -> None:
    async with guarded_world(nats_url) as world:
        assert await status(world, **bearer(VIEWER)) == 200
        assert await status(world, **session(VIEWER)) == 200
        assert await status(world, **bearer(VIEWER), **session(VIEWER)) == 200
        assert len(world.backend.requests("auth.resolve")) == 1


async def test_two_callers_at_once_are_refused(nats_url: str) -> None:
    async with guarded_world(nats_url) as world:
        twice = [("authorization", f"Bearer {VIEWER}"), ("authorization", f"Bearer {VIEWER}")]

        assert await status(world, **bearer(VIEWER), **session(ADMIN)) == 401
        assert await status(world, **bearer(INTERNAL), **session(ADMIN)) == 401
        assert (await world.client.get(PLACE, headers=twice)).status_code == 401
        mixed = await world.client.get(
            PLACE, headers={"x-session-token": ADMIN}, auth=command_login(EXECUTION_ID, EVENT_ID)
        )
        assert mixed.status_code == 401


@pytest.mark.parametrize(
    "value",
    [
        "",
        "Bearer",
        "Token abc",
        "Bearer nk_unknown_x",
        pytest.param(f"Bearer {new_key()}", id="a key of nobody"),
        pytest.param("Bearer " + "x" * 20_000, id="a long token"),
        "Bearer a.b.c",
        "Bearer \xe9",
        "Basic ***",
        "Basic Og==",
    ],
)
async def test_what_is_no_login_is_nobody_s(nats_url: str, value: str) -> None:
    async with guarded_world(nats_url) as world:
        answer = await world.client.get(
            PLACE, headers=[(b"authorization", value.encode("latin-1"))]
        )

        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"


async def test_a_revoked_key_is_refused_within_a_second_on_every_edge(nats_url: str) -> None:
    revoked: set[str] = set()

    def resolve(request: dict[str, Any]) -> dict[str, Any]:
        return {"reason": "revoked"} if request["token"] in revoked else resolve_keys(request)

    async with guarded_world(nats_url) as world:
        world.backend.answer("auth.resolve", resolve)
        assert await status(world, **bearer(VIEWER)) == 200
        revoked.add(VIEWER)
        assert await status(world, **bearer(VIEWER)) == 200  # remembered
        await world.backend.bus.send(ACCESS_HINT, b'{"revoked":["x"]}')

        async def is_refused() -> bool:
            return await status(world, **bearer(VIEWER)) == 401

        async with unless_it_hangs():
            await eventually(is_refused, what="the key opens nothing")


async def test_a_stream_that_is_open_ends_with_its_key(nats_url: str) -> None:
    revoked: set[str] = set()
    place = f"/api/executions/{EXECUTION_ID}/events/stream"

    def resolve(request: dict[str, Any]) -> dict[str, Any]:
        return {"reason": "revoked"} if request["token"] in revoked else resolve_keys(request)

    async with guarded_world(nats_url) as world:
        page = {
            "events": [],
            "status": "RUNNING",
            "position": 0,
            "after_position": 0,
            "has_secrets": False,
        }
        world.backend.answer("executions.tail", page)
        world.backend.answer("auth.resolve", resolve)
        async with (
            world.client.stream("GET", place, headers=bearer(VIEWER)) as theirs,
            world.client.stream("GET", place, headers=bearer(ADMIN)) as ours,
        ):
            assert (theirs.status_code, ours.status_code) == (200, 200)
            goes_on = asyncio.create_task(ours.aread())
            revoked.add(VIEWER)
            await world.backend.bus.send(ACCESS_HINT, b'{"revoked":["x"]}')

            async with unless_it_hangs():
                await theirs.aread()
            assert not goes_on.done()
            goes_on.cancel()


async def test_a_look_up_under_way_is_not_remembered_after_a_revocation(nats_url: str) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slowly(request: dict[str, Any]) -> dict[str, Any]:
        begun.set()
        await go_on.wait()
        return resolve_keys(request)

    async with guarded_world(nats_url, request_try_seconds=5, request_patience_seconds=5) as world:
        world.backend.answer("auth.resolve", slowly)
        asking = asyncio.create_task(status(world, **bearer(VIEWER)))
        await begun.wait()
        assert world.shell.service.gatekeeper is not None  # type: ignore[attr-defined]
        world.shell.service.gatekeeper.identities.forget()  # type: ignore[attr-defined]
        go_on.set()
        await asking
        world.backend.answer("auth.resolve", {"reason": "revoked"})

        assert await status(world, **bearer(VIEWER)) == 401


async def test_a_key_is_not_remembered_beyond_its_end(nats_url: str) -> None:
    async with guarded_world(nats_url) as world:
        past = principal_of(Role.VIEWER) | {"expires_at": "2020-01-01T00:00:00Z"}
        world.backend.answer("auth.resolve", {"principal": past})

        assert await status(world, **bearer(VIEWER)) == 401


async def test_a_catalog_that_is_away_is_503_and_not_401(nats_url: str) -> None:
    async with guarded_world(nats_url, **IMPATIENT) as world:
        go_on = asyncio.Event()
        world.backend.answer("auth.resolve", lambda _request: go_on.wait())

        assert await status(world, **bearer(VIEWER)) == 503
        go_on.set()


async def test_a_session_is_asked_for_with_the_credential_that_is_configured(nats_url: str) -> None:
    user = {"user_id": 1, "email": "ada@example.com", "display_name": "Ada", "roles": ["ops"]}

    def grants(request: dict[str, Any]) -> dict[str, Any]:
        assert request["kind"] == "session"
        assert request["values"] == ["roles:ops"]
        return {"principal": principal_of(Role.VIEWER, name=request["subject"], kind="session")}

    async with guarded_world(nats_url, auth_session_credential="pg_sessions") as world:
        world.backend.answer(
            "sessions.validate",
            lambda request: {
                "status": "ok",
                "valid": request["session_token"] == "s3ss10n",
                "user": user if request["session_token"] == "s3ss10n" else None,
                "expires_at": "2099-01-01T00:00:00Z",
                "error": None,
            },
        )
        world.backend.answer("auth.grants", grants)

        assert await status(world, **session("s3ss10n"), **bearer("s3ss10n")) == 200
        assert await status(world, **session("other")) == 401
        asked = world.backend.requests("sessions.validate")
        assert {one["credential"] for one in asked} == {"pg_sessions"}
        assert len(asked) == 2


async def test_sessions_open_nothing_unless_they_are_configured(nats_url: str) -> None:
    async with guarded_world(nats_url) as world:
        assert await status(world, **session("s3ss10n")) == 401
        assert world.backend.requests("sessions.validate") == []


async def test_an_address_is_somebody_only_without_a_login(nats_url: str) -> None:
    trusted = "gateway:10.0.3.0/24,gateway:127.0.0.0/8"
    async with guarded_world(nats_url, trusted_clients=trusted) as world:
        assert await status(world) == 200
        assert (await world.get("/api/credentials")).status_code == 403
        assert await status(world, **bearer("wrong")) == 401
        assert (await world.get("/api/executions", **session(ADMIN))).status_code != 403


PROXIES = "gateway:10.1.0.0/16,pages:10.2.0.0/16,worker:10.3.0.0/16"
HEADERS = {
    "nothing": {},
    "own session": session(VIEWER),
    "unknown session": session("s3ss10n-of-the-gateway"),
    "revoked key as session": session(new_key()),
    "unknown session, own bearer": {**session("s3ss10n"), **bearer(VIEWER)},
    "unknown bearer": bearer("nk_nobody"),
    "own bearer": bearer(VIEWER),
    "command": {"authorization": "Basic " + _basic(command_login(EXECUTION_ID, EVENT_ID))},
    "command, unknown session": {
        "authorization": "Basic " + _basic(command_login(EXECUTION_ID, EVENT_ID)),
        **session("s3ss10n"),
    },
}
OWN, COMMAND = "the viewer", f"command:{EXECUTION_ID}.{EVENT_ID}"
GATEWAY, PAGES, WORKER = "gateway@10.1.0.0/16", "pages@10.2.0.0/16", "worker@10.3.0.0/16"


@pytest.mark.parametrize(
    ("shown", "anywhere", "gateway", "pages", "worker"),
    [
        ("nothing", None, GATEWAY, PAGES, WORKER),
        ("own session", OWN, OWN, OWN, OWN),
        # A gateway knows its users itself; only it may pass on an unknown session.
        ("unknown session", 401, GATEWAY, PAGES, 401),
        # A key is of this server, so a gateway can't know it better.
        ("revoked key as session", 401, 401, 401, 401),
        ("unknown session, own bearer", 401, 401, 401, 401),
        ("unknown bearer", 401, 401, 401, 401),
        ("own bearer", OWN, OWN, OWN, OWN),
        ("command", COMMAND, COMMAND, COMMAND, COMMAND),
        ("command, unknown session", 401, 401, 401, 401),
    ],
)
async def test_who_calls_by_headers_and_address(
    nats_url: str, *, shown: str, anywhere: Any, gateway: Any, pages: Any, worker: Any
) -> None:
    addresses = {"192.168.1.1": anywhere, "10.1.2.3": gateway, "10.2.2.3": pages}
    addresses |= {"::ffff:10.2.2.3": pages, "10.3.2.3": worker}
    async with guarded_world(nats_url, trusted_clients=PROXIES) as world:
        identities = world.shell.service.gatekeeper.identities  # type: ignore[attr-defined]
        found = {}
        for address in addresses:
            sent = [
                (name.replace("_", "-").encode(), value.encode())
                for name, value in HEADERS[shown].items()
            ]
            try:
                principal = await identities.of({"headers": sent, "client": (address, 1)})
                found[address] = principal and principal.name
            except Refusal as refusal:
                found[address] = refusal.status

    assert found == addresses


async def test_an_address_is_not_taken_from_headers(nats_url: str) -> None:
    async with guarded_world(nats_url, trusted_clients="gateway:10.0.3.0/24") as world:
        spoofed = {"x_forwarded_for": "10.0.3.7", "forwarded": "for=10.0.3.7"}

        assert await status(world, **spoofed) == 401


async def test_an_address_is_nobody_s_behind_a_proxy(nats_url: str) -> None:
    """Neither the address that a proxy names nor the proxy's own counts."""
    trusted = {"trusted_clients": "gateway:127.0.0.0/8,gateway:10.0.3.0/24"}
    forwarded = {"x_forwarded_for": "10.0.3.7"}
    async with guarded_world(nats_url, **trusted, trusted_proxies="127.0.0.0/8") as world:
        assert await status(world) == await status(world, **forwarded) == 401
        assert await status(world, **forwarded, **bearer(VIEWER)) == 200
        # A page's calls of our own, which have none of the headers, are the proxy's too.
        pages = [await world.get("/console/", **one) for one in ({}, forwarded)]
        assert {page.status_code for page in pages} <= {303, 401}
    async with guarded_world(nats_url, **trusted) as world:
        assert await status(world, **forwarded) == 200


async def test_a_good_key_is_let_in_while_others_are_guessed(
    nats_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many guesses are being looked up, even a key that this edge has not seen before."""
    monkeypatch.setattr("noetl_api_gateway.access.identities._PLACE_SECONDS", PATIENCE_SECONDS)
    begun, go_on = asyncio.Event(), asyncio.Event()
    count = 0

    async def slowly(request: dict[str, Any]) -> dict[str, Any]:
        nonlocal count
        count += 1
        if count >= 64:
            begun.set()
        await go_on.wait()
        return resolve_keys(request)

    async with guarded_world(nats_url) as world:
        world.backend.answer("auth.resolve", slowly)
        guesses = [asyncio.create_task(status(world, **bearer(new_key()))) for _ in range(200)]
        await begun.wait()
        good = asyncio.create_task(status(world, **bearer(VIEWER)))
        await asyncio.sleep(0)
        go_on.set()

        assert await good == 200
        assert set(await asyncio.gather(*guesses)) == {401}
        assert await status(world, **bearer(ADMIN)) == 200


async def test_the_internal_routes_take_a_login_with_the_right(nats_url: str) -> None:
    async with guarded_world(nats_url) as world:
        world.backend.answer("outbox.pending", {"pending": 3})
        path = "/api/internal/outbox/pending-count"

        assert (await world.get(path, **bearer(KEYS[Role.SYSTEM]))).json() == {"pending": 3}
        assert (await world.get(path, **bearer(ADMIN))).status_code == 200
        assert (await world.get(path, **bearer(KEYS[Role.AUTHOR]))).status_code == 403


async def test_without_a_need_for_logins_all_is_as_ever(nats_url: str) -> None:
    async with make_world(nats_url) as world:
        assert await status(world) == 200
        assert await status(world, **bearer("anything")) == 200
        assert await status(world, authorization="Basic ***") == 200


async def test_who_is_known_stays_in_while_others_guess_from_the_same_address(
    nats_url: str,
) -> None:
    async with guarded_world(nats_url, rate_limits="failed_logins 1/min 2") as world:
        assert await status(world, **bearer(ADMIN)) == 200
        # Known too, though it lacks the right.
        assert (await world.get("/api/admin/keys", **bearer(VIEWER))).status_code == 403
        for guess in (secrets.token_hex(8) for _ in range(4)):
            await world.get("/api/nothing", **bearer(guess))
            last = await status(world, **bearer(guess))

        assert last == 429
        assert await status(world, **bearer(ADMIN)) == await status(world, **bearer(VIEWER)) == 200
