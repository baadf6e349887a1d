"""Reader of a playbook's rules about failures: ``spec.errors`` and ``on_failure``."""

from noetl_engine.playbook.model import OnFailure, Webhook
from noetl_engine.playbook.parse.reader import Reader
from noetl_engine.playbook.yaml import MapNode, Scalar

ERROR_WORDS = ("continue", "fail")


def read_errors(owner: Reader) -> bool | None:
    """Return whether soft errors fail their step, by the ``spec`` of a playbook or step.

    A ``spec`` of another shape is ignored.
    """
    node = owner.present("spec")
    if not isinstance(node, MapNode) or "errors" not in node.entries:
        return None
    word = Reader(node, owner.path_of("spec"), owner.report).word("errors", ERROR_WORDS)
    return None if word is None else word == "fail"


def read_on_failure(root: Reader) -> OnFailure | None:
    """Return the start or call that a failed execution causes."""
    block = root.mapping("on_failure")
    if block is None:
        return None
    path = block.text("playbook")
    webhook = _webhook(block)
    if not path and webhook is None:
        block.refuse("on_failure needs a `playbook` or a `webhook`")
    block.mapping("payload")
    payload = block.json("payload")
    return OnFailure(
        playbook=path or None,
        version=block.int32("version"),
        payload=payload if isinstance(payload, dict) else {},
        webhook=webhook,
    )


def _webhook(block: Reader) -> Webhook | None:
    node = block.present("webhook")
    if node is None:
        return None
    if isinstance(node, Scalar):
        return _called(block, node.text, None)
    whole = block.mapping("webhook")
    if whole is None:
        return None
    return _called(whole, whole.required_text("url", instead=""), whole.text("auth"))


def _called(reader: Reader, url: str, auth: str | None) -> Webhook | None:
    if not url.startswith(("http://", "https://")):
        reader.refuse(f"the address of a webhook begins with http:// or https://, not '{url[:50]}'")
        return None
    return Webhook(url=url, auth=auth)
