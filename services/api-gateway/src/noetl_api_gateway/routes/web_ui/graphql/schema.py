"""The GraphQL schema, and the resolvers of its fields."""

from collections.abc import Awaitable, Callable
from importlib.metadata import version
from typing import TypedDict

from graphql import (
    GraphQLArgument,
    GraphQLBoolean,
    GraphQLError,
    GraphQLField,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLResolveInfo,
    GraphQLScalarType,
    GraphQLSchema,
    GraphQLString,
)
from noetl_console.api import Refused
from noetl_contract.json import Json, JsonObject

from noetl_api_gateway.http.refusals import Refusal
from noetl_api_gateway.routes.web_ui.graphql.passing import passed_on
from noetl_api_gateway.routes.web_ui.graphql.starts import Asking, Start, started

type Info = GraphQLResolveInfo[Asking]


class _Passed(TypedDict, total=False):
    method: str
    endpoint: str
    body: Json


def _health(_source: None, _info: Info) -> str:
    return "ok"


def _version(_source: None, _info: Info) -> str:
    return version("noetl-api-gateway")


async def _execute(
    _source: None,
    info: Info,
    name: str,
    variables: Json = None,
    resource_kind: str | None = None,
    client_id: str | None = None,
) -> JsonObject:
    return await _answered(
        lambda: started(info.context, Start.of_playbook(name, variables, resource_kind), client_id)
    )


async def _rerun(
    _source: None,
    info: Info,
    execution_id: str,
    variables: Json = None,
    client_id: str | None = None,
) -> JsonObject:
    return await _answered(
        lambda: started(info.context, Start.once_more(execution_id, variables), client_id)
    )


async def _proxy(_source: None, info: Info, wanted: _Passed) -> JsonObject:
    return await _answered(
        lambda: passed_on(info.context, wanted["method"], wanted["endpoint"], wanted.get("body"))
    )


async def _answered(call: Callable[[], Awaitable[JsonObject]]) -> JsonObject:
    """Return the answer to a call.

    Raises:
        GraphQLError: its refusal, with the status that it has over HTTP.
    """
    try:
        return await call()
    except (Refused, Refusal) as refused:
        raise GraphQLError(refused.text, extensions={"status": refused.status}) from refused


_TEXT, _NEEDED = GraphQLString, GraphQLNonNull(GraphQLString)
_JSON = GraphQLScalarType("JSON", description="Any JSON value.")
_STARTED = GraphQLObjectType(
    "StartedExecution",
    {
        "id": GraphQLField(_NEEDED),
        "executionId": GraphQLField(_NEEDED),
        "requestId": GraphQLField(_TEXT, description="With it the result comes on /events."),
        "name": GraphQLField(_NEEDED),
        "status": GraphQLField(_NEEDED),
        "textOutput": GraphQLField(_TEXT),
    },
)
_ANSWERED = GraphQLObjectType(
    "ProxyAnswer",
    {
        "success": GraphQLField(GraphQLNonNull(GraphQLBoolean)),
        "data": GraphQLField(_JSON),
        "error": GraphQLField(_TEXT),
    },
)
_PROXY_INPUT = GraphQLInputObjectType(
    "ProxyRequestInput",
    {
        "method": GraphQLInputField(_NEEDED),
        "endpoint": GraphQLInputField(_NEEDED),
        "body": GraphQLInputField(_JSON),
    },
)
_CLIENT = GraphQLArgument(_TEXT, out_name="client_id")

SCHEMA = GraphQLSchema(
    query=GraphQLObjectType(
        "Query",
        {
            "health": GraphQLField(_TEXT, resolve=_health),
            "version": GraphQLField(_TEXT, resolve=_version),
        },
    ),
    mutation=GraphQLObjectType(
        "Mutation",
        {
            "executePlaybook": GraphQLField(
                GraphQLNonNull(_STARTED),
                {
                    "name": GraphQLArgument(_NEEDED),
                    "variables": GraphQLArgument(_JSON),
                    "resourceKind": GraphQLArgument(_TEXT, out_name="resource_kind"),
                    "clientId": _CLIENT,
                },
                resolve=_execute,
                description="Start the newest version of a playbook.",
            ),
            "rerunExecution": GraphQLField(
                GraphQLNonNull(_STARTED),
                {
                    "executionId": GraphQLArgument(_NEEDED, out_name="execution_id"),
                    "variables": GraphQLArgument(_JSON),
                    "clientId": _CLIENT,
                },
                resolve=_rerun,
                description="Start an execution once more, variables laid over its workload.",
            ),
            "proxyRequest": GraphQLField(
                GraphQLNonNull(_ANSWERED),
                {"input": GraphQLArgument(GraphQLNonNull(_PROXY_INPUT), out_name="wanted")},
                resolve=_proxy,
                description="Call a route of the API.",
            ),
        },
    ),
)
"""The schema of queries and mutations; ids are texts."""
