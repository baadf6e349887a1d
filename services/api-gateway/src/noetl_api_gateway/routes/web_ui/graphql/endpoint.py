"""`POST /graphql`: a document in, values and errors out, with status 200 for both."""

import asyncio
import inspect

from graphql import ExecutionResult, GraphQLError, execute
from litestar import Response
from noetl_common.logging import get_logger
from noetl_contract.access.rights import Right
from noetl_contract.http.system.graphql import GraphqlAnswer, GraphqlRequest
from noetl_contract.json import JsonObject

from noetl_api_gateway.gateway import OpenGateway
from noetl_api_gateway.http.answers import plain_answer
from noetl_api_gateway.http.bodies import AnyRequest
from noetl_api_gateway.http.decoding import read_body
from noetl_api_gateway.routes.forwarding import Topic
from noetl_api_gateway.routes.web_ui.graphql.bounds import checked
from noetl_api_gateway.routes.web_ui.graphql.schema import SCHEMA
from noetl_api_gateway.routes.web_ui.graphql.starts import Asking

TOPIC = Topic("executions")

_log = get_logger()

_NO_PAGE = "GraphQL is asked by POST; there is no page for it: /schema shows the whole API"


@TOPIC.route(
    "POST /graphql",
    GraphqlAnswer,
    body=GraphqlRequest,
    needs=Right.EXECUTIONS_READ,
    summary="Start executions and call the API, as the web UI does behind a gateway",
)
async def ask_by_graphql(request: AnyRequest, gateway: OpenGateway) -> Response[bytes]:
    """Resolve a document: `health`, `version`, `executePlaybook`, `rerunExecution`, `proxyRequest`.

    Each of them needs the rights of its route. Failures are answered as errors of GraphQL.
    """
    sent = await read_body(request, GraphqlRequest)
    seconds = gateway.settings.graphql_patience_seconds
    try:
        async with asyncio.timeout(seconds):
            result = await _resolved(sent, Asking(request, gateway))
    except GraphQLError as error:
        result = ExecutionResult(None, [error])
    except TimeoutError:
        text = f"No answer in {seconds:g} s; what was begun may go on"
        late = GraphQLError(text, extensions={"status": 504})
        result = ExecutionResult(None, [late])
    return plain_answer(_answer_of(result))


# The usual page for it comes from another server.
TOPIC.refuse("GET /graphql", 405, _NO_PAGE, needs=Right.EXECUTIONS_READ, allow="POST")


async def _resolved(sent: GraphqlRequest, asking: Asking) -> ExecutionResult:
    found = execute(
        SCHEMA,
        checked(SCHEMA, sent.query),
        context_value=asking,
        variable_values=sent.variables,
        operation_name=sent.operationName,
    )
    return await found if inspect.isawaitable(found) else found


def _answer_of(result: ExecutionResult) -> JsonObject:
    """Return values and errors; errors that are no refusals are logged and shown as internal."""
    answer: JsonObject = {"data": result.data}
    if result.errors:
        answer["errors"] = [_shown(error) for error in result.errors]
    return answer


def _shown(error: GraphQLError) -> JsonObject:
    cause = error.original_error
    if cause is None or isinstance(cause, GraphQLError):
        return {**error.formatted}
    _log.error("graphql_field_failed", exc_info=cause)
    return {**error.formatted, "message": "Internal error", "extensions": {"status": 500}}
