"""Rotation of keys and its status, secrets for other regions, the audit."""

from litestar import Response, post
from noetl_contract.http.scalars import parse_moment
from noetl_contract.http.secrets.credentials import CrossRegionRequest, SealedEnvelope
from noetl_contract.http.secrets.keychain import (
    AuditRecords,
    KeyStatus,
    RotatedTables,
    RotateKeysRequest,
)
from noetl_contract.json import JsonObject
from noetl_contract.rpc import catalog

from noetl_api_gateway.gateway import Gateway, OpenGateway
from noetl_api_gateway.http.answers import json_answer
from noetl_api_gateway.http.bodies import AnyRequest
from noetl_api_gateway.http.decoding import read_body
from noetl_api_gateway.http.openapi import documented
from noetl_api_gateway.http.refusals import bad_query
from noetl_api_gateway.http.token_guard import optional_token_guard
from noetl_api_gateway.routes.forwarding import Forward, Query, forwarding
from noetl_api_gateway.upstream.services import body_of

_TABLES = ("credential", "keychain")
_COUNTS = ("processed", "rewrapped", "skipped", "failed")
_TAGS = ["wallet"]
_FORBIDDEN = "Invalid service-account token for /api/internal/*."


@post(
    "/api/internal/wallet/rotate-kek",
    status_code=200,
    guards=[optional_token_guard],
    summary="Wrap all data keys with the current key",
    tags=["wallet"],
    operation_class=documented(RotateKeysRequest, RotatedTables, errors={403: _FORBIDDEN}),
)
async def rotate_keys(request: AnyRequest, gateway: OpenGateway) -> Response[bytes]:
    """Rotate table by table, slice by slice; asked again after an interruption it goes on."""
    sent = await read_body(request, RotateKeysRequest)
    batch_size = max(1, 100 if sent.batch_size is None else sent.batch_size)
    max_batches = max(1, 1000 if sent.max_batches is None else sent.max_batches)
    body = {
        table: await _rotated(gateway, table, batch_size=batch_size, max_batches=max_batches)
        for table in _TABLES
    }
    return json_answer(request, body)


async def _rotated(
    gateway: Gateway, table: str, *, batch_size: int, max_batches: int
) -> JsonObject:
    """Ask on until the table is done or the batches are used up."""
    total: JsonObject = {**dict.fromkeys(_COUNTS, 0), "last_id": 0}
    after, left, is_done = "", max_batches, False
    while left > 0 and not is_done:
        reply = await gateway.services.secret(
            "wallet.rotate",
            {"table": table, "after": after, "batch_size": batch_size, "max_batches": left},
        )
        part = body_of(reply)
        for name in _COUNTS:
            total[name] += part[name]
        total["last_id"] = part["last_id"] or total["last_id"]
        after, is_done = part["after"], part["done"]
        left -= part["batches"]
    return total


def _between(wanted: JsonObject) -> JsonObject:
    """Put both ends into UTC."""
    ends = {name: _moment(wanted[name], name) for name in ("from", "to") if name in wanted}
    return wanted | ends


def _moment(value: str, name: str) -> str:
    # An unencoded `+` arrives as a space.
    moment = parse_moment(value.replace(" ", "+"))
    if moment is None:
        raise bad_query(f"{name}: input contains invalid characters")
    return moment.isoformat()


ROUTES = [
    rotate_keys,
    *forwarding(
        Forward(
            method="POST",
            path="/api/internal/cross-region/resolve",
            name="resolve_across_regions",
            operation=catalog.CREDENTIAL_CROSS_REGION,
            waits_longer=True,
            body=CrossRegionRequest,
            answer=SealedEnvelope,
            summary="Seal a secret of this region for another region's worker",
            description="Serve a peer.",
            tags=_TAGS,
            guards=[optional_token_guard],
            errors={403: _FORBIDDEN},
        ),
        Forward(
            method="GET",
            path="/api/internal/wallet/key-status",
            name="key_status",
            operation=catalog.WALLET_STATUS,
            answer=KeyStatus,
            summary="Count records by the version of their key",
            description="Count records; those in another form are `invalid`.",
            tags=_TAGS,
            guards=[optional_token_guard],
            errors={403: _FORBIDDEN},
        ),
        Forward(
            method="GET",
            path="/api/internal/secret-audit",
            name="secret_audit",
            operation=catalog.SECRET_AUDIT,
            answer=AuditRecords,
            summary="List readings and changes of secrets, newest first",
            description="List records of the audit.",
            tags=_TAGS,
            guards=[optional_token_guard],
            query={
                "credential": Query(str, "exact name"),
                "execution_id": Query(int, "execution"),
                "from": Query(str, "first moment, RFC 3339"),
                "to": Query(str, "moment after the last, RFC 3339"),
                "limit": Query(int, "rows at most, up to 10000", default=100),
            },
            prepare=_between,
            errors={403: _FORBIDDEN},
        ),
    ),
]
