"""`/api/internal/*`: borrow and mark outbox rows, append projected events, purge."""

import asyncio

from litestar import Response, get, post
from noetl_contract.http.system.internal import (
    ClaimedRows,
    ClaimRowsRequest,
    MarkedRow,
    MarkedRows,
    MarkFailedRequest,
    MarkPublishedRequest,
    PendingRows,
    ProjectAnswer,
    ProjectedEvent,
    ProjectRequest,
    PurgeAnswer,
    PurgeRequest,
)
from noetl_contract.json import Json, JsonObject

from noetl_api_gateway.gateway import Gateway, OpenGateway
from noetl_api_gateway.http.answers import encode, json_answer
from noetl_api_gateway.http.bodies import AnyRequest, decode, read_bytes, read_json
from noetl_api_gateway.http.decoding import read_body, validated
from noetl_api_gateway.http.fields import query_int
from noetl_api_gateway.http.openapi import documented
from noetl_api_gateway.http.token_guard import internal_token_guard
from noetl_api_gateway.metrics import PURGED
from noetl_api_gateway.upstream.services import body_of

_WRONG_TOKEN = {403: "Invalid service-account token for /api/internal/*."}
_TAGS = ["internal"]


@post(
    "/api/internal/outbox/claim",
    status_code=200,
    guards=[internal_token_guard],
    summary="Borrow event rows of the outbox for publication",
    tags=_TAGS,
    operation_class=documented(
        ClaimRowsRequest,
        ClaimedRows,
        query={"limit": (int, "how many rows, where the body does not say")},
        errors=_WRONG_TOKEN,
        is_body_required=False,
    ),
)
async def claim_rows(request: AnyRequest, gateway: OpenGateway) -> Response[bytes]:
    """Borrow rows, those of the lowest ids first; they come back when the lease is over."""
    query = request.query_params
    # Where the body doesn't say how many, or is none, the query may.
    is_told = "limit" not in query or (await read_bytes(request)).strip()
    body = await read_json(request, unique_keys=True) if is_told else {}
    asked = validated(ClaimRowsRequest, body).limit
    if asked is None:
        asked = query_int(query, "limit")
    limit = max(1, min(100 if asked is None else asked, 1000))
    rows: list[JsonObject] = []
    for shard in range(gateway.services.shard_count):
        if len(rows) < limit:
            wanted = {"limit": limit - len(rows)}
            rows += body_of(await gateway.services.outbox("claim", wanted, shard=shard))["rows"]
    # Ids of the internal API are numbers for browsers too.
    answer = encode({"rows": rows, "claimed": len(rows)})
    return Response(answer, media_type="application/json")


@post(
    "/api/internal/outbox/mark-published",
    status_code=200,
    guards=[internal_token_guard],
    summary="Say which borrowed rows were published",
    tags=_TAGS,
    operation_class=documented(
        MarkPublishedRequest,
        MarkedRows,
        errors={400: "outbox_ids must not be empty", **_WRONG_TOKEN},
    ),
)
async def mark_published(request: AnyRequest, gateway: OpenGateway) -> Response[bytes]:
    """Mark rows; unknown ids do not count."""
    ids = (await read_body(request, MarkPublishedRequest)).outbox_ids
    replies = await _ask_all(gateway, "mark.published", {"outbox_ids": ids})
    return json_answer(request, {"marked": sum(reply["marked"] for reply in replies)})


@post(
    "/api/internal/outbox/mark-failed",
    status_code=200,
    guards=[internal_token_guard],
    summary="Say that a borrowed row was not published",
    tags=_TAGS,
    operation_class=documented(
        MarkFailedRequest,
        MarkedRow,
        errors={400: "error must not be empty", **_WRONG_TOKEN},
    ),
)
async def mark_failed(request: AnyRequest, gateway: OpenGateway) -> Response[bytes]:
    """Put a row back with a pause that doubles with each attempt."""
    wanted = dict(await read_body(request, MarkFailedRequest))
    replies = await _ask_all(gateway, "mark.failed", wanted)
    return json_answer(request, replies[0])


