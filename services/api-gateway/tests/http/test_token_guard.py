"""The bearer gate, row by row."""

from collections.abc import AsyncIterator

import httpx
import pytest
from litestar import Litestar, get
from litestar.datastructures import State
from noetl_api_gateway.app import EXCEPTIONS
from noetl_api_gateway.http.token_guard import (
    INTERNAL_TOKEN_STATE,
    internal_token_guard,
    optional_token_guard,
)
from pydantic import SecretStr

NOT_CONFIGURED = (
    "Internal API not configured: NOETL_INTERNAL_API_TOKEN env var unset on the server. Set it "
    "to the system worker pool's ServiceAccount token before calling /api/internal/* endpoints."
)
NO_HEADER = "Internal API requires Authorization header with Bearer token."
NOT_ASCII = "Internal API Authorization header is not valid ASCII."
NOT_BEARER = "Internal API requires 'Bearer <token>' Authorization scheme."
WRONG = "Invalid service-account token for /api/internal/*."


@get("/gated", guards=[internal_token_guard], media_type="text/plain")
async def gated() -> str:
    return "in"


@get("/optional", guards=[optional_token_guard], media_type="text/plain")
async def optional() -> str:
    return "in"


@pytest.fixture
async def client(request: pytest.FixtureRequest) -> AsyncIterator[httpx.AsyncClient]:
    app = Litestar(
        [gated, optional],
        exception_handlers=EXCEPTIONS,
        state=State({INTERNAL_TOKEN_STATE: SecretStr(request.param)}),
        openapi_config=None,
        logging_config=None,
    )
    transport = httpx.ASGITransport(app=app)  # type: ignore[arg-type] # spelt with closed types
    async with httpx.AsyncClient(transport=transport, base_url="http://edge") as opened:
        yield opened


@pytest.mark.parametrize("client", ["right\n"], indirect=True)
@pytest.mark.parametrize("path", ["/gated", "/optional"])
@pytest.mark.parametrize(
    ("sent", "text"),
    [
        (None, NO_HEADER),
        ("Bearer s\N{LATIN SMALL LETTER E WITH ACUTE}".encode(), NOT_ASCII),
        (b"Basic right", NOT_BEARER),
        (b"Bearer  ", NOT_BEARER),
        (b"right", NOT_BEARER),
        (b"Bearer wrong", WRONG),
        (b"Bearer righter", WRONG),
        (b"bearer right", None),
        (b"BEARER   right ", None),
    ],
)
async def test_configured_gate(
    client: httpx.AsyncClient, path: str, sent: bytes | None, text: str | None
) -> None:
    headers: dict[bytes, bytes] = {} if sent is None else {b"authorization": sent}
    answer = await client.get(path, headers=headers)

    if text is None:
        assert (answer.status_code, answer.text) == (200, "in")
    else:
        assert answer.status_code == 403
        assert answer.json() == {"error": text, "status": 403, "detail": text}


@pytest.mark.parametrize("client", ["", " \n"], indirect=True)
async def test_gate_without_a_token(client: httpx.AsyncClient) -> None:
    shut = await client.get("/gated", headers={"authorization": "Bearer x"})
    opened = await client.get("/optional")

    assert (shut.status_code, shut.json()["error"]) == (503, NOT_CONFIGURED)
    assert (opened.status_code, opened.text) == (200, "in")
