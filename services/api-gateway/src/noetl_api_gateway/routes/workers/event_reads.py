"""Events and batches by their ids."""

from collections.abc import AsyncIterator

from litestar import Response, get
from litestar.params import FromPath
from litestar.response import Stream
from noetl_contract.http.executions.events import BatchStatus, EventResult
from noetl_contract.json import Json
from noetl_contract.rpc import RpcReply

from noetl_api_gateway.gateway import Gateway, OpenGateway
from noetl_api_gateway.http.answers import encode, json_answer
from noetl_api_gateway.http.bodies import AnyRequest
from noetl_api_gateway.http.fields import path_id
from noetl_api_gateway.http.openapi import StreamedEvent, documented
from noetl_api_gateway.upstream.services import body_of


@get(
    "/api/events/{event_id:str}/result",
    summary="Read what an event brought",
    tags=["events"],
    operation_class=documented(
        None, EventResult, errors={404: "Event not found: 325077238110482432"}
    ),
)
async def event_result(
    request: AnyRequest, gateway: OpenGateway, event_id: FromPath[str]
) -> Response[bytes]:
    """Read an event by its id, on whatever shard it is."""
    number = path_id(event_id)
    reply = await _first_known(gateway, "event.result", {"event_id": number})
    return json_answer(request, body_of(reply))


@get(
    "/api/events/batch/{request_id:str}/status",
    summary="Ask what became of a batch of events",
    tags=["events"],
    operation_class=documented(
        None, BatchStatus, errors={404: "Batch request not found: 325077238110482432"}
    ),
)
async def batch_status(
    request: AnyRequest, gateway: OpenGateway, request_id: FromPath[str]
) -> Response[bytes]:
    """Ask after a batch by the id of one of its events: it is committed whole or not at all."""
    reply = await _first_known(gateway, "events.batch", {"request_id": path_id(request_id)})
    return json_answer(request, body_of(reply))


@get(
    "/api/events/batch/{request_id:str}/stream",
    summary="Ask what became of a batch of events, as an event stream",
    tags=["events"],
    operation_class=documented(None, StreamedEvent, content_type="text/event-stream"),
)
async def batch_status_stream(gateway: OpenGateway, request_id: FromPath[str]) -> Stream:
    """Send the one status that a batch has here: completed, or not found."""
    number = path_id(request_id)
    reply = await _first_known(gateway, "events.batch", {"request_id": number})
    if reply.status == 404:
        body: Json = {"request_id": str(number), "state": "not_found"}
    else:
        body = body_of(reply)

    async def send() -> AsyncIterator[bytes]:
        yield b"event: status\ndata: " + encode(body) + b"\n\n"

    return Stream(
        send(),
        media_type="text/event-stream",
        headers={"cache-control": "no-cache", "x-accel-buffering": "no"},
    )


async def _first_known(gateway: Gateway, operation: str, wanted: Json) -> RpcReply:
    """Ask one shard after the other; return the first answer other than 404."""
    reply = RpcReply(status=404)
    for shard in range(max(gateway.services.shard_count, 1)):
        reply = await gateway.services.projector(operation, wanted, shard=shard)
        if reply.status != 404:
            break
    return reply


ROUTES = [event_result, batch_status, batch_status_stream]
