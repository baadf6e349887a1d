"""Providers of secrets against a real HTTP server."""

import base64
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs

import httpx
import orjson
import pytest
from noetl_catalog.providers.errors import ProviderFailed
from noetl_catalog.providers.registry import Providers
from noetl_catalog.providers.settings import ProviderSettings
from noetl_catalog.secrets.keys.box import SecretBox
from noetl_catalog.secrets.keys.gcp_kms import GcpKeyManager, open_key_manager
from noetl_catalog.secrets.settings import SecretSettings
from noetl_common.crypto.errors import BadKey, WrongProvider
from noetl_contract.json import Json, JsonObject
from noetl_keychain_providers.aws_signature import AwsLogin, signed_headers
from pydantic import SecretStr

from services.catalog.tests.providers.provider_server import Clouds, running_clouds

CANARY = "s3cret-canary-value"
KMS_KEY = "projects/p/locations/l/keyRings/r/cryptoKeys/k"


@pytest.fixture(scope="module")
def server() -> Iterator[Clouds]:
    with running_clouds() as clouds:
        yield clouds


@pytest.fixture
def clouds(server: Clouds) -> Clouds:
    server.answers.clear()
    server.calls.clear()
    server.answer("/token", {"access_token": "own", "expires_in": 3600})
    return server


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(trust_env=False) as opened:
        yield opened


def make_settings(clouds: Clouds, **overrides: Json) -> ProviderSettings:
    url = clouds.url
    known: JsonObject = {
        "gcp_sm_endpoint": f"{url}/sm",
        "gcp_metadata_token_url": f"{url}/token",
        "gcp_project": "p",
        "gcp_iam_credentials_endpoint": f"{url}/iam",
        "k8s_api_url": url,
        "k8s_token": SecretStr("kt"),
        "k8s_namespace": "ns",
        "vault_addr": url,
        "vault_token": SecretStr("vt"),
        "aws_access_key_id": "AKID",
        "aws_secret_access_key": SecretStr("aws"),
        "aws_region": "eu-west-1",
        "aws_sm_endpoint": f"{url}/aws/",
        "aws_sts_endpoint_override": f"{url}/sts/",
        "azure_keyvault_endpoint": f"{url}/kv",
        "azure_keyvault_vault": "v",
        "azure_keyvault_token": SecretStr("at"),
        "azure_tenant_id": "tenant",
        "azure_client_id": "app",
        "azure_client_secret": SecretStr("as"),
        "azure_aad_host": url,
        "secret_provider_timeout_seconds": 5.0,
    }
    return ProviderSettings(**known | overrides)


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("provider", "reference", "path", "answer", "value"),
    [
        (
            "gcp",
            "s",
            "/sm/projects/p/secrets/s/versions/latest:access",
            {"payload": {"data": encoded("g")}},
            "g",
        ),
        (
            "gcp",
            "projects/q/secrets/s/versions/3",
            "/sm/projects/q/secrets/s/versions/3:access",
            {"payload": {"data": encoded("h")}},
            "h",
        ),
        (
            "k8s",
            "s/k",
            "/api/v1/namespaces/ns/secrets/s",
            {"data": {"k": encoded("x"), "l": encoded("y")}},
            "x",
        ),
        ("kubernetes", "s", "/api/v1/namespaces/ns/secrets/s", {"data": {"k": encoded("x")}}, "x"),
        (
            "k8s",
            "other/s/k",
            "/api/v1/namespaces/other/secrets/s",
            {"data": {"k": encoded("x")}},
            "x",
        ),
        ("vault", "a", "/v1/secret/data/a", {"data": {"data": {"k": "x"}}}, "x"),
        ("vault", "kv/a/b#k", "/v1/kv/data/a/b", {"data": {"data": {"k": 5, "l": 6}}}, "5"),
        ("aws", "s", "/aws/", {"SecretString": "x"}, "x"),
        ("aws_sm", "us-east-1:arn:aws:x#k", "/aws/", {"SecretString": '{"k":"x"}'}, "x"),
        ("azure", "s", "/kv/secrets/s", {"value": "x"}, "x"),
        ("azure_kv", "w/s#2", "/kv/secrets/s/2", {"value": "x"}, "x"),
    ],
)
async def test_stored_secrets(
    clouds: Clouds,
    client: httpx.AsyncClient,
    *,
    provider: str,
    reference: str,
    path: str,
    answer: Json,
    value: str,
) -> None:
    clouds.answer(path, answer)
    secret = await Providers(client, make_settings(clouds)).build(provider).fetch(reference)

    assert (secret.value, secret.expires_at) == (value, None)
    assert value not in repr(secret).removeprefix("Secret(expires_at=None)")
    sent = clouds.calls[-1].headers
    login = {"gcp": "Bearer own", "k8s": "Bearer kt", "azure": "Bearer at"}
    kind = {"kubernetes": "k8s", "azure_kv": "azure"}.get(provider, provider)
    if kind in login:
        assert sent["authorization"] == login[kind]
    elif kind == "vault":
        assert sent["x-vault-token"] == "vt"
    else:
        region = "us-east-1" if ":" in reference else "eu-west-1"
        assert f"/{region}/secretsmanager/aws4_request" in sent["authorization"]


