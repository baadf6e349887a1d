"""Clients that guess logins: told to wait, without keeping others from theirs."""

from typing import Any

import pytest
from noetl_api_gateway.http.shell import Door, Shell
from noetl_api_gateway.intake.bodies import BodyBudget
from noetl_api_gateway.intake.names import Origins, ServerNames
from noetl_api_gateway.rates import FailedLogins, Rate
from noetl_common.service import Service
from noetl_common.settings import ServiceSettings

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
