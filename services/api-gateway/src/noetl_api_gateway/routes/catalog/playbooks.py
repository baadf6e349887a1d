"""Editing of playbooks (`…/content`), batches of versions, their deletion and restoring."""

from collections.abc import Iterator, Sequence

from litestar import Response
from noetl_contract.access.rights import Right
from noetl_contract.http.catalog.entries import (
    BatchAnswer,
    BatchRequest,
    BatchResult,
    CatalogListRequest,
    ContentAnswer,
    ContentRequest,
    MovedAnswer,
    RegisterRequest,
    ResourceRequest,
)
from noetl_contract.http.scalars import parse_i64
from noetl_contract.rpc.catalog import (
    AGENTS,
    DELETE,
    REGISTER,
    REGISTER_BATCH,
    RESOURCE,
    RESTORE,
    VALIDATE,
    AgentPage,
    CheckDocument,
    DocumentRequest,
    EntryName,
    RegisterDocument,
    RegisterDocuments,
)
from noetl_contract.rpc.operation import Operation, encode_value

from noetl_api_gateway.gateway import OpenGateway
from noetl_api_gateway.http.answers import json_answer
from noetl_api_gateway.http.bodies import AnyRequest
from noetl_api_gateway.http.decoding import read_body
from noetl_api_gateway.http.fields import query_text
from noetl_api_gateway.http.rate_guard import charge
from noetl_api_gateway.http.refusals import Refusal, bad_query
from noetl_api_gateway.http.token_guard import optional_token_guard
from noetl_api_gateway.routes.catalog.entries import NOT_FOUND, decode_content, named_entry
from noetl_api_gateway.routes.forwarding import Sent, Topic

TOPIC = Topic("catalog")
_PLAYBOOK_ID = {"playbook_id": (str, "catalog id or path of a playbook")}
_NO_ID = "Failed to deserialize query string: missing field `playbook_id`"


