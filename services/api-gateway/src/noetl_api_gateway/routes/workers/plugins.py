"""`GET /api/executions/{execution_id}/plugins/{catalog_id}/{digest}`: a plug-in's module."""

from noetl_contract.access.rights import Right
from noetl_contract.plugins.requests import PluginRequest
from noetl_contract.rpc.catalog import PLUGIN

from noetl_api_gateway.routes.forwarding import Topic

TOPIC = Topic("executions")

TOPIC.forward(
    "GET /api/executions/{execution_id:str}/plugins/{catalog_id:str}/{digest:str}",
    PLUGIN,
    lambda sent: PluginRequest(catalog_id=sent.id("catalog_id"), digest=sent.word("digest")),
    name="plugin_module",
    needs=Right.EXECUTIONS_READ,
    summary="Read a plug-in with its module",
    description="Read one version of a plug-in, a deleted one too. Its digest stands in the"
    " log of executions that use it; with another one there is no such plug-in.",
    errors={404: "Plug-in not found: 325077236512452608"},
)
