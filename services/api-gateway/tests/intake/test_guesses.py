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


async def _app(scope: Any, _receive: Any, send: Any) -> None:
    """Know one login."""
    login = dict(scope["headers"]).get(b"authorization")
    status = 200 if login == GOOD else 401
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


async def ask(shell: Shell, name: bytes, value: bytes, *, address: str = "10.0.0.1") -> Any:
    """Return status and headers of an answer."""
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "GET",
        "path": "/api/executions",
        "headers": [(name, value)],
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