async def test_issued_tokens_say_when_they_expire(
    clouds: Clouds, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    identity = tmp_path / "identity"
    identity.write_text("jwt\n")
    moment = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    clouds.answer(
        "/iam/projects/-/serviceAccounts/a@b:generateAccessToken",
        {"accessToken": "g", "expireTime": moment.isoformat()},
    )
    clouds.answer("/tenant/oauth2/v2.0/token", {"access_token": "z", "expires_in": "3600"})
    clouds.answer(
        "/sts/",
        {
            "AssumeRoleWithWebIdentityResponse": {
                "AssumeRoleWithWebIdentityResult": {
                    "Credentials": {
                        "AccessKeyId": "i",
                        "SecretAccessKey": "k",
                        "SessionToken": "t",
                        "Expiration": moment.timestamp(),
                    }
                }
            }
        },
    )
    settings = make_settings(clouds, aws_web_identity_token_file=str(identity))
    providers = Providers(client, settings)

    google = await providers.build("gcp_iam").fetch("a@b#scope")
    azure = await providers.build("azure_oauth").fetch("api://x/.default")
    amazon = await providers.build("aws_sts").fetch("arn:aws:iam::1:role/r#me")

    assert (google.value, google.expires_at) == ("g", moment)
    assert azure.value == "z"
    assert azure.expires_at is not None
    assert abs(azure.expires_at - moment) < timedelta(minutes=1)
    assert orjson.loads(amazon.value) == {
        "access_key_id": "i",
        "secret_access_key": "k",
        "session_token": "t",
    }
    assert amazon.expires_at == moment
    asked = {call.path.partition("?")[0]: call.body for call in clouds.calls}
    assert orjson.loads(asked["/iam/projects/-/serviceAccounts/a@b:generateAccessToken"]) == {
        "scope": ["scope"],
        "lifetime": "3600s",
    }
    assert parse_qs(asked["/tenant/oauth2/v2.0/token"].decode()) == {
        "grant_type": ["client_credentials"],
        "client_id": ["app"],
        "client_secret": ["as"],
        "scope": ["api://x/.default"],
    }
    assert parse_qs(asked["/sts/"].decode())["WebIdentityToken"] == ["jwt"]


@pytest.mark.parametrize(
    ("provider", "reference", "changes", "status", "text"),
    [
        (
            "nobody",
            "x",
            {},
            500,
            "unsupported keychain secret provider 'nobody' (supported: gcp, gcp_iam, k8s, ",
        ),
        ("gcp", "s", {}, 502, "HTTP 404"),
        ("gcp", "s", {"gcp_project": ""}, 500, "GOOGLE_CLOUD_PROJECT is not set"),
        ("gcp", "s", {"gcp_metadata_token_url": "http://127.0.0.1:9/token"}, 502, "ConnectError"),
        ("vault", "s", {"vault_token": SecretStr("")}, 500, "VAULT_TOKEN is not set"),
        ("vault", "s", {}, 502, "HTTP 404"),
        ("vault", "s", {"vault_ca_file": "/no/such/file"}, 500, "CA file can't be read"),
        ("k8s", "a/b/c/d", {}, 500, "the reference is not"),
        ("k8s", "s", {}, 502, "HTTP 404"),
        ("aws", "s", {}, 500, "HTTP 404"),
        ("aws", "s", {"aws_region": ""}, 500, "AWS_REGION is not set"),
        ("azure", "s", {}, 500, "HTTP 404"),
        ("azure", "evil.example/x/s", {}, 500, "names no secret, or no vault"),
        (
            "azure_oauth",
            "",
            {"azure_client_secret": SecretStr("")},
            500,
            "AZURE_CLIENT_SECRET is not set",
        ),
        ("gcp_iam", "", {}, 500, "names no service account"),
        ("aws_sts", "r", {}, 500, "AWS_WEB_IDENTITY_TOKEN_FILE can't be read"),
    ],
)
async def test_failures_say_whether_asking_again_helps(
    clouds: Clouds,
    client: httpx.AsyncClient,
    *,
    provider: str,
    reference: str,
    changes: JsonObject,
    status: int,
    text: str,
) -> None:
    providers = Providers(client, make_settings(clouds, **changes))
    with pytest.raises(ProviderFailed) as caught:
        await providers.build(provider).fetch(reference)

    assert (caught.value.http_status, text in caught.value.message) == (status, True), caught.value


@pytest.mark.parametrize(
    "answer",
    [CANARY.encode(), [CANARY], {}, {"payload": {"data": f"!{CANARY}"}}, b"x" * (1 << 20) + b"x"],
)
async def test_answers_without_sense_are_not_quoted(
    clouds: Clouds, client: httpx.AsyncClient, answer: Json
) -> None:
    clouds.answer("/sm/projects/p/secrets/s/versions/latest:access", answer)
    with pytest.raises(ProviderFailed) as caught:
        await Providers(client, make_settings(clouds)).build("gcp").fetch("s")

    assert caught.value.http_status == 502
    assert CANARY not in repr(caught.value)


def test_signature_equals_what_the_reference_library_makes() -> None:
    awsrequest = pytest.importorskip("botocore.awsrequest")
    auth = pytest.importorskip("botocore.auth")
    credentials = pytest.importorskip("botocore.credentials")
    url, body = "https://secretsmanager.eu-west-1.amazonaws.com/", b'{"SecretId":"s"}'
    headers = {"content-type": "application/x-amz-json-1.1", "x-amz-target": "t"}
    request = awsrequest.AWSRequest(method="POST", url=url, data=body, headers=headers)
    signer = auth.SigV4Auth(
        credentials.Credentials("AKID", "secret", "session"), "secretsmanager", "eu-west-1"
    )
    signer.add_auth(request)
    moment = datetime.strptime(request.context["timestamp"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)

    ours = signed_headers(
        AwsLogin("AKID", "secret", "session"),
        url=url,
        body=body,
        headers=headers,
        region="eu-west-1",
        service="secretsmanager",
        now=moment,
    )

    assert ours["authorization"] == request.headers["Authorization"]


def make_kms_settings(clouds: Clouds, **overrides: Json) -> SecretSettings:
    known: JsonObject = {
        "encryption_key": SecretStr(encoded("k" * 32)),
        "kms_provider": "gcp",
        "gcp_kms_key": KMS_KEY,
        "gcp_kms_endpoint": f"{clouds.url}/kms",
    }
    return SecretSettings(**known | overrides)


async def test_cloud_kms_wraps_and_tells_versions_apart(
    clouds: Clouds, client: httpx.AsyncClient
) -> None:
    keys = open_key_manager(
        make_kms_settings(clouds), client=client, providers=make_settings(clouds)
    )
    assert isinstance(keys, GcpKeyManager)
    box = SecretBox(keys)
    clouds.answer(
        f"/kms/{KMS_KEY}:encrypt",
        {"name": f"{KMS_KEY}/cryptoKeyVersions/7", "ciphertext": encoded("wrapped")},
    )
    clouds.answer(f"/kms/{KMS_KEY}", {"primary": {"name": f"{KMS_KEY}/cryptoKeyVersions/7"}})

    closed = await box.close({"p": CANARY}, row="credential:a")
    data_key = orjson.loads(clouds.calls[-1].body)["plaintext"]
    clouds.answer(f"/kms/{KMS_KEY}:decrypt", {"plaintext": data_key})
    opened = await box.open(closed.text, row="credential:a")
    unturned = await box.rewrap(closed.text, row="credential:a")
    clouds.answer(f"/kms/{KMS_KEY}", {"primary": {"name": f"{KMS_KEY}/cryptoKeyVersions/8"}})
    turned = await box.rewrap(closed.text, row="credential:a")

    record = orjson.loads(closed.text)
    assert record["dek"] == {
        "p": "gcp-kms",
        "kid": KMS_KEY,
        "kv": "7",
        "ct": encoded("wrapped"),
    }
    assert (opened.value, opened.key_version, unturned) == ({"p": CANARY}, "7", None)
    assert turned is not None
    assert orjson.loads(turned)["ct"] == record["ct"]
    assert clouds.count("/token") == 1
    clouds.answer(f"/kms/{KMS_KEY}:decrypt", {"error": "x" * 300}, status=403)
    with pytest.raises(ProviderFailed) as caught:
        await box.open(closed.text, row="credential:a")
    assert caught.value.http_status == 500
    assert caught.value.message.startswith('kms decrypt: HTTP 403 {"error":"xxx')
    assert len(caught.value.message) < 240
    local = make_kms_settings(clouds, kms_provider="local")
    with pytest.raises(WrongProvider, match=r"LocalDevKms cannot unwrap .* 'gcp-kms'"):
        await SecretBox(
            open_key_manager(local, client=client, providers=make_settings(clouds))
        ).open(closed.text, row="credential:a")


async def test_settings_of_keys_without_sense_end_the_start(
    clouds: Clouds, client: httpx.AsyncClient
) -> None:
    cases: list[tuple[JsonObject, str]] = [
        ({"kms_provider": "x"}, "unknown NOETL_KMS_PROVIDER 'x' (expected 'local' or 'gcp-kms')"),
        ({"gcp_kms_key": "k"}, "NOETL_GCP_KMS_KEY must name a key"),
        ({"encryption_key": SecretStr("!")}, "Invalid base64 key: "),
        ({"encryption_key": SecretStr("AAAA")}, "Invalid key length: expected 32 bytes, got 3"),
        (
            {"encryption_key": SecretStr(""), "encryption_keys_earlier": SecretStr("v0=AAAA")},
            "NOETL_ENCRYPTION_KEYS_EARLIER is set without NOETL_ENCRYPTION_KEY",
        ),
    ]
    for changes, text in cases:
        with pytest.raises(BadKey) as caught:
            open_key_manager(
                make_kms_settings(clouds, **changes),
                client=client,
                providers=make_settings(clouds),
            )
        assert caught.value.message.startswith(text)
    blank = make_kms_settings(clouds, encryption_key=SecretStr(""))
    manager = open_key_manager(blank, client=client, providers=make_settings(clouds))
    assert not manager.has_keys


async def test_insecure_key_and_plain_rows_only_behind_their_switches(
    clouds: Clouds, client: httpx.AsyncClient
) -> None:
    settings = SecretSettings.model_validate(
        {"allow_insecure_default_key": " Yes ", "allow_plain_secrets": "maybe"}
    )
    keys = open_key_manager(settings, client=client, providers=make_settings(clouds))
    plain = SecretBox(keys, allows_plain=True)
    turned = await plain.rewrap('{"b":1,"a":2}', row="credential:a")

    assert (settings.allow_insecure_default_key, settings.allow_plain_secrets) == (True, False)
    read = await plain.open('{"a":2}', row="credential:a")
    assert (keys.is_durable, read.value) == (False, {"a": 2})
    assert turned is not None
    assert (await SecretBox(keys).open(turned, row="credential:a")).value == {"a": 2, "b": 1}
