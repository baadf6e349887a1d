"""Clients that guess logins are refused for a while, without keeping others out."""

from ipaddress import ip_network
from typing import Any

import pytest
from noetl_api_gateway.http.shell import Door, Shell
from noetl_api_gateway.intake.bodies import BodyBudget
from noetl_api_gateway.intake.names import Origins, ServerNames
from noetl_api_gateway.intake.peers import Proxies
from noetl_api_gateway.rates import FailedLogins, Rate
from noetl_service.service import Service
from noetl_service.settings import ServiceSettings

GOOD = b"Bearer good"
PLACE = "/api/executions"


async def _app(scope: Any, _receive: Any, send: Any) -> None:
    """Know one login, on the one route that asks for any."""
    shown = [value for name, value in scope["headers"] if not value.startswith(b"Basic")]
    status = 404
    if scope["path"] == PLACE:
        status = 200 if shown == [GOOD] else 401
    if status == 200:
        scope["user"] = "somebody"
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


@pytest.fixture
def shell() -> Shell:
    names = ServerNames((), bound_to="127.0.0.1")
    door = Door(
        names,
        Origins((), names, is_open=False),
        BodyBudget(1 << 20),
        FailedLogins(Rate(per_second=0.01, burst=3)),
        Proxies([ip_network("10.0.9.0/24")]),
    )
    return Shell(_app, door=door, service=Service("edge", ServiceSettings()))


async def ask(
    shell: Shell, name: bytes, value: bytes, *, address: str = "10.0.0.1", path: str = PLACE
) -> Any:
    """Return status and headers of an answer."""
    return await ask_with(shell, [(name, value)], address=address, path=path)


async def ask_with(
    shell: Shell,
    headers: list[tuple[bytes, bytes]],
    *,
    address: str = "10.0.0.1",
    path: str = PLACE,
) -> Any:
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "headers": headers,
        "client": (address, 1),
    }
    await shell(scope, receive, send)
    return sent[0]["status"], dict(sent[0]["headers"])


@pytest.mark.parametrize("name", [b"authorization", b"x-session-token"])
async def test_guesses_of_an_address_are_few(shell: Shell, name: bytes) -> None:
    await ask(shell, b"authorization", GOOD)
    guesses = [await ask(shell, name, b"Bearer %d" % number) for number in range(6)]

    assert [status for status, _ in guesses] == [401] * 3 + [429] * 3
    assert int(guesses[-1][1][b"retry-after"]) > 1
    assert (await ask(shell, b"authorization", GOOD))[0] == 200
    assert (await ask(shell, name, b"Bearer 0"))[0] == 401
    assert (await ask(shell, name, b"Bearer 9", address="10.0.0.2"))[0] == 401


async def test_logins_of_commands_are_no_guesses(shell: Shell) -> None:
    answers = [await ask(shell, b"authorization", b"Basic %d" % number) for number in range(6)]

    assert {status for status, _ in answers} == {401}


async def test_a_route_that_asks_for_no_login_proves_none(shell: Shell) -> None:
    statuses = []
    for number in range(6):
        await ask(shell, b"authorization", b"Bearer %d" % number, path="/api/nothing")
        statuses.append((await ask(shell, b"authorization", b"Bearer %d" % number))[0])

    assert statuses == [401] * 3 + [429] * 3


@pytest.mark.parametrize(
    "beside",
    [
        (b"authorization", b"Basic bm9ib2R5Og=="),
        (b"authorization", GOOD),
        (b"x-session-token", b"0"),
    ],
)
async def test_a_guess_counts_whatever_else_is_sent(
    shell: Shell, beside: tuple[bytes, bytes]
) -> None:
    await ask_with(shell, [beside])
    guesses = [
        await ask_with(shell, [(b"x-session-token", b"guess %d" % number), beside])
        for number in range(6)
    ]

    assert [status for status, _ in guesses][3:] == [429] * 3


async def test_guesses_by_a_proxy_count_for_their_client(shell: Shell) -> None:
    async def by(address: str, client: str, number: int) -> int:
        token = (b"x-session-token", b"%b %d" % (client.encode(), number))
        headers = [(b"x-forwarded-for", b"8.8.8.8, " + client.encode()), token]
        status: int = (await ask_with(shell, headers, address=address))[0]
        return status

    guesser = [await by("10.0.9.1", "1.1.1.1", number) for number in range(6)]
    elsewhere = [await by("10.0.9.2", "1.1.1.1", number) for number in range(6, 9)]
    another = [await by("10.0.9.1", "1.1.1.2", number) for number in range(3)]
    # Of somebody who only says that he is a proxy.
    liar = [await by("10.0.8.1", f"1.1.2.{number}", number) for number in range(6)]

    assert guesser == [401] * 3 + [429] * 3
    assert elsewhere == [429] * 3
    assert another == [401] * 3
    assert liar == [401] * 3 + [429] * 3


async def test_keys_are_nothing_to_guess(shell: Shell) -> None:
    keys = [b"Bearer nk_a%d_%b" % (number, b"A" * 43) for number in range(10)]
    answers = [await ask(shell, b"authorization", key) for key in keys]
    beside = [
        await ask_with(shell, [(b"authorization", key), (b"x-session-token", b"guess of " + key)])
        for key in keys
    ]

    assert {status for status, _ in answers} == {401}
    assert [status for status, _ in beside] == [401] * 3 + [429] * 7
