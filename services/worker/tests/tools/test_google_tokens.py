"""Google's application-default credentials against a local token and metadata server."""

import base64
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import httpx
import orjson
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from noetl_testkit.waiting import PATIENCE_SECONDS
from noetl_worker.bounded_http import open_tool_client
from noetl_worker.settings import Settings
from noetl_worker.tools.google_tokens import CLOUD_PLATFORM, GoogleTokens
from noetl_worker.tools.http.http import Http
from noetl_worker.tools.http.repeat import RepeatLimits
from noetl_worker.tools.registry import ToolRegistry
from noetl_worker.tools.tool import ToolContext, ToolError
from tool_server import Asked, Said, ToolServer, tool_server


def answer(asked: Asked) -> Said:
    life = 0 if asked.query.get("scopes") == "short" else 3600
    return Said({"access_token": f"ya29.{asked.path}", "expires_in": life, "token_type": "Bearer"})


@pytest.fixture
def server() -> Iterator[ToolServer]:
    with tool_server(answer) as running:
        yield running


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with open_tool_client(seconds=PATIENCE_SECONDS, trust_env=False) as opened:
        yield opened


@pytest.fixture(autouse=True)
def _no_gcloud(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))


def tokens(client: httpx.AsyncClient, server: ToolServer, file: Path | None = None) -> GoogleTokens:
    host = server.url.removeprefix("http://")
    settings = Settings(google_metadata_host=host, google_credentials=str(file or ""))
    return GoogleTokens(client, settings)


async def test_the_metadata_server_is_asked_once(
    client: httpx.AsyncClient, server: ToolServer
) -> None:
    google = tokens(client, server)

    found = {await google.token(), await google.token([CLOUD_PLATFORM])}
    await google.token(["a", "b"])

    path = "/computeMetadata/v1/instance/service-accounts/default/token"
    assert found == {f"ya29.{path}"}
    assert [one.query["scopes"] for one in server.asked] == [CLOUD_PLATFORM, "a,b"]
    assert server.asked[0].headers["metadata-flavor"] == "Google"


async def test_a_token_at_its_end_is_fetched_anew(
    client: httpx.AsyncClient, server: ToolServer
) -> None:
    google = tokens(client, server)
    for _ in range(2):
        await google.token(["short"])

    assert len(server.asked) == 2


def form_of(asked: Asked) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(asked.data.decode()).items()}


async def test_a_service_account_signs_its_request(
    client: httpx.AsyncClient, server: ToolServer, tmp_path: Path
) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    file = tmp_path / "key.json"
    account = {
        "type": "service_account", "client_email": "me@x", "private_key": pem.decode(),
        "private_key_id": "k1", "token_uri": f"{server.url}/token",
    }  # fmt: skip
    file.write_bytes(orjson.dumps(account))

    assert await tokens(client, server, file).token(["s1", "s2"]) == "ya29./token"

    form = form_of(server.asked[0])
    signed, _, signature = form["assertion"].rpartition(".")
    unpacked = [base64.urlsafe_b64decode(part + "==") for part in (*signed.split("."), signature)]
    key.public_key().verify(unpacked[2], signed.encode(), padding.PKCS1v15(), hashes.SHA256())
    header, claims = (orjson.loads(part) for part in unpacked[:2])
    assert form["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
    assert header == {"alg": "RS256", "typ": "JWT", "kid": "k1"}
    assert (claims["iss"], claims["scope"], claims["aud"]) == (
        "me@x",
        "s1 s2",
        f"{server.url}/token",
    )
    assert claims["exp"] - claims["iat"] == 3600


async def test_a_user_refreshes(
    client: httpx.AsyncClient, server: ToolServer, tmp_path: Path
) -> None:
    file = tmp_path / ".config/gcloud/application_default_credentials.json"
    file.parent.mkdir(parents=True)
    user = {"client_id": "c", "client_secret": "s", "refresh_token": "r"}
    stored = {"type": "authorized_user", "token_uri": f"{server.url}/refresh", **user}
    file.write_bytes(orjson.dumps(stored))

    assert await tokens(client, server).token() == "ya29./refresh"

    assert form_of(server.asked[0]) == {**user, "grant_type": "refresh_token"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"type": "external_account"}, "credentials of type 'external_account' are not supported"),
        ({"type": "service_account"}, "the credentials have no `client_email`"),
        (
            {"type": "service_account", "client_email": "e", "private_key": "SECRET"},
            "the private key can't be read",
        ),
        ([], "the file '{file}' holds no credentials"),
        (None, "the file '{file}' can't be read: No such file or directory"),
        ("SECRET{", "the file '{file}' can't be read: no JSON"),
    ],
)
async def test_credentials_that_are_none_are_refused_without_showing_them(
    client: httpx.AsyncClient, server: ToolServer, tmp_path: Path, content: Any, message: str
) -> None:
    file = tmp_path / "file"
    if content is not None:
        file.write_bytes(content.encode() if isinstance(content, str) else orjson.dumps(content))

    with pytest.raises(ToolError) as raised:
        await tokens(client, server, file).token()

    expected = f"Authentication error: gcp_adc: {message.replace('{file}', str(file))}"
    assert expected == str(raised.value)
    assert server.asked == []


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (Said(b"no", 403), "HTTP 403"),
        (Said(b"?"), "the answer is no JSON"),
        (Said({}), None),
    ],
)
async def test_a_refusal_is_named(
    client: httpx.AsyncClient, server: ToolServer, said: Said, message: str | None
) -> None:
    server.answer = lambda _: said
    start = f"no token from {server.url}: " if message else "the answer has no token"

    with pytest.raises(ToolError) as raised:
        await tokens(client, server).token()

    assert f"Authentication error: gcp_adc: {start}{message or ''}" == str(raised.value)


async def test_the_http_tool_uses_the_token(
    client: httpx.AsyncClient, server: ToolServer, toolbox: ToolRegistry
) -> None:
    limits = RepeatLimits(attempts=1, wait_seconds=0, pages=1, body_bytes=1000)
    http = Http(client, tokens(client, server), timeout_seconds=5, body_bytes=1000, limits=limits)
    context = ToolContext(
        variables={}, execution_id=7, step="s", server_url="", toolbox=toolbox,
        auth={"type": "gcp_adc", "scopes": ["s"]},
    )  # fmt: skip

    await http.run({"url": f"{server.url}/api"}, context)

    asked = server.asked[-1]
    assert asked.path == "/api"
    assert asked.headers["authorization"].startswith("Bearer ya29.")
