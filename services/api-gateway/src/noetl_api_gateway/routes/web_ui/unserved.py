"""Routes that the web UI calls and this server doesn't have: each is refused with a reason."""

from noetl_contract.access.rights import Right

from noetl_api_gateway.routes.forwarding import Topic

TOPIC = Topic("unserved")
_NO_MODEL = "AI is not part of this server"

TOPIC.refuse(
    "POST /api/catalog/playbooks/explain/ai",
    501,
    f"{_NO_MODEL}: it explains no playbooks",
    needs=Right.CATALOG_READ,
)
TOPIC.refuse(
    "POST /api/catalog/playbooks/generate/ai",
    501,
    f"{_NO_MODEL}: it writes no playbooks",
    needs=Right.CATALOG_READ,
)
TOPIC.refuse(
    "POST /api/executions/{execution_id:str}/analyze/ai",
    501,
    f"{_NO_MODEL}: `POST /api/executions/{{id}}/analyze` tells without it what is wrong",
    needs=Right.EXECUTIONS_READ,
)
TOPIC.refuse(
    "POST /api/auth/login",
    501,
    "This server logs nobody in: a gateway with an identity provider does, or send an API key",
    needs=Right.PUBLIC,
)
