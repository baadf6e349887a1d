"""Which events a caller may report, and of which command."""

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
    """Return what the run of a command reports, with the command that it is about.

    One that names none would be taken for the command that is open in its step.

    Raises:
        Refusal: 403, it is about another command, or nothing that a run reports.
    """
    if event.event_type in _NOT_OF_A_RUN:
        raise Refusal(403, f"The login of a command can't report {event.event_type}")
    named = [told["command_id"] for told in (event.context, event.meta) if _names_command(told)]
    for name in named:
        found = _COMMAND_NUMBER.search(name)
        own_command(request, int(found[1]) if found else 0, Right.EVENTS_POST)
    if named:
        return event
    meta = event.meta if isinstance(event.meta, dict) else {}
    own = f"{principal.execution_id}:{event.step}:{principal.event_id}"
    return event.but(meta={**meta, "command_id": own})


def _names_command(told: Json) -> bool:
    return isinstance(told, dict) and isinstance(told.get("command_id"), str)
