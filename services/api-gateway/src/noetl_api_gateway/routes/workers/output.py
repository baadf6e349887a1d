"""`POST /api/commands/{event_id}/output`: lines of a run, of workers that may not publish them."""

from litestar import Response
from litestar.params import FromPath
from noetl_contract.access.rights import Right
from noetl_contract.http.workers.output import OutputBatch, OutputTaken
from noetl_contract.subjects import output_subject

from noetl_api_gateway.access.gatekeeper import own_command, reach_execution
from noetl_api_gateway.gateway import OpenGateway
from noetl_api_gateway.http.answers import json_answer
from noetl_api_gateway.http.bodies import AnyRequest
from noetl_api_gateway.http.decoding import read_body
from noetl_api_gateway.http.fields import path_id
from noetl_api_gateway.http.refusals import Refusal
from noetl_api_gateway.routes.forwarding import Topic

TOPIC = Topic("commands")


@TOPIC.route(
    "POST /api/commands/{event_id:str}/output",
    OutputTaken,
    body=OutputBatch,
    needs=Right.EVENTS_POST,
    summary="Pass on lines that a run prints",
    description="Lines go to whoever watches the execution now, and are kept nowhere: what a run"
    " has printed is part of its result. A worker sends them only while somebody watches, which"
    " it hears on `noetl_hint.watch`.",
    errors={422: "event_id is not the command of the path"},
)
async def output(
    request: AnyRequest, gateway: OpenGateway, event_id: FromPath[str]
) -> Response[bytes]:
    """Publish the batch as a worker at the broker would; every edge may have readers."""
    number = path_id(event_id)
    own_command(request, number, Right.EVENTS_POST)
    batch = await read_body(request, OutputBatch, unique_keys=False)
    if batch.event_id != number:
        raise Refusal(422, "event_id is not the command of the path")
    await reach_execution(request, batch.execution_id, Right.EVENTS_POST)
    body = batch.model_dump_json().encode()
    if len(body) > gateway.bus.largest_message // 2:
        raise Refusal(413, "The lines are too long for one message")
    await gateway.bus.send(output_subject(batch.execution_id), body)
    return json_answer(request, OutputTaken(status="ok"))
