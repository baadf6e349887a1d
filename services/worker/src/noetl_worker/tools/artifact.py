"""The artifact tool: get a stored result by its reference."""

from noetl_contract.json import JsonObject

from noetl_worker.tools.fields import Fields
from noetl_worker.tools.result_fetch import ResultFetch, check_transport
from noetl_worker.tools.tool import Tool, ToolContext, ToolError, ToolParts, ToolResult


class Artifact(ResultFetch):
    """The artifact tool."""

    async def run(self, config: JsonObject, context: ToolContext) -> ToolResult:
        """Return the stored document."""
        config = context.render(config)
        fields = Fields(config, kind="artifact")
        action = fields.text("action") if config.get("action") is not None else "get"
        if action == "put":
            raise ToolError(
                "Configuration error",
                "artifact action=put is not supported in the Rust path; nor here: "
                "large results are stored by themselves",
            )
        if action != "get":
            raise ToolError(
                "Configuration error",
                f"artifact action='{action}' is not supported (only 'get' is implemented)",
            )
        fields.check_required()
        given = fields.mapping("input", alias="args")
        ref = Fields(given, kind="artifact").text("result_ref")
        check_transport(fields)
        return await self.resolve(ref, context)


def create(parts: ToolParts) -> Tool:
    """Make the tool."""
    return Artifact(parts.edge, most=parts.settings.worker_resolve_body_bytes)
