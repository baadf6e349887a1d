"""Expected outcome of a playbook of this folder, by the contract (not by the code)."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from noetl_contract.json import Json

ANY = object()


@dataclass(frozen=True, kw_only=True)
class Case:
    """The outcome of one playbook."""

    status: str = "COMPLETED"
    issued: Mapping[str, int] = field(default_factory=dict)
    """Commands by step; steps that are not named here must have none."""
    skipped: frozenset[str] | set[str] | None = None
    data: Mapping[str, Json] = field(default_factory=dict)
    """The newest data of a step, or of ``step.task``; of a mapping the keys that are named."""
    error: str = ""
    """A part of the text of the failure."""
    log: int | None = None
    """Rows of the log, where the contract gives the number."""
    rows: Mapping[str, Json] = field(default_factory=dict)
    """Statements (``{id}`` is the execution) with the rows they give."""
    payload: Mapping[str, Json] = field(default_factory=dict)
    children: tuple[str, ...] | None = None
    """States of the child executions, sorted."""
    soft_errors: int | None = None


def refused(status: int, text: str) -> tuple[int, str]:
    """Describe an execution that is not accepted."""
    return status, text


def tool_not_found(kind: str) -> Case:
    return Case(status="FAILED", issued={"start": 1}, error=f"Tool not found: {kind}")
