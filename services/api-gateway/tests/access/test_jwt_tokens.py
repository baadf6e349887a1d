"""JWTs against a real server of keys: rotation, confusion of algorithms, floods."""

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from noetl_api_gateway.access import issuer_keys
from noetl_api_gateway.access.jwt_tokens import JwtTokens, UnprovenError
from noetl_api_gateway.access_settings import AccessSettings
from noetl_api_gateway.http.refusals import Refusal
from noetl_testkit.web import Request, Response, serving

AUDIENCE = "noetl"


@dataclass
class Provider:
    """A login provider: its keys, and how often they were read."""

    url: str = ""
    keys: dict[str, Any] = field(default_factory=dict)
    extra: list[dict[str, Any]] = field(default_factory=list)
    reads: int = 0
    is_down: bool = False

    def answer(self, request: Request) -> Response:
        if self.is_down:
            return Response(status=500)
        if request.path == "/.well-known/openid-configuration":
            return Response({"jwks_uri": f"{self.url}/keys"})
        self.reads += 1
        return Response({"keys": [*self.extra, *map(self._public, self.keys)]})

    def _public(self, name: str) -> dict[str, Any]:
        key = self.keys[name].public_key()
        kind = jwt.algorithms.RSAAlgorithm if isinstance(key, rsa.RSAPublicKey) else None
        kind = kind or jwt.algorithms.ECAlgorithm
        return json.loads(kind.to_jwk(key)) | {"kid": name, "use": "sig"}

    def token(self, name: str = "one", **changes: Any) -> str:
        """Return a token, with claims changed; None leaves one out."""
        key = self.keys[name]
        claims = {
            "iss": self.url,
            "aud": AUDIENCE,
            "sub": "ada",
            "groups": ["ops"],
            "exp": datetime.now(UTC) + timedelta(minutes=5),
        } | changes
        claims = {name: value for name, value in claims.items() if value is not None}
        algorithm = "RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256"
        return jwt.encode(claims, key, algorithm=algorithm, headers={"kid": name})

    def checker(self, **changes: Any) -> JwtTokens:
        """Return what checks this provider's tokens."""
        settings = AccessSettings(
            oidc_issuer=self.url, oidc_audience=AUDIENCE, oidc_leeway_seconds=0, **changes
        )
        return JwtTokens(settings)


@pytest.fixture
def provider() -> Iterator[Provider]:
    made = Provider(keys={"one": rsa.generate_private_key(65537, 2048)})
    with serving(made.answer) as server:
        made.url = server.url.rstrip("/")
        yield made


async def test_a_token_of_the_issuer_proves_subject_and_values(provider: Provider) -> None:
    proven = await provider.checker().proven_by(provider.token(scope="read write"))

    assert proven.subject == "ada"
    assert proven.values == ("groups:ops", "scope:read", "scope:write")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"exp": datetime(2020, 1, 1, tzinfo=UTC)}, "has expired"),
        ({"exp": None}, "exp"),
        ({"sub": None}, "sub"),
        ({"aud": "other"}, "[Aa]udience"),
        ({"aud": None}, "aud"),
        ({"iss": "http://127.0.0.1:1"}, "issuer"),
        ({"nbf": datetime(2099, 1, 1, tzinfo=UTC)}, "not yet valid"),
    ],
)
async def test_other_claims_prove_nothing(
    provider: Provider, changes: dict[str, Any], text: str
) -> None:
    with pytest.raises(UnprovenError, match=text):
        await provider.checker().proven_by(provider.token(**changes))


async def test_the_public_key_is_no_secret_to_sign_with(provider: Provider) -> None:
    public = provider.keys["one"].public_key()
    pem = public.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    claims = jwt.decode(provider.token(), options={"verify_signature": False})
    # Made by hand: the library refuses to sign with a public key.
    forged = by_hand({"alg": "HS256", "kid": "one"}, claims, pem)

    with pytest.raises(UnprovenError, match="algorithm"):
        await provider.checker().proven_by(forged)


