"""Does nothing and says so (tools 9)."""

from typing import Any

from noetl_worker.tools.tool import Tool, ToolContext, ToolParts, ToolResult

__all__ = ["Noop", "create"]


class Noop:
    """Returns what it was told."""

    async def run(self, config: dict[str, Any], context: ToolContext) -> ToolResult:
        """Return ``result``, or a message."""
        rendered = context.render(config)
        if "result" in rendered:
            return ToolResult(data=rendered["result"])
        message = rendered.get("message")
        return ToolResult(data={"status": "ok", "message": "noop" if message is None else message})


def create(_parts: ToolParts) -> Tool:
    """Make the tool."""
    return Noop()
