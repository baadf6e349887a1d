"""Calls of the console to its own process."""

from typing import Any

import pytest
from noetl_api_gateway.http.refusals import Refusal
from noetl_api_gateway.routes import own_calls
from noetl_api_gateway.routes.own_calls import OwnCalls

SCOPE = {
    "type": "http",
    "method": "GET",
    "path": "/console",
    "client": ("10.0.0.9", 5),
    "scheme": "https",
    "extensions": {"names": ["ann"]},
    "litestar_app": object(),
    "headers": [
        (b"host", b"noetl.example"),
        (b"cookie", b"noetl_console=k"),
        (b"origin", b"https://noetl.example"),
        (b"authorization", b"Bearer other"),
        (b"traceparent", b"00-1-2-01"),
    ],
}


class Echo:
    """An application that records its requests."""

    def __init__(self, *parts: bytes) -> None:
        self.parts = parts or (b"{}",)
        self.scope: dict[str, Any] = {}
        self.body = b""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scope = dict(scope)
        self.body = (await receive())["body"]
        await send({"type": "http.response.start", "status": 201, "headers": []})
        for part in self.parts:
            await send({"type": "http.response.body", "body": part, "more_body": True})


async def test_a_call_has_the_address_of_the_page_and_the_login_of_its_cookie() -> None:
    echo = Echo(b"a", b"b")

    answer = await OwnCalls(echo, SCOPE, "k")("POST", "/noetl/a%20b%2Fc", {"q": "x y"}, b"{}")

    scope = echo.scope
    assert (answer.status, answer.body, echo.body) == (201, b"ab", b"{}")
    assert (scope["path"], scope["raw_path"]) == ("/noetl/a b/c", b"/noetl/a%20b%2Fc")
    assert scope["query_string"] == b"q=x+y"
    assert (scope["client"], scope["scheme"]) == (("10.0.0.9", 5), "https")
    assert scope["extensions"] == {"names": ["ann"]}
    assert "litestar_app" not in scope
    assert dict(scope["headers"]) == {
        b"host": b"noetl.example",
        b"traceparent": b"00-1-2-01",
        b"authorization": b"Bearer k",
        b"content-type": b"application/json",
        b"content-length": b"2",
    }
    assert len(scope["headers"]) == 5


async def test_without_a_cookie_the_login_of_the_page_request_counts() -> None:
    echo = Echo()

    await OwnCalls(echo, SCOPE, "")("GET", "/noetl/executions", {}, None)

    assert dict(echo.scope["headers"])[b"authorization"] == b"Bearer other"


async def test_an_answer_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_calls, "_MOST_BYTES", 10)

    with pytest.raises(Refusal, match="more than 10 bytes"):
        await OwnCalls(Echo(b"x" * 6, b"x" * 6), SCOPE, "")("GET", "/noetl/executions", {}, None)
