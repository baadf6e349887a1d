"""Build the handlers of ingress messages and of claims."""

from dataclasses import dataclass

from noetl_common.bus.broker import Bus

from noetl_orchestrator.ingress.claims import ClaimHandler
from noetl_orchestrator.ingress.handlers import IngressHandler
from noetl_orchestrator.log.store import Store
from noetl_orchestrator.settings import Settings
from noetl_orchestrator.turn.dispatch import Dispatcher


@dataclass(frozen=True, slots=True)
class Ingress:
    """Handlers of ingress messages and of claims."""

    on_batch: IngressHandler
    claims: ClaimHandler


def open_ingress(settings: Settings, bus: Bus, store: Store, dispatcher: Dispatcher) -> Ingress:
    """Build the handlers; `run_consumer` feeds the messages."""
    shard, shard_count = settings.shard_index, settings.shard_count
    return Ingress(
        on_batch=IngressHandler(
            bus,
            dispatcher,
            shard=shard,
            shard_count=shard_count,
            idempotency_seconds=settings.request_key_seconds,
        ),
        claims=ClaimHandler(
            store,
            dispatcher,
            shard=shard,
            shard_count=shard_count,
            timeout_seconds=settings.claim_patience_seconds,
        ),
    )
