"""Editing of playbooks (`…/content`), batches of versions, their deletion and restoring."""

from collections.abc import Iterator

from litestar import Response, get, post, put
from noetl_contract.http.catalog.entries import (
    BatchAnswer,
    BatchRequest,
    CatalogListAnswer,
    CatalogListRequest,
    ContentAnswer,
    ContentRequest,
    MovedAnswer,
    RegisterAnswer,
    RegisterRequest,
    ResourceRequest,
    ValidateAnswer,
)
from noetl_contract.http.scalars import is_i64, parse_i64
from noetl_contract.json import JsonObject
from noetl_contract.rpc import catalog
from noetl_contract.rpc.operation import Operation

from noetl_api_gateway.gateway import Gateway, OpenGateway
from noetl_api_gateway.http.answers import encode, json_answer
from noetl_api_gateway.http.bodies import AnyRequest
from noetl_api_gateway.http.decoding import read_body
from noetl_api_gateway.http.fields import query_text
from noetl_api_gateway.http.openapi import documented
from noetl_api_gateway.http.refusals import Refusal, bad_query
from noetl_api_gateway.http.token_guard import optional_token_guard
from noetl_api_gateway.routes.catalog.entries import decode_content
from noetl_api_gateway.routes.forwarding import Forward, forwarding
from noetl_api_gateway.upstream.services import body_of

_NOT_FOUND = "Catalog entry 'demo/hello' not found"
_TAGS = ["catalog"]
_PLAYBOOK_ID = {"playbook_id": (str, "catalog id or path of a playbook")}
_NO_ID = "Failed to deserialize query string: missing field `playbook_id`"


@post(
    "/api/catalog/register/batch",
    status_code=200,
    summary="Register many documents; those that are refused stop none of the others",
    tags=["catalog"],
    operation_class=documented(
        BatchRequest, BatchAnswer, errors={422: "At most 1000 items, 1001 were sent"}
    ),
)
async def register_batch(request: AnyRequest, gateway: OpenGateway) -> Response[bytes]:
    """Register each item as `register` would."""
    items = (await read_body(request, BatchRequest)).items
    if len(items) > gateway.settings.max_batch_items:
        most = gateway.settings.max_batch_items
        raise Refusal(422, f"At most {most} items, {len(items)} were sent")
    wanted = [
        {"content": decode_content(item.content), "resource_type": item.resource_type}
        for item in items
    ]
    return json_answer(request, await _registered(gateway, wanted))


@get(
    "/api/catalog/playbook/content",
    summary="Read the text of a playbook",
    tags=["catalog"],
    operation_class=documented(
        None, ContentAnswer, query=_PLAYBOOK_ID, errors={400: _NO_ID, 404: _NOT_FOUND}
    ),
)
async def read_content(request: AnyRequest, gateway: OpenGateway) -> Response[bytes]:
    """Read the text that an id or a path names."""
    entry = body_of(await gateway.services.catalog("resource", _named(_playbook_id(request))))
    names = ("catalog_id", "path", "version", "kind", "content")
    return json_answer(request, {name: entry[name] for name in names})


@put(
    "/api/catalog/playbook/content",
    status_code=200,
    summary="Register a text as the next version of a playbook",
    tags=["catalog"],
    operation_class=documented(
        ContentRequest,
        RegisterAnswer,
        query=_PLAYBOOK_ID,
        errors={
            400: _NO_ID,
            404: _NOT_FOUND,
            422: "The document belongs to 'demo/other', not to 'demo/hello'",
        },
    ),
)
async def put_content(request: AnyRequest, gateway: OpenGateway) -> Response[bytes]:
    """Register the next version of the playbook that is being edited."""
    return await _put(request, gateway)


@put(
    "/api/catalog/playbook",
    status_code=200,
    summary="Register a text as the next version of a playbook, as older UIs ask for it",
    tags=["catalog"],
    operation_class=documented(
        ContentRequest,
        RegisterAnswer,
        query=_PLAYBOOK_ID,
        errors={400: _NO_ID, 404: _NOT_FOUND},
    ),
)
async def put_playbook(request: AnyRequest, gateway: OpenGateway) -> Response[bytes]:
    """Register the next version of the playbook that is being edited."""
    return await _put(request, gateway)


