"""`/api/runtime/contract`, `/api/runtime/shard-info`, `/sharding/preview`, `/schema/asyncapi`."""

import json
import re
from functools import cache
from importlib.metadata import version

from litestar import Litestar, Response
from litestar.params import FromPath
from litestar.routes import HTTPRoute
from noetl_contract.access.rights import Right
from noetl_contract.documents.asyncapi import asyncapi_document
from noetl_contract.documents.schemas import published_schemas
from noetl_contract.http.scalars import parse_i64
from noetl_contract.http.workers.runtimes import RuntimeContract, ShardInfo, ShardPreview
from noetl_contract.json import JsonObject
from noetl_contract.rpc.operation import encode_value
from noetl_contract.sharding import shard_for

from noetl_api_gateway.gateway import TheProcess
from noetl_api_gateway.http.answers import plain_answer
from noetl_api_gateway.http.bodies import AnyRequest
from noetl_api_gateway.http.fields import query_text
from noetl_api_gateway.http.refusals import Refusal, bad_query
from noetl_api_gateway.routes.forwarding import Topic
from noetl_api_gateway.settings import Settings

TOPIC = Topic("runtime")
_MOST_SHARDS = 1024
_U32_MAX = (1 << 32) - 1
_VERSION = version("noetl-api-gateway")
_TYPE = re.compile(r":\w+}")
_QUERY = {
    "execution_id": (str, "decimal 64-bit integer"),
    "shard_count": (int, "1 to 1024"),
}
_ERRORS = {400: 'execution_id "abc" is not a valid i64'}


@TOPIC.route(
    "GET /api/runtime/shard-info",
    ShardInfo,
    needs=Right.SERVICE_READ,
    summary="Which shard an execution belongs to",
    query=_QUERY,
    errors=_ERRORS,
)
async def shard_info(request: AnyRequest, service: TheProcess) -> Response[bytes]:
    """Compute the shard; the id stays an integer for browsers too, as drift guards compare it."""
    settings = service.gateway_settings
    body = _shard_body(request, source="noetl-server")
    body["server_config"] = {
        "shard_index": settings.shard_index,
        "shard_count": settings.shard_count,
    }
    return plain_answer(body)


@TOPIC.route(
    "GET /sharding/preview",
    ShardPreview,
    needs=Right.SERVICE_READ,
    summary="Which shard an execution belongs to, as a gateway says it",
    query=_QUERY,
    errors=_ERRORS,
)
async def sharding_preview(request: AnyRequest) -> Response[bytes]:
    """Compute the shard."""
    return plain_answer(_shard_body(request, source="noetl-gateway"))


@TOPIC.route(
    "GET /api/runtime/contract",
    RuntimeContract,
    needs=Right.PUBLIC,
    summary="What this edge serves, for clients that set themselves up",
)
async def contract(request: AnyRequest, service: TheProcess) -> Response[bytes]:
    """Describe the edge from its own table of routes."""
    return plain_answer(_contract_body(_route_names(request.app), service.gateway_settings))


@TOPIC.route(
    "GET /schema/asyncapi",
    None,
    needs=Right.SCHEMA_READ,
    summary="Messages and requests between services",
    is_documented=False,
)
async def asyncapi() -> Response[bytes]:
    """Describe the messages and requests between services, as an AsyncAPI document."""
    return Response(_asyncapi(), media_type="application/json")


@cache
def _asyncapi() -> bytes:
    return encode_value(asyncapi_document())


@TOPIC.route(
    "GET /schema/messages/{name:str}",
    None,
    needs=Right.SCHEMA_READ,
    summary="One of the published JSON Schemas",
    is_documented=False,
)
async def message_schema(name: FromPath[str]) -> Response[bytes]:
    """Return one of the published JSON Schemas by its file name; ``index.json`` lists them."""
    schemas = published_schemas()
    if name == "index.json":
        return plain_answer({"schemas": sorted(schemas)})
    found = schemas.get(name)
    if found is None:
        raise Refusal(404, f"No schema {name[:100]}; /schema/messages/index.json lists them")
    return Response(encode_value(found), media_type="application/json")


