"""The subscriptions that listen at the gateway, by the name at the end of their path."""

from collections.abc import Mapping, Sequence

from noetl_contract.json import Json
from noetl_contract.rpc.catalog import ListenerSubscription
from noetl_engine.playbook.errors import DecodeError
from noetl_engine.playbook.yaml import compose, to_json
from noetl_engine.triggers.subscription import listener_of

from noetl_catalog.entries.reach import read_registrant
from noetl_catalog.entries.store import SubscriptionDocument

MOST_SUBSCRIPTIONS = 2000
"""Most subscriptions that are searched for a listener."""


def find_listener(
    documents: Sequence[SubscriptionDocument], listener: str
) -> ListenerSubscription | None:
    """Return the subscription whose gateway path ends in a name; run it in a thread."""
    for document in documents:
        spec = _spec(document.content)
        if listener_of(spec) == listener:
            return ListenerSubscription(
                path=document.path,
                catalog_id=document.catalog_id,
                spec=spec,
                registrant=read_registrant(document.registrant),
            )
    return None


def _spec(content: str | None) -> Mapping[str, Json]:
    """Return the `spec` of a document; an unreadable document listens nowhere."""
    try:
        document = to_json(compose(content or ""))
    except DecodeError:
        return {}
    return _map(_map(document).get("spec"))


def _map(value: Json) -> Mapping[str, Json]:
    return value if isinstance(value, dict) else {}