async def _registered(gateway: Gateway, items: list[JsonObject]) -> JsonObject:
    """Register items in parts that fit a message; their numbers go on from part to part."""
    results: list[JsonObject] = []
    for part in _parts(items, most_bytes=gateway.bus.largest_message // 2):
        body = await _ask_once(gateway, "register.batch", {"items": part})
        begin = len(results)
        results += [result | {"index": begin + result["index"]} for result in body["results"]]
    failed = sum(result["status"] != "registered" for result in results)
    return {"registered": len(results) - failed, "failed": failed, "results": results}


def _parts(items: list[JsonObject], *, most_bytes: int) -> Iterator[list[JsonObject]]:
    """Cut a list; an item that is too large by itself is a part, and refused behind."""
    part: list[JsonObject] = []
    size = 0
    for item in items:
        item_size = len(encode(item))
        if part and size + item_size > most_bytes:
            yield part
            part, size = [], 0
        part.append(item)
        size += item_size
    yield part


async def _put(request: AnyRequest, gateway: Gateway) -> Response[bytes]:
    named = _playbook_id(request)
    content = (await read_body(request, ContentRequest)).content
    wanted = {"content": decode_content(content), "instead_of": _named(named)}
    return json_answer(request, await _ask_once(gateway, "register", wanted))


async def _ask_once(gateway: Gateway, operation: str, wanted: JsonObject) -> JsonObject:
    reply = await gateway.services.once(
        "catalog", operation, wanted, timeout_seconds=gateway.settings.batch_patience_seconds
    )
    body: JsonObject = body_of(reply)
    return body


def _playbook_id(request: AnyRequest) -> str:
    value = query_text(request.query_params, "playbook_id")
    if not value:
        raise bad_query("missing field `playbook_id`")
    return value


def _named(playbook_id: str) -> JsonObject:
    """Return the look-up fields: a number is an id, everything else a path."""
    number = parse_i64(playbook_id)
    if number is not None and is_i64(number):
        return {"catalog_id": playbook_id}
    return {"path": playbook_id}


def _decoded(wanted: JsonObject) -> JsonObject:
    return wanted | {"content": decode_content(wanted["content"])}


def _named_entry(wanted: JsonObject) -> JsonObject:
    return _named(wanted["playbook_id"])


def _moving(
    operation: Operation[catalog.EntryName, MovedAnswer],
    *,
    name: str,
    summary: str,
    description: str,
) -> Forward:
    """Return the row of a route that takes versions out or puts them back."""
    return Forward(
        method="POST",
        path=f"/api/catalog/{operation.name}",
        name=name,
        operation=operation,
        body=ResourceRequest,
        answer=MovedAnswer,
        summary=summary,
        description=description,
        tags=_TAGS,
        guards=[optional_token_guard],
        errors={404: _NOT_FOUND},
    )


ROUTES = [
    read_content,
    put_content,
    put_playbook,
    *forwarding(
        Forward(
            method="POST",
            path="/api/catalog/agents/list",
            name="list_agents",
            operation=catalog.AGENTS,
            body=CatalogListRequest,
            answer=CatalogListAnswer,
            summary="List agents, by what they can do",
            description="List agents, newest first; their `payload.metadata` tells what they can"
            " do.",
            tags=_TAGS,
        ),
        Forward(
            method="DELETE",
            path="/api/catalog/playbooks/{playbook_id:path}",
            name="delete_playbook",
            operation=catalog.DELETE,
            prepare=_named_entry,
            answer=MovedAnswer,
            summary="Take a playbook out: one version by its id, all of them by its path",
            description="Take a playbook out; executions of it go on.",
            tags=_TAGS,
            guards=[optional_token_guard],
            errors={404: _NOT_FOUND},
        ),
        Forward(
            method="POST",
            path="/api/catalog/playbooks/validate",
            name="validate_playbook",
            operation=catalog.VALIDATE,
            body=RegisterRequest,
            prepare=_decoded,
            answer=ValidateAnswer,
            summary="Say everything that is wrong with a document, without keeping it",
            description="Check a document.",
            tags=_TAGS,
        ),
        _moving(
            catalog.DELETE,
            name="delete_versions",
            summary="Take versions out: nothing starts with them, executions that run them go on",
            description="Take out one version, or with a path alone all of them.",
        ),
        _moving(
            catalog.RESTORE,
            name="restore_versions",
            summary="Put versions back that were taken out",
            description="Put back one version, or with a path alone all of them.",
        ),
    ),
]

BATCH_ROUTES = [register_batch]
