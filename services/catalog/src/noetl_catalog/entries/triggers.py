"""Documents that start executions: triggers, subscriptions of the gateway, and the webhook."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from noetl_common.logging import get_logger
from noetl_contract.failures.ended import WEBHOOK_CATALOG_ID, WEBHOOK_PATH, EndedTrigger
from noetl_contract.http.catalog.entries import CatalogEntry
from noetl_contract.json import Json
from noetl_contract.rpc.catalog import ListenerSubscription
from noetl_engine.playbook.errors import DecodeError
from noetl_engine.playbook.yaml import compose, to_json
from noetl_engine.triggers.ended import InvalidTrigger, read_trigger
from noetl_engine.triggers.subscription import listener_of

from noetl_catalog.entries.reach import read_registrant

MOST_SUBSCRIPTIONS = 2000
"""Maximum number of subscriptions that are searched for a listener."""
MOST_TRIGGERS = 1000
"""Maximum number of triggers in force, in order of their paths; further triggers are ignored."""
_log = get_logger()
_SINCE = datetime(2026, 1, 1, tzinfo=UTC)
# If all attempts fail, the step fails, so that operators see the failure.
_TEXT = f"""\
apiVersion: noetl.io/v2
kind: Playbook
metadata:
  name: webhook
  path: {WEBHOOK_PATH}
  description: Sends `body` to `url`; made for ends of executions.
spec: {{errors: fail}}
workload: {{url: "", auth: null, body: {{}}}}
workflow:
  - step: start
    desc: Send it.
    tool:
      kind: http
      method: POST
      url: "{{{{ workload.url }}}}"
      auth: "{{{{ workload.auth }}}}"
      json: "{{{{ workload.body }}}}"
      timeout_seconds: 30
      retry: {{max_attempts: 5, initial_delay: 1, max_delay: 30}}
"""


@dataclass(frozen=True, slots=True)
class TriggerDocument:
    """The stored document of a trigger."""

    path: str
    content: str | None
    registrant: Json = None


@dataclass(frozen=True, slots=True)
class SubscriptionDocument:
    """The stored document of a subscription."""

    path: str
    catalog_id: int
    content: str | None
    registrant: Json = None


def read_triggers(documents: Iterable[TriggerDocument]) -> list[EndedTrigger]:
    """Return the triggers of documents; unreadable documents are logged and skipped.

    Call this in a thread.
    """
    found: list[EndedTrigger] = []
    for document in documents:
        try:
            tree = to_json(compose(document.content or ""))
            if isinstance(tree, Mapping):
                trigger = read_trigger(tree, document.path)
                who = read_registrant(document.registrant)
                found.append(trigger.model_copy(update={"registrant": who}))
        except (DecodeError, InvalidTrigger) as error:
            _log.warning("trigger_not_read", path=document.path, error=str(error))
    return found


def find_listener(
    documents: Sequence[SubscriptionDocument], listener: str
) -> ListenerSubscription | None:
    """Return the subscription whose gateway path ends in a name; call this in a thread."""
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
    """Return the `spec` of a document, or nothing for an unreadable document."""
    try:
        document = to_json(compose(content or ""))
    except DecodeError:
        return {}
    return _map(_map(document).get("spec"))


def _map(value: Json) -> Mapping[str, Json]:
    return value if isinstance(value, dict) else {}


def built_in(*, path: str | None = None, catalog_id: int | None = None) -> CatalogEntry | None:
    """Return the built-in playbook that calls an address, if the path or id is its own.

    The playbook is in every catalog and has no row.
    """
    if catalog_id != WEBHOOK_CATALOG_ID and (catalog_id is not None or path != WEBHOOK_PATH):
        return None
    return CatalogEntry(
        catalog_id=WEBHOOK_CATALOG_ID,
        path=WEBHOOK_PATH,
        kind="playbook",
        version=1,
        content=_TEXT,
        layout=None,
        payload=None,
        meta=None,
        created_at=_SINCE,
    )