async def test_unsigned_tokens_and_other_nonsense_prove_nothing(provider: Provider) -> None:
    checker = provider.checker()
    claims = jwt.decode(provider.token(), options={"verify_signature": False})
    unsigned = jwt.encode(claims, None, algorithm="none", headers={"kid": "one"})
    head, body, signature = provider.token().split(".")
    other = provider.token(sub="root").split(".")[1]
    for token in (
        unsigned,
        unsigned.replace("none", "None"),
        f"{head}.{other}.{signature}",
        f"{head}.{body}.",
        f"{head}.{body}.AAAA",
        "a.b.c",
        "..",
        f"{encoded(b'[]')}.{body}.{signature}",
        by_hand({"alg": ["RS256"], "kid": "one"}, claims, b"x"),
        by_hand({"alg": "RS256", "kid": {"a": 1}}, claims, b"x"),
    ):
        with pytest.raises(UnprovenError):
            await checker.proven_by(token)


async def test_a_shared_secret_among_the_keys_is_not_used(provider: Provider) -> None:
    secret = encoded(b"s" * 32)
    provider.extra = [{"kty": "oct", "k": secret, "kid": "shared", "alg": "HS256"}, {"kty": "?"}]
    claims = jwt.decode(provider.token(), options={"verify_signature": False})
    forged = by_hand({"alg": "RS256", "kid": "shared"}, claims, b"s" * 32)

    with pytest.raises(UnprovenError, match="has not got"):
        await provider.checker().proven_by(forged)


async def test_keys_of_another_kind_than_the_algorithm_are_refused(provider: Provider) -> None:
    provider.keys["curve"] = ec.generate_private_key(ec.SECP256R1())
    checker = provider.checker()
    claims = jwt.decode(provider.token(), options={"verify_signature": False})

    assert (await checker.proven_by(provider.token("curve"))).subject == "ada"
    crossed = jwt.encode(claims, provider.keys["one"], algorithm="RS256", headers={"kid": "curve"})
    with pytest.raises(UnprovenError):
        await checker.proven_by(crossed)


async def test_new_keys_are_found_and_old_ones_forgotten(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(issuer_keys, "_PAUSE_SECONDS", 0.0)
    checker = provider.checker()
    old = provider.token()
    await checker.proven_by(old)
    provider.keys = {"two": rsa.generate_private_key(65537, 2048)}

    assert (await checker.proven_by(provider.token("two"))).subject == "ada"
    with pytest.raises(UnprovenError, match="has not got"):
        await checker.proven_by(old)


async def test_a_flood_of_unknown_keys_reads_the_provider_s_no_second_time(
    provider: Provider,
) -> None:
    checker = provider.checker()
    await checker.proven_by(provider.token())
    stranger = Provider(url=provider.url)
    for number in range(50):
        stranger.keys = {f"k{number}": provider.keys["one"]}
        with pytest.raises(UnprovenError, match="has not got"):
            await checker.proven_by(stranger.token(f"k{number}"))

    assert provider.reads == 1


async def test_a_provider_that_is_away_is_trouble_and_known_keys_stay(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(issuer_keys, "_PAUSE_SECONDS", 0.0)
    checker, late = provider.checker(), provider.checker()
    await checker.proven_by(provider.token())
    provider.is_down = True
    monkeypatch.setattr(issuer_keys, "_FRESH_SECONDS", -1.0)

    assert (await checker.proven_by(provider.token())).subject == "ada"
    with pytest.raises(Refusal) as raised:
        await late.proven_by(provider.token())
    assert raised.value.status == 503


async def test_keys_without_end_are_not_read_to_their_end(provider: Provider) -> None:
    provider.extra = [{"kty": "?", "x": "x" * 1000} for _ in range(1000)]

    with pytest.raises(Refusal):
        await provider.checker().proven_by(provider.token())


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def by_hand(header: dict[str, Any], claims: dict[str, Any], secret: bytes) -> str:
    signed = f"{encoded(json.dumps(header).encode())}.{encoded(json.dumps(claims).encode())}"
    mac = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
    return f"{signed}.{encoded(mac.sign(signed.encode(), secret))}"
