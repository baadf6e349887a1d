"""Keys, other regions and the audit (http-a 8)."""

from typing import Any

from litestar import Response, get, post
from noetl_contract.http.credentials import CrossRegionRequest, SealedEnvelope
from noetl_contract.http.keychain import AuditRecords, KeyStatus, RotatedTables, RotateKeysRequest
from noetl_contract.http.scalars import parse_moment

from noetl_api_gateway.gateway import Gateway, OpenGateway
from noetl_api_gateway.http.answers import json_answer
from noetl_api_gateway.http.bodies import AnyRequest
from noetl_api_gateway.http.decoding import read_body
from noetl_api_gateway.http.fields import query_int, query_text
from noetl_api_gateway.http.openapi import documented
from noetl_api_gateway.http.refusals import bad_query
from noetl_api_gateway.http.token_guard import optional_token_guard
from noetl_api_gateway.upstream.services import body_of

type Json = Any
type Object = dict[str, Json]

_TABLES = ("credential", "keychain")
_COUNTS = ("processed", "rewrapped", "skipped", "failed")
_FORBIDDEN = "Invalid service-account token for /api/internal/*."


@post(
    "/api/internal/cross-region/resolve",
    status_code=200,
    guards=[optional_token_guard],
    summary="Seal a secret of this region for another region's worker",
    tags=["wallet"],
    operation_class=documented(CrossRegionRequest, SealedEnvelope, errors={403: _FORBIDDEN}),
)
async def resolve_across_regions(request: AnyRequest, gateway: OpenGateway) -> Response[bytes]:
    """Serve a peer."""
    wanted = dict(await read_body(request, CrossRegionRequest))
    reply = await gateway.services.secret("credential.cross_region", wanted)
    return json_answer(request, body_of(reply))


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
    wish = await read_body(request, RotateKeysRequest)
    batch_size = max(1, 100 if wish.batch_size is None else wish.batch_size)
    max_batches = max(1, 1000 if wish.max_batches is None else wish.max_batches)
    body = {
        table: await _rotated(gateway, table, batch_size=batch_size, max_batches=max_batches)
        for table in _TABLES
    }
    return json_answer(request, body)


@get(
    "/api/internal/wallet/key-status",
    guards=[optional_token_guard],
    summary="Count records by the version of their key",
    tags=["wallet"],
    operation_class=documented(None, KeyStatus, errors={403: _FORBIDDEN}),
)
async def key_status(request: AnyRequest, gateway: OpenGateway) -> Response[bytes]:
    """Count records; those in another form are `invalid`."""
    return json_answer(request, body_of(await gateway.services.catalog("wallet.status", {})))


@get(
    "/api/internal/secret-audit",
    guards=[optional_token_guard],
    summary="List readings and changes of secrets, newest first",
    tags=["wallet"],
    operation_class=documented(
        None,
        AuditRecords,
        query={
            "credential": (str, "exact name"),
            "execution_id": (int, "execution"),
            "from": (str, "first moment, RFC 3339"),
            "to": (str, "moment after the last, RFC 3339"),
            "limit": (int, "rows at most, up to 10000"),
        },
        errors={403: _FORBIDDEN},
    ),
)
async def secret_audit(request: AnyRequest, gateway: OpenGateway) -> Response[bytes]:
    """List records of the audit."""
    query = request.query_params
    limit = query_int(query, "limit")
    wanted = {
        "credential": query_text(query, "credential"),
        "execution_id": query_int(query, "execution_id"),
        "from": _moment(query, "from"),
        "to": _moment(query, "to"),
        "limit": 100 if limit is None else limit,
    }
    return json_answer(request, body_of(await gateway.services.catalog("secret.audit", wanted)))


async def _rotated(gateway: Gateway, table: str, *, batch_size: int, max_batches: int) -> Object:
    """Ask on until the table is done or the batches are used up."""
    total: Object = {**dict.fromkeys(_COUNTS, 0), "last_id": 0}
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


def _moment(query: Any, name: str) -> str | None:
    """Return a query parameter that is an RFC 3339 time with offset, put into UTC."""
    value = query_text(query, name)
    if value is None:
        return None
    # An unencoded `+` arrives as a space (http-a 8.6).
    moment = parse_moment(value.replace(" ", "+"))
    if moment is None:
        raise bad_query(f"{name}: input contains invalid characters")
    return moment.isoformat()
