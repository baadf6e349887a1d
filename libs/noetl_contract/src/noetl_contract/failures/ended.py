"""Followups: triggers at the end of an execution, and the origin noted in their starts."""

from typing import Literal

from pydantic import Field

from noetl_contract.access.principal import Principal, folder_of, is_below
from noetl_contract.json import JsonObject
from noetl_contract.model import Model, Struct, example

type EndedStatus = Literal["COMPLETED", "FAILED", "CANCELLED", "ERRORS"]
"""A status at the end; ``ERRORS`` is COMPLETED with soft errors."""

WEBHOOK_PATH = "noetl/webhook"
"""Playbook that calls an address; built into the catalog unless another is registered there."""
WEBHOOK_CATALOG_ID = 1

PAYLOAD_NAMES = (
    "ended", "execution_id", "catalog_id", "path", "version", "status", "error", "cause",
    "failed_steps", "soft_errors", "soft_error", "parent_execution_id", "trigger",
    "workload", "ctx",
)  # fmt: skip
"""Names of templates in a payload; all but the last two are parts of ``ended``, or it."""


class EndedTrigger(Model):
    """A document of kind Trigger: its condition, and the playbook or address that it calls.

    Attributes:
        path: of the document.
        statuses: with which an execution has to end.
        under: prefix of the paths that count, ``""`` for all.
        children: whether executions that have a parent count.
        playbook: path of the playbook to start; with ``version`` one version of it.
        payload: more for its payload.
        webhook_url: address to call, with the credential of the alias ``webhook_auth``.
        registrant: the principal that registered the document, if known.
    """

    model_config = example(
        path="alerts/failed_reports",
        statuses=["FAILED"],
        under="reports/",
        children=True,
        playbook="alerts/notify",
    )

    path: str
    statuses: tuple[EndedStatus, ...]
    under: str = ""
    children: bool = True
    playbook: str | None = None
    version: int | None = None
    payload: JsonObject = Field(default_factory=dict)
    webhook_url: str | None = None
    webhook_auth: str | None = None
    registrant: Principal | None = None

    def reach_of(self, path: str) -> tuple[str, str] | None:
        """Return owner and namespace of an execution that the trigger starts; None if unknown."""
        who = self.registrant
        if who is None:
            return None
        return who.name, who.namespace_of(path) if who.reaches(path) else folder_of(path)

    def meets(self, status: str, path: str, *, has_errors: bool, is_child: bool) -> bool:
        """Return whether the end of an execution meets the trigger's condition."""
        if is_child and not self.children:
            return False
        ends_so = status in self.statuses
        if status == "COMPLETED" and has_errors and "ERRORS" in self.statuses:
            ends_so = True
        return ends_so and is_below(path, self.under)


class AfterEnd(Struct):
    """The end of an execution that caused a start.

    Attributes:
        execution_id: that ended.
        trigger: ``on_failure`` of a path, or the path of a trigger.
        handles: all triggers that led here, the newest last; none of them counts again.
        is_trigger: a document of kind Trigger, whose author was asked for his rights.
    """

    execution_id: int
    trigger: str
    handles: tuple[str, ...]
    is_trigger: bool = False
