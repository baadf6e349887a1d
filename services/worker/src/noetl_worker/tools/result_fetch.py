"""The result_fetch tool: fetch a stored result by its reference."""

from noetl_contract.json import JsonObject

from noetl_worker.control_plane.edge import Edge
from noetl_worker.tools.edge_calls import EdgeCalls
from noetl_worker.tools.fields import Fields
from noetl_worker.tools.tool import Tool, ToolContext, ToolError, ToolParts, ToolResult

_SECONDS = 30.0
_LONGEST_ERROR = 2000
_PREFERENCES = ("flight", "http")


class ResultFetch:
    """The result_fetch tool; straight over HTTP, in spite of the preferred transport."""

    def __init__(self, edge: Edge, *, most: int) -> None:
        self._edge = edge
        self._most = most

    async def run(self, config: JsonObject, context: ToolContext) -> ToolResult:
        """Return the stored document, which is the result of a tool with its status."""
        fields = Fields(context.render(config), kind="result_fetch")
        ref = fields.text("ref")
        check_transport(fields)
        return await self.resolve(ref, context)

    async def resolve(self, ref: str, context: ToolContext) -> ToolResult:
        """Return the document behind a reference.

        Raises:
            ToolError: there is no such result, or it is too large.
        """
        calls = EdgeCalls(self._edge, context, most=self._most)
        reply = await calls.get("/api/result/resolve", seconds=_SECONDS, params={"ref": ref})
        if not reply.is_good:
            raise ToolError(
                "HTTP error",
                f"/api/result/resolve returned {reply.status}: {reply.text[:_LONGEST_ERROR]}",
            )
        return ToolResult(data=reply.json())


def check_transport(fields: Fields) -> None:
    """Refuse fields that would be wrong for Arrow Flight, too, so that they are found here."""
    fields.choice("prefer", _PREFERENCES, default="flight")
    for name in ("flight_endpoint", "bearer_token", "tls_ca_path"):
        fields.optional_text(name)
    pair = [fields.optional_text(f"client_{one}_path") for one in ("cert", "key")]
    if (pair[0] is None) != (pair[1] is None):
        raise ToolError(
            "Configuration error", "client_cert_path and client_key_path must be given together"
        )


def create(parts: ToolParts) -> Tool:
    """Make the tool."""
    return ResultFetch(parts.edge, most=parts.settings.worker_resolve_body_bytes)
