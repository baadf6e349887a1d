"""Raw bodies, as they come in pieces, as often as they are read."""

import pytest
from litestar import Request
from litestar.exceptions.http_exceptions import RequestEntityTooLarge
from litestar.types import ReceiveMessage
from noetl_api_gateway.http.bodies import AnyRequest, ClientGoneError, read_bytes

LARGE = b"x" * 5000


def _request(*events: ReceiveMessage) -> AnyRequest:
    """Return a request whose client sends this and then nothing, for ever."""
    left = list(events)

    async def receive() -> ReceiveMessage:
        return left.pop(0)

    class _Handler:
        def resolve_request_max_body_size(self) -> int:
            return 1 << 20

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/",
        "headers": [],
        "state": {},
        "route_handler": _Handler(),
    }
    return Request(scope, receive)  # type: ignore[arg-type]  # as much of one as bodies need


def _piece(body: bytes, *, more: bool = False) -> ReceiveMessage:
    return {"type": "http.request", "body": body, "more_body": more}


@pytest.mark.parametrize(
    ("pieces", "whole"),
    [
        ([_piece(b"{}")], b"{}"),
        ([_piece(b"")], b""),
        ([_piece(LARGE)], LARGE),
        ([_piece(b"{", more=True), _piece(b"}")], b"{}"),
        ([_piece(LARGE, more=True), _piece(b"", more=True), _piece(b"}")], LARGE + b"}"),
    ],
)
async def test_a_body_is_read_as_often_as_somebody_wants_it(
    pieces: list[ReceiveMessage], whole: bytes
) -> None:
    request = _request(*pieces)

    assert [await read_bytes(request) for _ in range(3)] == [whole] * 3
    assert await request.body() == whole


async def test_what_is_announced_as_too_large_is_refused_before_it_is_read() -> None:
    request = _request()
    request.scope["headers"] = [(b"content-length", b"5000000000")]

    with pytest.raises(RequestEntityTooLarge):
        await read_bytes(request)


@pytest.mark.parametrize("before", [[], [_piece(b"{", more=True)]])
async def test_a_client_that_leaves_sends_no_body(before: list[ReceiveMessage]) -> None:
    request = _request(*before, {"type": "http.disconnect"})

    with pytest.raises(ClientGoneError):
        await read_bytes(request)
