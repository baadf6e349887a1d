"""Rotation of keys and its status, secrets for other regions, the audit."""

from litestar import Response
from noetl_contract.access.rights import Right
from noetl_contract.http.secrets.credentials import CrossRegionRequest
from noetl_contract.http.secrets.keychain import (
    AuditQuery,
    RotatedTable,
    RotatedTables,
    RotateKeysRequest,
    RotateRequest,
)
from noetl_contract.rpc.catalog import (
    CREDENTIAL_CROSS_REGION,
    SECRET_AUDIT,
    WALLET_ROTATE,
    WALLET_STATUS,
)
from noetl_contract.rpc.models import Nothing
from pydantic import BaseModel

from noetl_api_gateway.gateway import OpenGateway
from noetl_api_gateway.http.answers import json_answer
from noetl_api_gateway.http.bodies import AnyRequest
from noetl_api_gateway.http.decoding import read_body
from noetl_api_gateway.http.fields import query_moment
from noetl_api_gateway.http.token_guard import WRONG_TOKEN, optional_token_guard
from noetl_api_gateway.routes.forwarding import Sent, Topic
from noetl_api_gateway.upstream.services import Services

TOPIC = Topic("wallet", guards=[optional_token_guard], errors=WRONG_TOKEN)


@TOPIC.route(
    "POST /api/internal/wallet/rotate-kek",
    RotatedTables,
    body=RotateKeysRequest,
    needs=Right.WALLET_ROTATE,
    summary="Wrap all data keys with the current key",
)
async def rotate_keys(request: AnyRequest, gateway: OpenGateway) -> Response[bytes]:
    """Rotate table by table, in slices; a repeated request continues after an interruption."""
    sent = await read_body(request, RotateKeysRequest)
    batch_size = max(1, 100 if sent.batch_size is None else sent.batch_size)
    max_batches = max(1, 1000 if sent.max_batches is None else sent.max_batches)
    services = gateway.services
    credential, keychain = [
        await _rotated(services, table, batch_size=batch_size, max_batches=max_batches)
        for table in ("credential", "keychain")
    ]
    return json_answer(request, RotatedTables(credential=credential, keychain=keychain))


async def _rotated(
    services: Services, table: str, *, batch_size: int, max_batches: int
) -> RotatedTable:
    """Ask on until the table is done or the batches are used up."""
    total = RotatedTable(processed=0, rewrapped=0, skipped=0, failed=0, last_id=0)
    after, left, is_done = "", max_batches, False
    while left > 0 and not is_done:
        wanted = RotateRequest(table=table, after=after, batch_size=batch_size, max_batches=left)
        part = await services.ask(WALLET_ROTATE, wanted, within="secrets")
        total = RotatedTable(
            processed=total.processed + part.processed,
            rewrapped=total.rewrapped + part.rewrapped,
            skipped=total.skipped + part.skipped,
            failed=total.failed + part.failed,
            last_id=part.last_id or total.last_id,
        )
        after, is_done = part.after, part.done
        left -= part.batches
    return total


def _audit(sent: Sent[BaseModel]) -> AuditQuery:
    return AuditQuery(
        credential=sent.text("credential"),
        execution_id=sent.number("execution_id"),
        since=query_moment(sent.text("from"), "from"),
        until=query_moment(sent.text("to"), "to"),
        limit=sent.number("limit", 100),
    )


TOPIC.forward(
    "POST /api/internal/cross-region/resolve",
    CREDENTIAL_CROSS_REGION,
    lambda sent: sent.body,
    body=CrossRegionRequest,
    name="resolve_across_regions",
    needs=Right.CROSS_REGION,
    within="secrets",
    summary="Seal a secret of this region for another region's worker",
)
TOPIC.forward(
    "GET /api/internal/wallet/key-status",
    WALLET_STATUS,
    lambda _: Nothing(),
    name="key_status",
    needs=Right.WALLET_READ,
    summary="Count records by the version of their key",
    description="Count records; those in another form are `invalid`.",
)
TOPIC.forward(
    "GET /api/internal/secret-audit",
    SECRET_AUDIT,
    _audit,
    name="secret_audit",
    needs=Right.SECRET_AUDIT_READ,
    summary="List readings and changes of secrets, newest first",
    query={
        "credential": (str, "exact name"),
        "execution_id": (int, "execution"),
        "from": (str, "first moment, RFC 3339"),
        "to": (str, "moment after the last, RFC 3339"),
        "limit": (int, "rows at most, up to 10000"),
    },
)
