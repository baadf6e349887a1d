"""`/api/catalog/*` (http-a 3)."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "CatalogEntry",
    "CatalogListAnswer",
    "CatalogListRequest",
    "RegisterAnswer",
    "RegisterRequest",
    "ResourceRequest",
]

_TOLERANT = ConfigDict(frozen=True, extra="ignore")


class RegisterRequest(BaseModel):
    """A document to keep as the next version of its path."""

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        json_schema_extra={
            "examples": [
                {
                    "content": "apiVersion: noetl.io/v2\nkind: Playbook\nmetadata:\n"
                    "  name: hello\n  path: demo/hello\nworkflow:\n"
                    "- step: start\n  tool: {kind: noop}\n"
                }
            ]
        },
    )

    content: str = Field(description="YAML text, raw or as base64")
    resource_type: str = Field(
        default="Playbook", description="taken only where the document has no `kind`"
    )


class RegisterAnswer(BaseModel):
    """The version that was written.

    `problems` is ours and there only when a playbook would be refused at execution: it is kept
    all the same, as it always was.
    """

    model_config = _TOLERANT

    status: Literal["success"]
    message: str
    path: str
    version: int
    catalog_id: str
    kind: str
    problems: list[str] | None = None


class CatalogListRequest(BaseModel):
    """Which entries to list; without any field, all of them."""

    model_config = _TOLERANT

    resource_type: str | None = Field(default=None, description="kind, in any case")
    path: str | None = None
    agent_only: bool = False
    capability: str | None = None
    capabilities: list[str] | None = None


class ResourceRequest(BaseModel):
    """One entry, by id or by path; `catalog_id` wins."""

    model_config = _TOLERANT

    catalog_id: int | str | None = None
    path: str | None = None
    version: int | str | None = Field(
        default=None, description="absent, null or `latest`: the newest version"
    )


class CatalogEntry(BaseModel):
    """One version of one path."""

    model_config = _TOLERANT

    catalog_id: str
    path: str
    kind: str
    version: int
    content: str | None
    layout: Any
    payload: Any
    meta: Any
    created_at: str


class CatalogListAnswer(BaseModel):
    """Entries, newest first."""

    model_config = _TOLERANT

    entries: list[CatalogEntry]
