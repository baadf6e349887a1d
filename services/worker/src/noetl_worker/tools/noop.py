"""The noop tool: return the configured result."""

from noetl_contract.json import JsonObject

from noetl_worker.tools.tool import Tool, ToolContext, ToolParts, ToolResult


class Noop:
    """Return the configured result."""

    async def run(self, config: JsonObject, context: ToolContext) -> ToolResult:
        """Return ``result``, or a message."""
        rendered = context.render(config)
        if "result" in rendered:
            return ToolResult(data=rendered["result"])
        message = rendered.get("message")
        return ToolResult(data={"status": "ok", "message": "noop" if message is None else message})


def create(_parts: ToolParts) -> Tool:
    """Make the tool."""
    return Noop()
