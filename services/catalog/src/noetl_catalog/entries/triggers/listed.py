"""The triggers in force, read from their documents."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from noetl_common.logging import get_logger
from noetl_contract.failures.ended import EndedTrigger
from noetl_contract.json import Json
from noetl_engine.playbook.errors import DecodeError
from noetl_engine.playbook.yaml import compose, to_json
from noetl_engine.triggers.ended import InvalidTrigger, read_trigger

from noetl_catalog.entries.reach import read_registrant

MOST_TRIGGERS = 1000
"""Most triggers in force, in order of path; the others are ignored."""

_log = get_logger()


@dataclass(frozen=True, slots=True)
class TriggerDocument:
    """The text of a trigger."""

    path: str
    content: str | None
    registrant: Json = None


def read_triggers(documents: Iterable[TriggerDocument]) -> list[EndedTrigger]:
    """Return the triggers of documents; unreadable documents are logged and left out.

    Run it in a thread.
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
