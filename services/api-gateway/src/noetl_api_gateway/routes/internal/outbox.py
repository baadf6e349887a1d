"""`/api/internal/*`: borrow and mark outbox rows, append projected events, purge."""

from litestar import Response
from noetl_contract.access.rights import Right
from noetl_contract.http.system.internal import (
    ClaimedRow,
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
from noetl_contract.json import Json
from noetl_contract.rpc.catalog import RUNTIME_PURGE, RuntimePurgeRequest
from noetl_contract.rpc.models import Nothing
from noetl_contract.rpc.orchestrator import (
    LOG_PROJECT,
    PURGE,
    LogEnvelope,
    LogPurgeRequest,
    ProjectRows,
)
from noetl_contract.rpc.outbox import (
    CLAIM,
    MARK_FAILED,
    MARK_PUBLISHED,
    PENDING,
    FailedRow,
    PublishedRows,
    RowsRequest,
)

from noetl_api_gateway.gateway import OpenGateway
from noetl_api_gateway.http.answers import json_answer, plain_answer
from noetl_api_gateway.http.bodies import AnyRequest, decode, read_bytes, read_json
from noetl_api_gateway.http.decoding import read_body, validated
from noetl_api_gateway.http.fields import query_int
from noetl_api_gateway.http.token_guard import WRONG_TOKEN, internal_token_guard
from noetl_api_gateway.metrics import PURGED
from noetl_api_gateway.routes.forwarding import Topic

TOPIC = Topic("internal", guards=[internal_token_guard], errors=WRONG_TOKEN)


@TOPIC.route(
    "POST /api/internal/outbox/claim",
    ClaimedRows,
    body=ClaimRowsRequest,
    is_body_required=False,
    needs=Right.INTERNAL_OUTBOX,
    summary="Borrow event rows of the outbox for publication",
    query={"limit": (int, "how many rows, where the body does not say")},
)
async def claim_rows(request: AnyRequest, gateway: OpenGateway) -> Response[bytes]:
    """Borrow rows, those of the lowest ids first; they come back when the lease is over."""
    query = request.query_params
    # Where the body doesn't say how many, or is none, the query may.
    has_body = "limit" not in query or (await read_bytes(request)).strip()
    body = await read_json(request, unique_keys=True) if has_body else {}
    asked = validated(ClaimRowsRequest, body).limit
    if asked is None:
        asked = query_int(query, "limit")
    limit = max(1, min(100 if asked is None else asked, 1000))
    rows: list[ClaimedRow] = []
    for shard in gateway.services.shards:
        if len(rows) < limit:
            wanted = RowsRequest(limit=limit - len(rows))
            rows += (await gateway.services.ask(CLAIM, wanted, shard=shard)).rows
    return plain_answer(ClaimedRows(rows=rows, claimed=len(rows)))


@TOPIC.route(
    "POST /api/internal/outbox/mark-published",
    MarkedRows,
    body=MarkPublishedRequest,
    needs=Right.INTERNAL_OUTBOX,
    summary="Say which borrowed rows were published",
    errors={400: "outbox_ids must not be empty"},
)
async def mark_published(request: AnyRequest, gateway: OpenGateway) -> Response[bytes]:
    """Mark rows; unknown ids do not count."""
    ids = (await read_body(request, MarkPublishedRequest)).outbox_ids
    shards = await gateway.services.ask_all(MARK_PUBLISHED, PublishedRows(outbox_ids=ids))
    return json_answer(request, MarkedRows(marked=sum(shard.marked for shard in shards)))


@TOPIC.route(
    "POST /api/internal/outbox/mark-failed",
    MarkedRow,
    body=MarkFailedRequest,
    needs=Right.INTERNAL_OUTBOX,
    summary="Say that a borrowed row was not published",
    errors={400: "error must not be empty"},
)
async def mark_failed(request: AnyRequest, gateway: OpenGateway) -> Response[bytes]:
    """Put a row back with a pause that doubles with each attempt."""
    sent = await read_body(request, MarkFailedRequest)
    wanted = FailedRow(
        outbox_id=sent.outbox_id,
        error=sent.error,
        attempts=sent.attempts,
        max_delay_seconds=sent.max_delay_seconds,
    )
    # An id says nothing about its shard.
    shards = await gateway.services.ask_all(MARK_FAILED, wanted)
    return json_answer(request, shards[0])


@TOPIC.route(
    "GET /api/internal/outbox/pending-count",
    PendingRows,
    needs=Right.INTERNAL_OUTBOX,
    summary="Count event rows that wait for their publication",
)
async def count_pending(request: AnyRequest, gateway: OpenGateway) -> Response[bytes]:
    """Count the rows that a claim would find now."""
    shards = await gateway.services.ask_all(PENDING, Nothing())
    return json_answer(request, PendingRows(pending=sum(shard.pending for shard in shards)))


@TOPIC.route(
    "POST /api/internal/events/project",
    ProjectAnswer,
    body=ProjectRequest,
    needs=Right.INTERNAL_EVENTS,
    summary="Append events to logs, each once",
    errors={400: "events must not be empty"},
)
async def project_events(request: AnyRequest, gateway: OpenGateway) -> Response[bytes]:
    """Append events that their logs don't have yet; nothing is decided about them."""
    rows = [_row(event) for event in (await read_body(request, ProjectRequest)).events]
    shards: dict[int, list[LogEnvelope]] = {}
    for row in rows:
        shards.setdefault(gateway.services.shard_of(row.execution_id), []).append(row)
    projected = 0
    for shard, own in sorted(shards.items()):
        wanted = ProjectRows(events=own)
        projected += (await gateway.services.ask(LOG_PROJECT, wanted, shard=shard)).projected
    answer = ProjectAnswer(projected=projected, duplicates=len(rows) - projected)
    return json_answer(request, answer)


@TOPIC.route(
    "POST /api/internal/cleanup/purge",
    PurgeAnswer,
    body=PurgeRequest,
    is_body_required=False,
    needs=Right.INTERNAL_PURGE,
    summary="Remove what is older than its retention",
)
async def purge(request: AnyRequest, gateway: OpenGateway) -> Response[bytes]:
    """Remove old commands and silent workers; drop partitions of the log past retention."""
    sent = validated(PurgeRequest, await _optional_body(request))
    services, seconds = gateway.services, gateway.settings.result_patience_seconds
    wanted = LogPurgeRequest(
        command_retention_days=sent.command_retention_days,
        event_retention_days=sent.event_retention_days,
    )
    commands, runtimes = 0, 0
    dropped: list[str] = []
    for shard in services.shards:
        done = await services.ask(PURGE, wanted, shard=shard, within=seconds)
        commands += done.commands_purged
        dropped += done.event_partitions_dropped
    minutes = sent.runtime_stale_minutes
    if minutes > 0:
        silent = RuntimePurgeRequest(stale_minutes=minutes)
        runtimes = (await services.ask(RUNTIME_PURGE, silent)).purged
    PURGED.labels("command").inc(commands)
    PURGED.labels("runtime").inc(runtimes)
    PURGED.labels("event_partition").inc(len(dropped))
    answer = PurgeAnswer(
        commands_purged=commands, runtime_purged=runtimes, events_purged=len(dropped)
    )
    if dropped:
        answer = answer.model_copy(update={"event_partitions_dropped": dropped})
    return json_answer(request, answer)


async def _optional_body(request: AnyRequest) -> Json:
    """Return the body; no content type means none, and JSON must not be empty."""
    if request.headers.get("content-type") is None and not (await read_bytes(request)).strip():
        return {}
    if request.headers.get("content-type") is None:
        return decode(await read_bytes(request))
    return await read_json(request)


def _row(event: ProjectedEvent) -> LogEnvelope:
    """Return the stored fields of an event from another system."""
    moment = event.timestamp or event.created_at
    return LogEnvelope(
        event_id=event.event_id,
        execution_id=event.execution_id or 0,
        catalog_id=event.catalog_id,
        parent_event_id=event.parent_event_id,
        event_type=event.event_type,
        node_id=event.node_id,
        node_name=event.node_name,
        node_type=event.node_type,
        status=event.status,
        error=event.error,
        stack_trace=event.stack_trace,
        duration=event.duration,
        context=event.context,
        result=event.result,
        meta=event.meta,
        tenant_id=event.tenant_id,
        organization_id=event.organization_id,
        created_at=None if moment is None else moment.isoformat(),
    )
