"""`GET /api/executions/{execution_id}/libraries/{digest}`: the lock of a step's libraries."""

from litestar import Response
from litestar.params import FromPath
from noetl_contract.access.rights import Right
from noetl_contract.libraries.lock import LibraryLock
from noetl_contract.rpc.catalog import LIBRARIES, LibraryName
from noetl_contract.rpc.projector import EXECUTIONS_ORIGIN, ExecutionName

from noetl_api_gateway.gateway import OpenGateway
from noetl_api_gateway.http.answers import json_answer
from noetl_api_gateway.http.bodies import AnyRequest
from noetl_api_gateway.http.fields import path_id, path_text
from noetl_api_gateway.routes.forwarding import UNKNOWN_EXECUTION, Topic

TOPIC = Topic("executions", errors=UNKNOWN_EXECUTION)


@TOPIC.route(
    "GET /api/executions/{execution_id:str}/libraries/{digest:str}",
    LibraryLock,
    needs=Right.EXECUTIONS_READ,
    summary="Read the lock of a step's libraries",
)
async def library_lock(
    request: AnyRequest,
    gateway: OpenGateway,
    execution_id: FromPath[str],
    digest: FromPath[str],
) -> Response[bytes]:
    """Return the lock of the requirements with a digest, in the execution's playbook version.

    Nulls where it has no lock: it was registered without one.
    """
    number = path_id(execution_id, index=0)
    name = path_text(request, digest, name="digest")
    origin = await gateway.services.ask(
        EXECUTIONS_ORIGIN, ExecutionName(execution_id=number), execution_id=number
    )
    wanted = LibraryName(catalog_id=origin.catalog_id, digest=name)
    return json_answer(request, await gateway.services.ask(LIBRARIES, wanted))
