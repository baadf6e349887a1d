"""Proofs of deliveries, and the reason of each refusal."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from noetl_api_gateway.access.deliveries import DeliveryCheck, Rejected
from noetl_testkit.web import Request, Response, serving

BODY = b'{"order": 7}'
SECRET = "s3cr3t"
HMAC = {"type": "hmac_sha256", "secret": SECRET}


def signed(content: bytes, secret: bytes = SECRET.encode()) -> str:
    return hmac.new(secret, content, hashlib.sha256).hexdigest()


async def verdict(verify: dict[str, Any], headers: dict[str, str], body: bytes = BODY) -> str:
    try:
        await DeliveryCheck("http://127.0.0.1:9/keys").verify(verify, headers, body)
    except Rejected as rejected:
        return f"{rejected.status} {rejected.reason}"
    return "taken"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"x-signature": signed(BODY)}, "taken"),
        ({"x-signature": f"sha256={signed(BODY)}"}, "taken"),
        ({"x-signature": signed(BODY).upper()}, "taken"),
        ({"x-signature": signed(BODY + b" ")}, "401 bad_signature"),
        ({"x-signature": "no hex"}, "401 bad_signature"),
        ({"x-signature": ""}, "401 missing_signature"),
        ({"x-hub-signature-256": signed(BODY)}, "401 missing_signature"),
    ],
)
async def test_a_signature_proves_the_very_body(headers: dict[str, str], expected: str) -> None:
    assert await verdict(HMAC, headers) == expected


async def test_a_signed_time_ends_the_use_of_a_recorded_delivery() -> None:
    verify = HMAC | {"header": "x-sig", "timestamp_header": "x-time", "tolerance_seconds": 60}
    now, old = str(int(time.time())), str(int(time.time()) - 61)

    def sent(stamp: str) -> dict[str, str]:
        return {"x-time": stamp, "x-sig": signed(f"{stamp}.".encode() + BODY)}

    assert await verdict(verify, sent(now)) == "taken"
    assert await verdict(verify, sent(old)) == "401 stale_timestamp"
    assert await verdict(verify, sent(now) | {"x-time": old}) == "401 bad_signature"
    assert await verdict(verify, {"x-sig": signed(BODY)}) == "401 missing_timestamp"


async def test_the_forms_of_well_known_senders() -> None:
    now = str(int(time.time()))
    one_header = HMAC | {"header": "stripe-signature", "timestamp_header": "stripe-signature"}
    slack = HMAC | {
        "header": "x-slack-signature",
        "timestamp_header": "x-slack-request-timestamp",
        "signed": "v0:{timestamp}:{body}",
    }
    shopify = HMAC | {"header": "x-shopify-hmac-sha256", "encoding": "base64"}
    standard = HMAC | {
        "secret": "whsec_" + base64.b64encode(SECRET.encode()).decode(),
        "header": "webhook-signature",
        "timestamp_header": "webhook-timestamp",
        "signed": "{webhook-id}.{timestamp}.{body}",
        "encoding": "base64",
    }
    stripe_mac = signed(f"{now}.".encode() + BODY)
    slack_mac = signed(f"v0:{now}:".encode() + BODY)
    plain = base64.b64encode(bytes.fromhex(signed(BODY))).decode()
    wide = base64.b64encode(bytes.fromhex(signed(f"m-1.{now}.".encode() + BODY))).decode()

    assert (
        await verdict(one_header, {"stripe-signature": f"t={now},v1=00,v1={stripe_mac}"}) == "taken"
    )
    sent = {"x-slack-signature": f"v0={slack_mac}", "x-slack-request-timestamp": now}
    assert await verdict(slack, sent) == "taken"
    assert await verdict(shopify, {"x-shopify-hmac-sha256": plain}) == "taken"
    sent = {
        "webhook-id": "m-1",
        "webhook-timestamp": now,
        "webhook-signature": f"v1,AAAA v1,{wide}",
    }
    assert await verdict(standard, sent) == "taken"
    assert await verdict(standard, sent | {"webhook-id": "m-2"}) == "401 bad_signature"


async def test_a_token_is_sent_as_bearer_or_in_a_header_of_its_own() -> None:
    bearer = {"type": "bearer", "secret": SECRET}
    own = bearer | {"header": "x-token"}

    assert await verdict(bearer, {"authorization": f"Bearer {SECRET}"}) == "taken"
    assert await verdict(bearer, {"authorization": SECRET}) == "401 missing_token"
    assert await verdict(bearer, {"authorization": "Bearer other"}) == "401 bad_token"
    assert await verdict(own, {"x-token": SECRET}) == "taken"
    assert await verdict(own, {"authorization": f"Bearer {SECRET}"}) == "401 missing_token"


async def test_what_can_t_be_verified_is_not_taken() -> None:
    assert await verdict({"type": "none"}, {}) == "403 unsupported"
    assert await verdict({"type": "hmac_sha256", "secret": ""}, {}) == "403 misconfigured"
    assert await verdict({"type": "pubsub_oidc"}, {}) == "403 misconfigured"
    loose = HMAC | {"signed": "constant"}
    assert await verdict(loose, {"x-signature": signed(b"constant")}) == "403 misconfigured"


ACCOUNT = "pusher@project.iam.gserviceaccount.com"
OIDC = {"type": "pubsub_oidc", "audience": "https://noetl", "service_account": ACCOUNT}


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture
def checker(key: rsa.RSAPrivateKey) -> Iterator[DeliveryCheck]:
    public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key())) | {"kid": "one"}

    def answer(_: Request) -> Response:
        return Response({"keys": [public]})

    with serving(answer) as server:
        yield DeliveryCheck(f"{server.url}/keys")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "taken"),
        ({"exp": -30}, "taken"),
        ({"exp": -90}, "401 oidc_expired"),
        ({"aud": "https://other"}, "403 oidc_wrong_audience"),
        ({"email": "other@project"}, "403 oidc_wrong_sa"),
        ({"email_verified": False}, "403 oidc_unverified_email"),
        ({"exp": None}, "401 oidc_invalid"),
    ],
)
async def test_a_push_token_is_that_of_the_account_for_this_listener(
    checker: DeliveryCheck, key: rsa.RSAPrivateKey, changes: dict[str, Any], expected: str
) -> None:
    claims = {
        "aud": "https://noetl",
        "email": ACCOUNT,
        "email_verified": True,
        "exp": 300,
    } | changes
    if claims["exp"] is not None:
        claims["exp"] += time.time()
    claims = {name: value for name, value in claims.items() if value is not None}
    token = jwt.encode(claims, key, algorithm="RS256", headers={"kid": "one"})

    assert await _with_token(checker, token) == expected


async def test_a_push_token_of_somebody_else(
    checker: DeliveryCheck, key: rsa.RSAPrivateKey
) -> None:
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    claims = {"aud": "https://noetl", "exp": time.time() + 300}
    forged = jwt.encode(claims, other, algorithm="RS256", headers={"kid": "one"})
    unknown = jwt.encode(claims, key, algorithm="RS256", headers={"kid": "two"})
    secret = jwt.encode(claims, "k" * 32, algorithm="HS256", headers={"kid": "one"})

    assert await _with_token(checker, forged) == "401 oidc_bad_signature"
    assert await _with_token(checker, unknown) == "401 oidc_unknown_kid"
    assert await _with_token(checker, secret) == "401 oidc_invalid"
    assert await _with_token(checker, "nonsense") == "401 oidc_malformed"


async def test_without_the_issuer_s_keys_nothing_is_told() -> None:
    token = jwt.encode({}, "k" * 32, algorithm="HS256")
    claims = jwt.encode(
        {}, rsa.generate_private_key(public_exponent=65537, key_size=2048), algorithm="RS256"
    )

    assert await verdict(OIDC, {"authorization": f"Bearer {claims}"}) == "502 jwks_error"
    assert await verdict(OIDC, {"authorization": f"Bearer {token}"}) == "401 oidc_invalid"
    assert await verdict(OIDC, {}) == "401 missing_token"


async def _with_token(checker: DeliveryCheck, token: str) -> str:
    try:
        await checker.verify(OIDC, {"authorization": f"Bearer {token}"}, BODY)
    except Rejected as rejected:
        return f"{rejected.status} {rejected.reason}"
    return "taken"
