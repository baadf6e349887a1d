"""Checks of the events that a caller may report, and of their commands."""

import re

from noetl_contract.access.principal import Principal
from noetl_contract.access.rights import Right
from noetl_contract.events import TERMINAL_TYPES, EventType
from noetl_contract.ingress import (
    CommandOutcomeMessage,
    CommandStartMessage,
    EventsMessage,
    WireEvent,
)
from noetl_contract.json import Json

from noetl_api_gateway.access.gatekeeper import own_command, principal_of, reach_execution
from noetl_api_gateway.http.bodies import AnyRequest
from noetl_api_gateway.http.refusals import Refusal

type Reported = EventsMessage | CommandStartMessage | CommandOutcomeMessage

_COMMAND_NUMBER = re.compile(r":([0-9]+)(?::i[0-9]+)?$")
"""The event id in a command's id: ``<execution>:<step>:<event>``, and ``:i<n>`` of an iteration."""
_NOT_OF_A_RUN = TERMINAL_TYPES | {
    EventType.PLAYBOOK_STARTED,
    EventType.STEP_ENTER,
    EventType.STEP_SKIPPED,
    EventType.CTX_UPDATED,
    EventType.COMMAND_ISSUED,
}


async def refuse_foreign(request: AnyRequest, message: Reported) -> None:
    """Refuse events of executions, or of commands, that the caller may not report on.

    Raises:
        Refusal: 403 or 404.
    """
    principal = principal_of(request)
    if principal is None:
        return
    await reach_execution(request, message.execution_id, Right.EVENTS_POST)
    if principal.kind == "capability":
        message.events[:] = [_of_command(request, principal, event) for event in message.events]


def _of_command(request: AnyRequest, principal: Principal, event: WireEvent) -> WireEvent:
    """Return an event that a run reports, completed with its command's id.

    An event that names no command would be taken for the command that is open in its step.

    Raises:
        Refusal: 403, it is about another command, or of a type that runs don't report.
    """
    if event.event_type in _NOT_OF_A_RUN:
        raise Refusal(403, f"The login of a command can't report {event.event_type}")
    named = [part["command_id"] for part in (event.context, event.meta) if _names_command(part)]
    for name in named:
        found = _COMMAND_NUMBER.search(name)
        own_command(request, int(found[1]) if found else 0, Right.EVENTS_POST)
    if named:
        return event
    meta = event.meta if isinstance(event.meta, dict) else {}
    own = f"{principal.execution_id}:{event.step}:{principal.event_id}"
    return event.but(meta={**meta, "command_id": own})


def _names_command(part: Json) -> bool:
    return isinstance(part, dict) and isinstance(part.get("command_id"), str)