def _shard_body(request: AnyRequest, *, source: str) -> JsonObject:
    query = request.query_params
    written_id, written_count = query_text(query, "execution_id"), query_text(query, "shard_count")
    for name, value in (("execution_id", written_id), ("shard_count", written_count)):
        if value is None:
            raise bad_query(f"missing field `{name}`")
    count = _u32("shard_count", str(written_count))
    execution_id = parse_i64(str(written_id))
    if execution_id is None:
        shown = json.dumps(str(written_id)[:200], ensure_ascii=False)
        raise Refusal(400, f"execution_id {shown} is not a valid i64")
    if count < 1:
        raise Refusal(400, "shard_count must be >= 1")
    if count > _MOST_SHARDS:
        raise Refusal(400, f"shard_count {count} exceeds practical maximum {_MOST_SHARDS}")
    return {
        "execution_id": execution_id,
        "shard_count": count,
        "shard_index": shard_for(execution_id, shard_count=count),
        "source": source,
        "hash_function": "twox_hash::XxHash64",
        "seed": 0,
    }


def _u32(name: str, digits: str) -> int:
    if digits == "":
        raise bad_query(f"{name}: cannot parse integer from empty string")
    body = digits.removeprefix("+")
    if not (body.isascii() and body.isdigit()):
        raise bad_query(f"{name}: invalid digit found in string")
    number = int(body) if len(body) <= 32 else _U32_MAX + 1
    if number > _U32_MAX:
        raise bad_query(f"{name}: number too large to fit in target type")
    return number


def _route_names(app: Litestar) -> list[str]:
    """Return `METHOD /path` of every documented route."""
    names = {
        f"{method} {_TYPE.sub('}', route.path_format or route.path)}"
        for route in app.routes
        if isinstance(route, HTTPRoute)
        for method, (handler, _) in route.route_handler_map.items()
        if method != "OPTIONS" and handler.resolve_include_in_schema()
    }
    return sorted(names, key=lambda name: (name.partition(" ")[2], name))


def _contract_body(routes: list[str], settings: Settings) -> JsonObject:
    is_gated = bool(settings.internal_api_token.get_secret_value().strip())
    gated = [name for name in routes if is_gated and " /api/internal/" in name]
    body: JsonObject = {
        "gateway_version": _VERSION,
        "contract_version": "2026-04-26",
        "summary": "NoETL control plane: /api/* directly, /noetl/* as the gateway's alias of it.",
        "routes": {"public": [name for name in routes if name not in gated], "protected": gated},
        "proxy_contract": {
            "incoming_prefix": "/noetl/",
            "upstream_prefix": "/api/",
            "supported_methods": ["GET", "POST", "PUT", "PATCH", "DELETE"],
            "authentication": {
                "required": False,
                "accepted_headers": ["Authorization", "X-Session-Token"],
                "middleware": None,
            },
            "forwarded_request_headers": ["*"],
            "forwarded_response_headers": ["*"],
        },
        "cli_operation_mapping": {
            "exec": "/noetl/execute",
            "status": "/noetl/executions/{execution_id}/status",
            "detail": "/noetl/executions/{execution_id}",
            "events": "/noetl/executions/{execution_id}/events",
            "cancel": "/noetl/executions/{execution_id}/cancel",
            "catalog_list": "/noetl/catalog/list",
            "agent_catalog_list": "/noetl/catalog/agents/list",
            "catalog_register": "/noetl/catalog/register",
            "query": "/noetl/postgres/execute",
        },
        "execution_contract": {
            "start": "POST /noetl/execute",
            "status": "GET /noetl/executions/{execution_id}/status",
            "detail": "GET /noetl/executions/{execution_id}",
            "events": "GET /noetl/executions/{execution_id}/events",
            "cancel": "POST /noetl/executions/{execution_id}/cancel",
        },
        "agent_contract": {
            "model": "Catalog entries of kind agent, or whose metadata say `agent: true`.",
            "discovery": "POST /noetl/catalog/agents/list",
            "invocation": "POST /noetl/execute",
            "state": "GET /noetl/executions/{execution_id}/status",
            "mcp": "Catalog entries of kind mcp name MCP servers.",
        },
    }
    if login := settings.login_provider():
        body["auth0"] = login
    return body