@TOPIC.route(
    "POST /api/catalog/register/batch",
    BatchAnswer,
    body=BatchRequest,
    needs=Right.CATALOG_REGISTER,
    bodies="batch",
    summary="Register many documents; those that are refused stop none of the others",
    errors={422: "At most 1000 items, 1001 were sent"},
)
async def register_batch(request: AnyRequest, gateway: OpenGateway) -> Response[bytes]:
    """Register each item as `register` would, in parts that fit a message."""
    items = (await read_body(request, BatchRequest)).items
    charge(request, "registrations", len(items))
    if len(items) > gateway.settings.max_batch_items:
        most = gateway.settings.max_batch_items
        raise Refusal(422, f"At most {most} items, {len(items)} were sent")
    documents = [
        DocumentRequest(content=decode_content(item.content), resource_type=item.resource_type)
        for item in items
    ]
    results: list[BatchResult] = []
    for part in _parts(documents, most_bytes=gateway.bus.largest_message // 2):
        wanted = RegisterDocuments(items=part)
        done = (await gateway.services.ask(REGISTER_BATCH, wanted, within="batch")).results
        begin = len(results)
        results += [one.model_copy(update={"index": begin + one.index}) for one in done]
    failed = sum(one.status != "registered" for one in results)
    answer = BatchAnswer(registered=len(results) - failed, failed=failed, results=results)
    return json_answer(request, answer)


def _parts(
    documents: Sequence[DocumentRequest], *, most_bytes: int
) -> Iterator[list[DocumentRequest]]:
    """Split a list into parts; an item that is too large is a part, which its receiver refuses."""
    part: list[DocumentRequest] = []
    size = 0
    for document in documents:
        document_size = len(encode_value(document))
        if part and size + document_size > most_bytes:
            yield part
            part, size = [], 0
        part.append(document)
        size += document_size
    yield part


@TOPIC.route(
    "GET /api/catalog/playbook/content",
    ContentAnswer,
    needs=Right.CATALOG_READ,
    summary="Read the text of a playbook",
    query=_PLAYBOOK_ID,
    errors={400: _NO_ID, 404: NOT_FOUND},
)
async def read_content(request: AnyRequest, gateway: OpenGateway) -> Response[bytes]:
    """Read the text that an id or a path names."""
    named = _named(query_text(request.query_params, "playbook_id"))
    entry = await gateway.services.ask(RESOURCE, named)
    answer = ContentAnswer(
        catalog_id=entry.catalog_id,
        path=entry.path,
        version=entry.version,
        kind=entry.kind,
        content=entry.content or "",
    )
    return json_answer(request, answer)


def _named(playbook_id: str | None) -> EntryName:
    """Return the look-up fields: a number is an id, everything else a path."""
    if not playbook_id:
        raise bad_query("missing field `playbook_id`")
    if parse_i64(playbook_id) is None:
        return EntryName(path=playbook_id)
    return EntryName(catalog_id=playbook_id)


def _next_version(sent: Sent[ContentRequest]) -> RegisterDocument:
    return RegisterDocument(
        content=decode_content(sent.body.content), instead_of=_named(sent.text("playbook_id"))
    )


def _moving(
    operation: Operation[EntryName, MovedAnswer],
    *,
    name: str,
    needs: Right,
    summary: str,
    description: str,
) -> None:
    """Declare the route that deletes or restores versions."""
    TOPIC.forward(
        f"POST /api/catalog/{operation.name}",
        operation,
        named_entry,
        body=ResourceRequest,
        name=name,
        needs=needs,
        summary=summary,
        description=description,
        guards=[optional_token_guard],
        errors={404: NOT_FOUND},
    )


TOPIC.forward(
    "PUT /api/catalog/playbook/content",
    REGISTER,
    _next_version,
    body=ContentRequest,
    query=_PLAYBOOK_ID,
    name="put_content",
    needs=Right.CATALOG_REGISTER,
    within="batch",
    summary="Register a text as the next version of a playbook",
    description="Register the next version of the playbook that is being edited.",
    errors={
        400: _NO_ID,
        404: NOT_FOUND,
        422: "The document belongs to 'demo/other', not to 'demo/hello'",
    },
)
TOPIC.forward(
    "PUT /api/catalog/playbook",
    REGISTER,
    _next_version,
    body=ContentRequest,
    query=_PLAYBOOK_ID,
    name="put_playbook",
    needs=Right.CATALOG_REGISTER,
    within="batch",
    summary="Register a text as the next version of a playbook, as older UIs ask for it",
    description="Register the next version of the playbook that is being edited.",
    errors={400: _NO_ID, 404: NOT_FOUND},
)
TOPIC.forward(
    "POST /api/catalog/agents/list",
    AGENTS,
    lambda sent: AgentPage(**sent.body.model_dump(exclude_unset=True)),
    body=CatalogListRequest,
    name="list_agents",
    needs=Right.CATALOG_READ,
    summary="List agents, by what they can do",
    description="List agents, newest first; their `payload.metadata` tells what they can do.",
)
TOPIC.forward(
    "DELETE /api/catalog/playbooks/{playbook_id:path}",
    DELETE,
    lambda sent: _named(sent.word("playbook_id")),
    name="delete_playbook",
    needs=Right.CATALOG_DELETE,
    summary="Take a playbook out: one version by its id, all of them by its path",
    description="Take a playbook out; executions of it go on.",
    guards=[optional_token_guard],
    errors={404: NOT_FOUND},
)
TOPIC.forward(
    "POST /api/catalog/playbooks/validate",
    VALIDATE,
    lambda sent: CheckDocument(
        content=decode_content(sent.body.content), resource_type=sent.body.resource_type
    ),
    body=RegisterRequest,
    name="validate_playbook",
    needs=Right.CATALOG_VALIDATE,
    summary="Say everything that is wrong with a document, without keeping it",
    description="Check a document.",
)
_moving(
    DELETE,
    name="delete_versions",
    needs=Right.CATALOG_DELETE,
    summary="Take versions out: nothing starts with them, executions that run them go on",
    description="Take out one version, or with a path alone all of them.",
)
_moving(
    RESTORE,
    name="restore_versions",
    needs=Right.CATALOG_RESTORE,
    summary="Put versions back that were taken out",
    description="Put back one version, or with a path alone all of them.",
)
