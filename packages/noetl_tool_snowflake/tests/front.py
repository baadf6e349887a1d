"""fakesnow's server behind a front, as a program: ``python front.py USERS``.

fakesnow runs the statements. The front adds what it lacks and the driver or the tests need: it
looks at logins (a password, or a token signed with a known key), answers them with a master token,
and holds a statement with the comment ``/* slow */`` back until it is cancelled. ``/seen`` answers
with the requests that came. It prints its port.
"""

import asyncio
import base64
import gzip
import hashlib
import json
import socket
import sys
from typing import Any

import uvicorn
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)
from fakesnow.server import app

USERS = json.loads(sys.argv[1])
"""Credentials of each user: ``{"name": {"password": …}}`` or ``{"name": {"key": PEM}}``."""
SEEN = []
HELD = {}
TOKENS = {"masterToken": "master", "sessionId": 1, "validityInSeconds": 3600,
          "masterValidityInSeconds": 14400}  # fmt: skip


async def front(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        await app(scope, receive, send)
        return
    body = await whole(receive)
    is_packed = dict(scope["headers"]).get(b"content-encoding") == b"gzip"
    asked = json.loads((gzip.decompress(body) if is_packed else body) or b"{}")
    path = scope["path"]
    if path == "/seen":
        await answer(send, SEEN)
        return
    SEEN.append({"path": path, "query": scope["query_string"].decode(), "body": asked})
    if path == "/session/v1/login-request" and (problem := refusal(asked["data"])) is not None:
        await answer(send, {"data": None, "success": False, "code": problem[0],
                            "message": problem[1]})  # fmt: skip
        return
    if path == "/queries/v1/abort-request" and asked["requestId"] in HELD:
        HELD[asked["requestId"]].set()
    if path == "/queries/v1/query-request" and "/* slow */" in asked["sqlText"]:
        await held(scope, send)
        return
    await passed(scope, body, send)


async def whole(receive: Any) -> bytes:
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return body


async def passed(scope: Any, body: bytes, send: Any) -> None:
    """Ask fakesnow, and add to its answer to a login."""
    begun, found = {}, b""

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def keep(message: Any) -> None:
        nonlocal begun, found
        begun = message if message["type"] == "http.response.start" else begun
        found += message.get("body", b"")

    await app(scope, receive, keep)
    if scope["path"] == "/session/v1/login-request":
        given = json.loads(found)
        given["data"] |= TOKENS
        await answer(send, given)
        return
    await send(begun)
    await send({"type": "http.response.body", "body": found})


async def held(scope: Any, send: Any) -> None:
    """Wait for the cancel of a statement, and answer as Snowflake does then."""
    words = dict(part.split("=", 1) for part in scope["query_string"].decode().split("&"))
    cancelled = HELD[words["requestId"]] = asyncio.Event()
    await cancelled.wait()
    await answer(send, {"data": {"errorCode": "000604", "sqlState": "57014"}, "success": False,
                        "code": "000604", "message": "SQL execution canceled"})  # fmt: skip


def refusal(login: Any) -> tuple[str, str] | None:
    """Return number and text with which Snowflake refuses a login; None lets it in."""
    user = USERS.get(login["LOGIN_NAME"])
    if login.get("AUTHENTICATOR") == "SNOWFLAKE_JWT":
        is_good = user is not None and "key" in user and is_signed(login, user["key"])
        return None if is_good else ("390144", "JWT token is invalid.")
    is_good = user is not None and user.get("password") == login.get("PASSWORD")
    return None if is_good else ("390100", "Incorrect username or password was specified.")


def is_signed(login: Any, pem: str) -> bool:
    key = load_pem_public_key(pem.encode())
    signed, _, signature = login["TOKEN"].rpartition(".")
    try:
        key.verify(unpacked(signature), signed.encode(), PKCS1v15(), SHA256())
    except InvalidSignature:
        return False
    claims = json.loads(unpacked(signed.partition(".")[2]))
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    print_ = base64.b64encode(hashlib.sha256(der).digest()).decode()
    name = f"{login['ACCOUNT_NAME']}.{login['LOGIN_NAME']}".upper()
    return claims["iss"] == f"{name}.SHA256:{print_}" and claims["sub"] == name


def unpacked(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


async def answer(send: Any, value: Any) -> None:
    body = json.dumps(value).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def main() -> None:
    sock = socket.create_server(("127.0.0.1", 0))
    print(sock.getsockname()[1], flush=True)  # noqa: T201
    config = uvicorn.Config(front, log_level="warning", lifespan="off")
    uvicorn.Server(config).run(sockets=[sock])


main()
