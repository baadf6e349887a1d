"""Reading a document of kind Trigger; the first thing that is wrong with it refuses it."""

from collections.abc import Mapping, Sequence

from noetl_contract.failures.ended import EndedTrigger
from noetl_contract.json import Json, JsonObject

STATUSES = ("COMPLETED", "FAILED", "CANCELLED", "ERRORS")
_SPEC_KEYS = ("on", "start", "webhook")
_ON_KEYS = ("ended", "under", "children")
_START_KEYS = ("playbook", "version", "payload")
_WEBHOOK_KEYS = ("url", "auth")


class InvalidTrigger(ValueError):
    """A trigger's document is wrong; the text is for its author."""


def read_trigger(document: Mapping[str, Json], path: str) -> EndedTrigger:
    """Return the trigger of a document.

    Raises:
        InvalidTrigger: it is none.
    """
    spec = _mapping(document.get("spec"), "spec", _SPEC_KEYS)
    on = _mapping(spec.get("on"), "spec.on", _ON_KEYS)
    under, children = on.get("under", ""), on.get("children", True)
    if not isinstance(under, str):
        raise InvalidTrigger("spec.on.under must be the beginning of paths")
    if not isinstance(children, bool):
        raise InvalidTrigger("spec.on.children must be true or false")
    start = _start(spec.get("start"))
    url, auth = _webhook(spec.get("webhook"))
    if start is None and url is None:
        raise InvalidTrigger("spec needs `start` or `webhook`")
    return EndedTrigger.model_validate(
        {
            **(start or {}),
            "path": path,
            "statuses": _statuses(on.get("ended")),
            "under": under,
            "children": children,
            "webhook_url": url,
            "webhook_auth": auth,
        }
    )


def _statuses(value: Json) -> tuple[str, ...]:
    words = [value] if isinstance(value, str) else value
    if not isinstance(words, Sequence) or not words:
        raise InvalidTrigger(f"spec.on.ended must be one or some of {', '.join(STATUSES)}")
    for word in words:
        if word not in STATUSES:
            shown = str(word)[:50]
            raise InvalidTrigger(f"spec.on.ended: '{shown}' is none of {', '.join(STATUSES)}")
    return tuple(str(word) for word in words)


def _start(value: Json) -> JsonObject | None:
    if value is None:
        return None
    start = _mapping(value, "spec.start", _START_KEYS)
    playbook, version = start.get("playbook"), start.get("version")
    if not isinstance(playbook, str) or not playbook:
        raise InvalidTrigger("spec.start.playbook must be the path of a playbook")
    if version is not None and (isinstance(version, bool) or not isinstance(version, int)):
        raise InvalidTrigger("spec.start.version must be a whole number")
    payload = start.get("payload") or {}
    if not isinstance(payload, dict):
        raise InvalidTrigger("spec.start.payload must be a mapping")
    return {"playbook": playbook, "version": version, "payload": payload}


def _webhook(value: Json) -> tuple[str | None, str | None]:
    if value is None:
        return None, None
    if isinstance(value, str):
        value = {"url": value}
    webhook = _mapping(value, "spec.webhook", _WEBHOOK_KEYS)
    url, auth = webhook.get("url"), webhook.get("auth")
    if not isinstance(url, str) or not url.startswith(("http://", "https://")):
        raise InvalidTrigger("spec.webhook.url must begin with http:// or https://")
    if auth is not None and not isinstance(auth, str):
        raise InvalidTrigger("spec.webhook.auth must be the alias of a credential")
    return url, auth


def _mapping(value: Json, name: str, keys: Sequence[str]) -> JsonObject:
    if not isinstance(value, dict):
        raise InvalidTrigger(f"kind: Trigger requires `{name}`, a mapping")
    for key in value:
        if key not in keys:
            raise InvalidTrigger(f"{name}: unknown key '{str(key)[:50]}', known: {', '.join(keys)}")
    return value
