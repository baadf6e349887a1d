"""`POST /api/commands/{event_id}/reports`: all events of a run in one call."""

from litestar import Response
from litestar.params import FromPath
from noetl_contract.access.rights import Right
from noetl_contract.http.workers.commands import CommandReport
from noetl_contract.ingress import (
    CommandOutcomeMessage,
    CommandStartMessage,
    FastAnswer,
)

from noetl_api_gateway.access.gatekeeper import own_command
from noetl_api_gateway.access.reports import refuse_foreign
from noetl_api_gateway.gateway import OpenGateway
from noetl_api_gateway.http.answers import json_answer
from noetl_api_gateway.http.bodies import AnyRequest
from noetl_api_gateway.http.decoding import read_body
from noetl_api_gateway.http.fields import path_id
from noetl_api_gateway.http.refusals import Refusal
from noetl_api_gateway.routes.forwarding import Topic, measured

TOPIC = Topic("commands")


@TOPIC.route(
    "POST /api/commands/{event_id:str}/reports",
    FastAnswer,
    body=CommandReport,
    needs=Right.EVENTS_POST,
    summary="Report the start or the outcome of a run",
    description="Events of one run, written together, and answered after their commit: a start is"
    " `held` or `lost`, an outcome counts (`ok`) or came `late`. The same report again has the same"
    " answer. A run needs no claim if its command came whole with the notification.",
    errors={422: "hold.event_id is not the command of the path"},
)
async def report(
    request: AnyRequest, gateway: OpenGateway, event_id: FromPath[str]
) -> Response[bytes]:
    """Put the report into the ingress stream, as a worker at the broker would."""
    number = path_id(event_id)
    own_command(request, number, Right.EVENTS_POST)
    wanted = await read_body(request, CommandReport, unique_keys=False)
    if wanted.hold.event_id != number:
        raise Refusal(422, "hold.event_id is not the command of the path")
    message = _message_of(wanted)
    await refuse_foreign(request, message)
    with measured("command_report"):
        seconds = gateway.settings.event_patience_seconds
        return json_answer(request, await gateway.writer.deliver(message, seconds=seconds))


def _message_of(wanted: CommandReport) -> CommandStartMessage | CommandOutcomeMessage:
    execution_id, hold, events = wanted.execution_id, wanted.hold, wanted.events
    if wanted.type == "command.start":
        return CommandStartMessage(execution_id=execution_id, hold=hold, events=events)
    return CommandOutcomeMessage(execution_id=execution_id, hold=hold, events=events)
