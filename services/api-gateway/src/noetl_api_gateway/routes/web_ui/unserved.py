"""Routes that the web UI calls and this server doesn't have: each is refused with a reason."""

from litestar import post
from litestar.handlers import HTTPRouteHandler
from noetl_contract.access.rights import Right

from noetl_api_gateway.http.bodies import AnyRequest
from noetl_api_gateway.http.refusals import Refusal

_NO_MODEL = "AI is not part of this server"


def _unserved(path: str, right: Right, text: str, *, name: str) -> HTTPRouteHandler:
    async def handle(request: AnyRequest) -> None:
        del request
        raise Refusal(501, text)

    handle.__name__ = name
    return post(path, opt={"needs": right}, status_code=200, include_in_schema=False)(handle)


ROUTES = [
    _unserved(
        "/api/catalog/playbooks/explain/ai",
        Right.CATALOG_READ,
        f"{_NO_MODEL}: it explains no playbooks",
        name="explain_with_ai",
    ),
    _unserved(
        "/api/catalog/playbooks/generate/ai",
        Right.CATALOG_READ,
        f"{_NO_MODEL}: it writes no playbooks",
        name="generate_with_ai",
    ),
    _unserved(
        "/api/executions/{execution_id:str}/analyze/ai",
        Right.EXECUTIONS_READ,
        f"{_NO_MODEL}: `POST /api/executions/{{id}}/analyze` tells without it what is wrong",
        name="analyze_with_ai",
    ),
    _unserved(
        "/api/auth/login",
        Right.PUBLIC,
        "This server logs nobody in: a gateway with an identity provider does, or send an API key",
        name="log_in_with_a_provider",
    ),
]
