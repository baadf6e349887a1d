"""`GET /api/commands/{event_id}` and `POST …/claim` (F15)."""

import asyncio

from litestar import Response
from litestar.params import FromPath
from noetl_bus.writes.exchange import NoAnswer, WriteTimeout
from noetl_contract.access.capability import Capability
from noetl_contract.access.rights import Right
from noetl_contract.http.workers.commands import ClaimAnswer, ClaimBody, CommandAnswer
from noetl_contract.ingress import ClaimMessage
from noetl_contract.rpc.projector import COMMAND_GET, CommandName

from noetl_api_gateway.access.gatekeeper import own_command, principal_of, reach_execution
from noetl_api_gateway.gateway import Gateway, OpenGateway
from noetl_api_gateway.http.answers import json_answer
from noetl_api_gateway.http.bodies import AnyRequest
from noetl_api_gateway.http.decoding import read_body
from noetl_api_gateway.http.fields import path_id
from noetl_api_gateway.http.refusals import Refusal, unavailable
from noetl_api_gateway.http.shell import call_of
from noetl_api_gateway.routes.forwarding import Topic

TOPIC = Topic("commands")


@TOPIC.route(
    "GET /api/commands/{event_id:str}",
    CommandAnswer,
    needs=Right.COMMANDS_READ,
    summary="Read a command",
    errors={404: "command.issued event not found: 325077236516646912"},
)
async def get_command(
    request: AnyRequest, gateway: OpenGateway, event_id: FromPath[str]
) -> Response[bytes]:
    """Read a command as it was issued, without claiming it."""
    number = path_id(event_id)
    own_command(request, number, Right.COMMANDS_READ)
    named = _named_execution(request, number)
    services = gateway.services
    if named is None:
        body = await services.forward_anywhere(COMMAND_GET, CommandName(event_id=number))
    else:
        wanted = CommandName(event_id=number, execution_id=named)
        body = await services.forward(COMMAND_GET, wanted, execution_id=named)
    command = COMMAND_GET.decode_answer(body)
    await reach_execution(request, command.execution_id, Right.COMMANDS_READ)
    return json_answer(request, body)


@TOPIC.route(
    "POST /api/commands/{event_id:str}/claim",
    ClaimAnswer,
    body=ClaimBody,
    needs=Right.COMMANDS_CLAIM,
    summary="Claim a command",
    errors={409: "Command already claimed by w-1"},
)
async def claim(
    request: AnyRequest, gateway: OpenGateway, event_id: FromPath[str]
) -> Response[bytes]:
    """Ask the orchestrator for the command's lease.

    A worker takes a refused claim back into its queue without delay, so trouble is held for a
    moment before it is answered (W7); a command that every shard denies is gone for good, and
    404 would only bring it back (F15).
    """
    number = path_id(event_id)
    own_command(request, number, Right.COMMANDS_CLAIM)
    wanted = await read_body(request, ClaimBody, unique_keys=False)
    hold_until = asyncio.get_running_loop().time() + gateway.settings.claim_hold_seconds
    try:
        named = await _reached_execution(request, gateway, number)
        body = await _claimed(gateway, number, wanted, named)
    except Refusal as refusal:
        if refusal.status in {429, 503}:
            await asyncio.sleep(max(0.0, hold_until - asyncio.get_running_loop().time()))
        raise
    return json_answer(request, body)


async def _reached_execution(request: AnyRequest, gateway: Gateway, event_id: int) -> int | None:
    """Return the execution of a command as named; look it up if the caller's reach depends on it.

    Raises:
        Refusal: 404, it is out of the caller's reach; 409, there is no such command.
    """
    principal = principal_of(request)
    if principal is None or principal.is_whole or principal.kind == "capability":
        return _named_execution(request, event_id)
    found = await _find_execution(gateway, event_id, gateway.settings.claim_patience_seconds)
    await reach_execution(request, found, Right.COMMANDS_CLAIM)
    return found


async def _claimed(gateway: Gateway, event_id: int, body: ClaimBody, named: int | None) -> bytes:
    timeout_seconds = gateway.settings.claim_patience_seconds
    if named is None and gateway.services.shard_count > 1:
        named = await _find_execution(gateway, event_id, timeout_seconds)
    wanted = ClaimMessage(
        event_id=event_id,
        worker_id=body.worker_id,
        instance=body.instance,
        known_workload=body.known_workload,
        execution_id=named,
        fence=_fence(gateway.settings.command_key_bytes(), named or 0, event_id),
    )
    try:
        wait = WriteTimeout(seconds=timeout_seconds)
        return await gateway.writer.send(wanted, wait=wait)
    except Refusal as refusal:
        if refusal.status == 404:
            raise _gone() from refusal
        raise
    except NoAnswer as error:
        raise unavailable("The orchestrator service did not answer in time") from error


def _fence(key: bytes, execution_id: int, event_id: int) -> str | None:
    """Return the proof that a notification of the command would hold, for an admitted caller."""
    return Capability(execution_id, event_id, 1).userinfo(key).partition(":")[2] or None


async def _find_execution(gateway: Gateway, event_id: int, timeout_seconds: float) -> int:
    """Ask all shards for the command; a shard without an answer may hold it."""
    services, wanted = gateway.services, CommandName(event_id=event_id)
    asked = (
        services.ask(COMMAND_GET, wanted, shard=shard, within=timeout_seconds)
        for shard in services.shards
    )
    answers = await asyncio.gather(*asked, return_exceptions=True)
    for answer in answers:
        if isinstance(answer, CommandAnswer):
            return answer.execution_id
    for answer in answers:
        if isinstance(answer, Refusal) and answer.status == 404:
            continue
        if isinstance(answer, BaseException):
            raise answer
    raise _gone()


def _gone() -> Refusal:
    message = "Command already reached terminal state"
    return Refusal(409, message, detail={"code": "already_terminal", "message": message})


def _named_execution(request: AnyRequest, event_id: int) -> int | None:
    call = call_of(request.scope)
    return call[0] if call is not None and call[1] == event_id else None
