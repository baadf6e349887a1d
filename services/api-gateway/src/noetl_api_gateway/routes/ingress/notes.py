"""Notes about deliveries in the log of their subscription."""

from datetime import UTC, datetime

from noetl_common.logging import get_logger
from noetl_contract.rpc.orchestrator import LOG_PROJECT, LogEnvelope, ProjectRows
from noetl_contract.subscriptions.directives import Directed

from noetl_api_gateway.gateway import Gateway
from noetl_api_gateway.http.refusals import Refusal
from noetl_api_gateway.upstream.listeners import Listener

_log = get_logger()

_SECONDS = 1.0


async def note_directives(
    gateway: Gateway, listener: Listener, chosen: Directed, execution_id: str
) -> None:
    """Note the directives that a delivery's headers have decided; best effort."""
    subscription_id = int(listener.subscription.subscription_id)
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    row = LogEnvelope(
        event_id=gateway.ids.next(),
        execution_id=subscription_id,
        event_type="subscription.message.directives_applied",
        node_id="subscription",
        node_name="ingress",
        node_type="subscription",
        status="APPLIED",
        context={
            "subscription_id": str(subscription_id),
            "execution_id": execution_id,
            "directives": chosen.applied,
        },
        meta={"emitted_at": now, "emitter": "gateway_ingress"},
    )
    wanted = ProjectRows(events=[row], only_to_known=True)
    try:
        await gateway.services.forward(
            LOG_PROJECT, wanted, execution_id=subscription_id, within=_SECONDS
        )
    except Refusal as refusal:
        _log.info("directives_not_noted", execution_id=subscription_id, reason=refusal.text)
