"""Starts of executions for a page, which may wait for the result on its `/events`."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self
from uuid import uuid4

import orjson
from noetl_console.api import Api, Refused, segment
from noetl_contract.access.capability import PageCapability
from noetl_contract.http.executions.start import ExecuteAnswer
from noetl_contract.http.moments import rfc3339
from noetl_contract.http.scalars import parse_i64
from noetl_contract.json import Json, JsonObject
from noetl_contract.pages import CLIENT_ID, PageRequest

from noetl_api_gateway.access.gatekeeper import gatekeeper_of, principal_of
from noetl_api_gateway.gateway import Gateway
from noetl_api_gateway.http.bodies import AnyRequest
from noetl_api_gateway.routes.own_calls import APPLICATION_STATE, OwnCalls
from noetl_api_gateway.routes.web_ui.tokens import owner_of

_CLIENT = re.compile(CLIENT_ID, re.ASCII)
_KINDS = ("playbook", "agent")
# After these it is not known whether the execution has started.
_UNKNOWN = frozenset({502, 504})


@dataclass(frozen=True, slots=True)
class Asking:
    """One request of a page, and the parts that serve its calls.

    Attributes:
        request: has the login.
        gateway: the open parts.
    """

    request: AnyRequest
    gateway: Gateway

    def calls(self, *, execution_id: int | None = None) -> OwnCalls:
        """Return the client for calls to the API, with the login of the page."""
        app = self.request.app.state[APPLICATION_STATE]
        return OwnCalls(app, self.request.scope, "", execution_id=execution_id)


@dataclass(frozen=True, slots=True)
class Start:
    """A call that starts an execution.

    Attributes:
        route: below `/api`.
        body: without the workload.
        variables: the workload.
        name: of the started execution's playbook, for the answer.
        path: of the playbook, where it is known.
    """

    route: str
    body: JsonObject
    variables: JsonObject
    name: str
    path: str | None

    @classmethod
    def of_playbook(cls, name: str, variables: Json, resource_kind: str | None) -> Self:
        """Return the start of the newest version of a playbook.

        Raises:
            Refused: 422, the fields have no meaning.
        """
        kind = resource_kind or _KINDS[0]
        if kind not in _KINDS:
            raise Refused(422, f"resourceKind '{kind[:100]}' is none of {', '.join(_KINDS)}")
        body = {"path": name, "resource_kind": kind}
        return cls("execute", body, _workload(variables), name, name)

    @classmethod
    def once_more(cls, execution_id: str, variables: Json) -> Self:
        """Return the start of an execution once more.

        Raises:
            Refused: 422, the fields have no meaning.
        """
        number = parse_i64(execution_id.strip())
        if number is None:
            raise Refused(422, f"executionId '{execution_id[:100]}' is no id of an execution")
        route = f"executions/{segment(number)}/rerun"
        return cls(route, {}, _workload(variables), str(number), None)


async def started(asking: Asking, start: Start, client_id: str | None) -> JsonObject:
    """Start an execution; the request of a waiting page is stored first.

    Raises:
        Refused: nothing was started, or it is not known whether.
        Refusal: the request of the page is not kept, so nothing was started.
    """
    if client_id is None:
        answer = await _sent(asking, start, {}, None)
        return _shown(start, answer, None)
    if not _CLIENT.fullmatch(client_id):
        raise Refused(422, "clientId is no name of a connection: `/events` tells it as `clientId`")
    pages = asking.gateway.pages
    request = PageRequest(
        request_id=str(uuid4()),
        client_id=client_id,
        owner=owner_of(principal_of(asking.request)),
        execution_id=asking.gateway.ids.next(),
        path=start.path,
        created_at=rfc3339(datetime.now(UTC)),
    )
    number = await pages.keep(request)
    more = _for_callbacks(asking, request.request_id)
    try:
        answer = await _sent(asking, start, more, request.execution_id)
    except Refused as refused:
        if refused.status not in _UNKNOWN:
            await pages.drop(number)
        raise
    if answer.execution_id != str(request.execution_id):
        # An existing server has started it, under an id of its own.
        await pages.keep(request.but(execution_id=int(answer.execution_id)))
        await pages.drop(number)
    return _shown(start, answer, request.request_id)


async def _sent(
    asking: Asking, start: Start, more: JsonObject, execution_id: int | None
) -> ExecuteAnswer:
    body = {**start.body, "workload": {**start.variables, **more}}
    api = Api(asking.calls(execution_id=execution_id))
    return await api.send(ExecuteAnswer, start.route, body)


def _for_callbacks(asking: Asking, request_id: str) -> JsonObject:
    """Return the values with which a playbook posts the result of a request; no login is needed.

    Where the request's id is enough the address is plain: some HTTP clients take no login in one.
    """
    settings = asking.gateway.settings
    base, key = settings.public_server_url.rstrip("/"), settings.command_key_bytes()
    is_open = gatekeeper_of(asking.request) is None and not settings.internal_token()
    if is_open or not key:
        return {"request_id": request_id, "gateway_url": base}
    capability = PageCapability(request_id)
    mac = capability.mac(key)
    scheme, _, place = base.partition("://")
    return {
        "request_id": request_id,
        "gateway_url": f"{scheme}://{capability.user}:{mac}@{place.rpartition('@')[2]}",
        # Under a name of secrets, so that it is masked wherever it is shown, also in the address.
        "callback_token": mac,
    }


def _shown(start: Start, answer: ExecuteAnswer, request_id: str | None) -> JsonObject:
    return {
        "id": answer.execution_id,
        "executionId": answer.execution_id,
        "requestId": request_id,
        "name": start.name,
        "status": answer.status,
        "textOutput": None,
    }


def encoded(value: Json, name: str) -> bytes:
    """Return a value of a document as JSON.

    Raises:
        Refused: 422, JSON of ours doesn't have it: an integer beyond 64 bits, too deep nesting.
    """
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError as error:
        raise Refused(422, f"{name} can't be sent as JSON: {error}") from error


def _workload(variables: Json) -> JsonObject:
    if variables is None:
        return {}
    if not isinstance(variables, dict):
        raise Refused(422, "variables is no object: its keys are laid over the workload")
    encoded(variables, "variables")
    return variables
