"""What the start of a child takes over from its parent, wherever it is decided."""

from noetl_contract.access.principal import folder_of
from noetl_contract.ingress import ExecuteMessage
from noetl_contract.json import Json
from noetl_contract.model import Struct


class Lineage(Struct):
    """What a parent hands on; None where its log has none.

    Attributes:
        trace: its W3C context.
        owner: the principal whose rights it has.
        namespace: the path prefix which it stays in.
        root_execution_id: the execution that its family began with.
        depth: how many generations the child is below that.
    """

    trace: Json = None
    owner: str | None = None
    namespace: str | None = None
    root_execution_id: int | None = None
    depth: int = 0


def with_lineage(start: ExecuteMessage, parent: Lineage) -> ExecuteMessage:
    """Return the start of a child with what it takes over; what it has of its own it keeps.

    What a trigger starts has the rights of who registered the trigger, who was asked for them. Is
    that not known, it belongs to the trigger, and stays in the folder that it is in.
    """
    after = start.after
    if after is not None and after.is_trigger:
        folder = None if parent.namespace is None else folder_of(start.path)
        parent = parent.but(owner=f"trigger:{after.trigger}", namespace=folder)
    taken_over = {
        name: getattr(parent, name)
        for name in ("trace", "owner", "namespace")
        if getattr(start, name) is None
    }
    if start.root_execution_id is None and parent.root_execution_id is not None:
        taken_over |= {"root_execution_id": parent.root_execution_id, "depth": parent.depth}
    return start.but(**taken_over) if taken_over else start