@get(
    "/api/internal/outbox/pending-count",
    guards=[internal_token_guard],
    summary="Count event rows that wait for their publication",
    tags=_TAGS,
    operation_class=documented(None, PendingRows, errors=_WRONG_TOKEN),
)
async def count_pending(request: AnyRequest, gateway: OpenGateway) -> Response[bytes]:
    """Count the rows that a claim would find now."""
    replies = await _ask_all(gateway, "pending", {})
    return json_answer(request, {"pending": sum(reply["pending"] for reply in replies)})


@post(
    "/api/internal/events/project",
    status_code=200,
    guards=[internal_token_guard],
    summary="Append events to logs, each once",
    tags=_TAGS,
    operation_class=documented(
        ProjectRequest,
        ProjectAnswer,
        errors={400: "events must not be empty", **_WRONG_TOKEN},
    ),
)
async def project_events(request: AnyRequest, gateway: OpenGateway) -> Response[bytes]:
    """Append events that their logs don't have yet; nothing is decided about them."""
    events = (await read_body(request, ProjectRequest)).events
    envelopes = [_row(event) for event in events]
    shards: dict[int, list[JsonObject]] = {}
    for envelope in envelopes:
        shard = gateway.services.shard_of(envelope["execution_id"])
        shards.setdefault(shard, []).append(envelope)
    projected = 0
    for shard, rows in sorted(shards.items()):
        reply = await gateway.services.orchestrator("log.project", {"events": rows}, shard=shard)
        projected += body_of(reply)["projected"]
    return json_answer(request, {"projected": projected, "duplicates": len(envelopes) - projected})


@post(
    "/api/internal/cleanup/purge",
    status_code=200,
    guards=[internal_token_guard],
    summary="Remove what is older than its retention",
    tags=_TAGS,
    operation_class=documented(
        PurgeRequest, PurgeAnswer, errors=_WRONG_TOKEN, is_body_required=False
    ),
)
async def purge(request: AnyRequest, gateway: OpenGateway) -> Response[bytes]:
    """Remove old commands and silent workers; drop partitions of the log past retention."""
    sent = validated(PurgeRequest, await _optional_body(request))
    timeout = gateway.settings.result_patience_seconds
    body: JsonObject = {"commands_purged": 0, "runtime_purged": 0, "events_purged": 0}
    dropped: list[str] = []
    wanted = {
        "command_retention_days": sent.command_retention_days,
        "event_retention_days": sent.event_retention_days,
    }
    for shard in range(gateway.services.shard_count):
        reply = await gateway.services.orchestrator(
            "purge", wanted, shard=shard, timeout_seconds=timeout
        )
        done = body_of(reply)
        body["commands_purged"] += done["commands_purged"]
        dropped += done["event_partitions_dropped"]
    minutes = sent.runtime_stale_minutes
    if minutes > 0:
        reply = await gateway.services.catalog("runtime.purge", {"stale_minutes": minutes})
        body["runtime_purged"] = body_of(reply)["purged"]
    body["events_purged"] = len(dropped)
    if dropped:
        body["event_partitions_dropped"] = dropped
    PURGED.labels("command").inc(body["commands_purged"])
    PURGED.labels("runtime").inc(body["runtime_purged"])
    PURGED.labels("event_partition").inc(len(dropped))
    return json_answer(request, body)


async def _optional_body(request: AnyRequest) -> Json:
    """Return the body; no content type means none, and JSON must not be empty."""
    if request.headers.get("content-type") is None and not (await read_bytes(request)).strip():
        return {}
    if request.headers.get("content-type") is None:
        return decode(await read_bytes(request))
    return await read_json(request)


async def _ask_all(gateway: Gateway, operation: str, wanted: JsonObject) -> list[JsonObject]:
    """Ask the outboxes of all shards; an id says nothing about its shard."""
    shards = range(gateway.services.shard_count)
    replies = await asyncio.gather(
        *(gateway.services.outbox(operation, wanted, shard=shard) for shard in shards)
    )
    return [body_of(reply) for reply in replies]


def _row(event: ProjectedEvent) -> JsonObject:
    """Return the stored fields of an event from another system."""
    moment = event.timestamp or event.created_at
    row = {name: value for name, value in event if name != "timestamp"}
    return row | {
        "execution_id": event.execution_id or 0,
        "created_at": None if moment is None else moment.isoformat(),
    }


ROUTES = [claim_rows, mark_published, mark_failed, count_pending, project_events, purge]
