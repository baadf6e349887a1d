"""`/api/catalog/*`."""

from typing import Annotated, Any, Literal

from pydantic import Field, PlainValidator

from noetl_contract.http.moments import Rfc3339
from noetl_contract.http.scalars import Flag, IdText, is_i64, loose_text, wrong_type
from noetl_contract.json import Json
from noetl_contract.model import Model, example


def _named(value: Json) -> int | str:
    if isinstance(value, str) or is_i64(value):
        return value
    raise wrong_type("a string")


Named = Annotated[int | str, PlainValidator(_named, json_schema_input_type=int | str)]
"""An id or a version, judged by the catalog."""


class RegisterRequest(Model):
    """A document to store as the next version of its path."""

    model_config = example(
        content="apiVersion: noetl.io/v2\nkind: Playbook\nmetadata:\n"
        "  name: hello\n  path: demo/hello\nworkflow:\n"
        "- step: start\n  tool: {kind: noop}\n"
    )

    content: str = Field(description="YAML text, raw or as base64")
    resource_type: str = Field(
        default="Playbook", description="taken only where the document has no `kind`"
    )
    newest_version: int | None = Field(
        default=None,
        ge=0,
        description="keep it only if this is the newest version of its path, 0 if there is none;"
        " otherwise 409, whose `detail` has `path` and `version`",
    )


class RegisterAnswer(Model):
    """The version that was written.

    `problems` is ours and there only when a playbook would be refused at execution, or when what
    a document names isn't there: it is kept all the same, as it always was.
    """

    model_config = example(
        status="success",
        message="Resource 'demo/hello' version '3' registered.",
        path="demo/hello",
        version=3,
        catalog_id="767225066105864194",
        kind="playbook",
    )

    status: Literal["success"]
    message: str
    path: str
    version: int
    catalog_id: str
    kind: str
    problems: list[str] | None = None


class CatalogListRequest(Model):
    """Filter of entries to list; without any field, all of them."""

    model_config = example(resource_type="Playbook")

    resource_type: str | None = Field(default=None, description="kind, in any case")
    path: str | None = None
    agent_only: Flag = False
    capability: str | None = None
    capabilities: list[str] | None = None
    brief: Flag = Field(default=False, description="without content, layout and payload")


class ResourceRequest(Model):
    """One entry, by id or by path; `catalog_id` wins."""

    model_config = example(path="demo/hello", version="latest")

    catalog_id: Named | None = None
    path: str | None = None
    version: Named | None = Field(
        default=None, description="absent, null or `latest`: the newest version"
    )


class CatalogEntry(Model):
    """One version of one path."""

    model_config = example(
        catalog_id="767225066105864194",
        path="demo/hello",
        kind="playbook",
        version=3,
        content="apiVersion: noetl.io/v2\nkind: Playbook\n",
        layout=[{"step": "start", "tool": {"kind": "noop"}}],
        payload={"msg": "hi"},
        meta={"team": "core"},
        created_at="2026-06-15T12:00:00.123456Z",
    )

    catalog_id: IdText
    path: str
    kind: str
    version: int
    content: str | None
    layout: Any
    payload: Any
    meta: Any
    created_at: Rfc3339


class CatalogListAnswer(Model):
    """Entries, newest first; `truncated` is there only when older ones are left out."""

    entries: list[CatalogEntry]
    truncated: bool | None = None


class UiField(Model):
    """One field of a form; all keys are always there."""

    name: str
    kind: Literal["string", "integer", "number", "boolean", "object", "array", "null", "enum"]
    default: Any
    description: str | None
    secret: bool
    credential_glob: str | None
    options: list[str] | None
    children: list[dict[str, Any]] | None = Field(description="fields of an object, like this one")


class UiSchema(Model):
    """The form of a document's workload."""

    model_config = example(
        path="demo/form",
        version=1,
        kind="playbook",
        title="form",
        description_markdown=None,
        exposed_in_ui=False,
        fields=[
            {
                "name": "level",
                "kind": "enum",
                "default": "info",
                "description": None,
                "secret": False,
                "credential_glob": None,
                "options": ["debug", "info"],
                "children": None,
            }
        ],
        generated_at="2026-06-15T12:00:00.123456Z",
    )

    path: str
    version: int
    kind: str
    title: str | None
    description_markdown: str | None
    exposed_in_ui: bool
    fields: list[UiField]
    generated_at: str


class BatchItem(RegisterRequest):
    """A document of a batch, whose kind may be null."""

    resource_type: Annotated[str, loose_text("Playbook")] = Field(
        default="Playbook", description="taken only where the document has no `kind`"
    )


class BatchRequest(Model):
    """Documents to register one by one."""

    model_config = example(
        items=[
            {"content": "kind: Playbook\nmetadata: {name: hello, path: demo/hello}\n"},
            {"content": "x"},
        ]
    )

    items: list[BatchItem]


class BatchResult(Model):
    """Outcome of the item at `index`: the version, or the error."""

    index: int
    status: Literal["registered", "error"]
    path: str | None = None
    version: int | None = None
    kind: str | None = None
    catalog_id: str | None = None
    problems: list[str] | None = None
    error: str | None = None


class BatchAnswer(Model):
    """Outcomes of the items."""

    model_config = example(
        registered=1,
        failed=1,
        results=[
            {
                "index": 0,
                "status": "registered",
                "path": "a/b",
                "version": 1,
                "kind": "playbook",
                "catalog_id": "767225066105864194",
            },
            {"index": 1, "status": "error", "error": "Missing 'metadata' section"},
        ],
    )

    registered: int
    failed: int
    results: list[BatchResult]


class ContentRequest(Model):
    """A document's text, raw or as base64."""

    model_config = example(content="kind: Playbook\nmetadata: {name: hello, path: demo/hello}\n")

    content: str


class ContentAnswer(Model):
    """The text of one version."""

    catalog_id: str
    path: str
    version: int
    kind: str
    content: str


class MovedAnswer(Model):
    """The versions that were deleted or restored."""

    model_config = example(
        status="success",
        message="Resource 'demo/hello' deleted.",
        path="demo/hello",
        versions=[1, 2],
    )

    status: Literal["success"]
    message: str
    path: str
    versions: list[int]


class DocumentProblem(Model):
    """One finding about a document, with its place in the text."""

    severity: Literal["error", "warning", "info"]
    rule: str
    message: str
    line: int
    column: int
    path: str
    hint: str | None


class ValidateAnswer(Model):
    """Findings about a document; `valid` if it can be run, `errors` are texts with lines."""

    model_config = example(
        valid=False,
        errors=["line 3: Workflow must have a step named 'start'"],
        problems=[
            {
                "severity": "error",
                "rule": "rule",
                "message": "Workflow must have a step named 'start'",
                "line": 3,
                "column": 11,
                "path": "workflow",
                "hint": None,
            }
        ],
    )

    valid: bool
    errors: list[str]
    problems: list[DocumentProblem]
