"""Reads of events and batches by id, on any shard."""

from litestar.params import FromPath
from litestar.response import Stream
from noetl_contract.access.rights import Right
from noetl_contract.json import encode
from noetl_contract.rpc.projector import EVENT_RESULT, EVENTS_BATCH, BatchName, EventName

from noetl_api_gateway.gateway import OpenGateway
from noetl_api_gateway.http.fields import path_id
from noetl_api_gateway.http.openapi import StreamedEvent
from noetl_api_gateway.http.refusals import Refusal
from noetl_api_gateway.routes.forwarding import Needs, Topic

TOPIC = Topic("events")


@TOPIC.route(
    "GET /api/events/batch/{request_id:str}/stream",
    StreamedEvent,
    needs=Needs(Right.EXECUTIONS_READ, is_whole=True),
    summary="Ask what became of a batch of events, as an event stream",
    content_type="text/event-stream",
)
async def batch_status_stream(gateway: OpenGateway, request_id: FromPath[str]) -> Stream:
    """Stream the only status of a batch: completed, or not found."""
    number = path_id(request_id)
    try:
        body = await gateway.services.forward_anywhere(EVENTS_BATCH, BatchName(request_id=number))
    except Refusal as refusal:
        if refusal.status != 404:
            raise
        body = encode({"request_id": str(number), "state": "not_found"})
    return Stream(
        [b"event: status\ndata: ", body, b"\n\n"],
        media_type="text/event-stream",
        headers={"cache-control": "no-cache", "x-accel-buffering": "no"},
    )


TOPIC.forward(
    "GET /api/events/{event_id:str}/result",
    EVENT_RESULT,
    lambda sent: EventName(event_id=sent.id("event_id")),
    name="event_result",
    needs=Needs(Right.EXECUTIONS_READ, is_whole=True),
    is_anywhere=True,
    summary="Read what an event brought",
    errors={404: "Event not found: 325077238110482432"},
)
TOPIC.forward(
    "GET /api/events/batch/{request_id:str}/status",
    EVENTS_BATCH,
    lambda sent: BatchName(request_id=sent.id("request_id")),
    name="batch_status",
    needs=Needs(Right.EXECUTIONS_READ, is_whole=True),
    is_anywhere=True,
    summary="Ask what became of a batch of events",
    description="Ask after a batch by the id of one of its events: it is committed whole or not"
    " at all.",
    errors={404: "Batch request not found: 325077238110482432"},
)
