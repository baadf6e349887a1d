"""Tools by kind."""

from collections.abc import Callable, Iterable
from importlib.metadata import EntryPoint
from typing import cast

from noetl_common.process.extensions import extensions
from noetl_contract.json import JsonObject
from noetl_contract.tools import TOOLS

from noetl_worker.interpreters.host.results import NotJson
from noetl_worker.tools.tool import Parking, Tool, ToolContext, ToolError, ToolParts, ToolResult

GROUP = "noetl.tools"

type ToolFactory = Callable[[ToolParts], Tool]


class ToolRegistry:
    """The toolbox of a worker."""

    def __init__(self, tools: dict[str, Tool]) -> None:
        self._tools = tools

    @property
    def kinds(self) -> list[str]:
        """The kinds it can run; a tool may be there and lack its means."""
        return sorted(
            kind for kind, tool in self._tools.items() if getattr(tool, "is_available", True)
        )

    @property
    def parking(self) -> list[Parking]:
        """The tools whose work goes on after their commands."""
        return [
            cast("Parking", tool)
            for tool in self._tools.values()
            if hasattr(tool, "watch") and getattr(tool, "is_available", True)
        ]

    async def run(self, kind: str, config: JsonObject, context: ToolContext) -> ToolResult:
        """Run a tool of a kind.

        Raises:
            ToolError: there is none, a credential can't be had, or it raised.
        """
        tool = self._tools.get(kind)
        if tool is None:
            known = TOOLS.get(kind)
            advice = known.advice if known is not None else None
            raise ToolError("Tool not found", f"{kind}: {advice}" if advice else kind)
        if context.credentials is not None:
            config, context = await context.credentials.apply(kind, config, context)
        elif kind != "task_sequence" and isinstance(config.get("auth"), str):
            # Never without: a tool might fall back to a default of its driver.
            message = f"credential alias '{config['auth']}': nobody here looks up credentials"
            raise ToolError("Configuration error", message)
        try:
            return await tool.run(config, context)
        except NotJson as error:
            raise ToolError("Result error", str(error)) from error

    async def close(self) -> None:
        """Release connections and databases that tools hold between runs."""
        for tool in self._tools.values():
            close = getattr(tool, "close", None)
            if close is not None:
                await close()


def load_tools(parts: ToolParts, *, found: Iterable[EntryPoint] | None = None) -> ToolRegistry:
    """Make all installed tools.

    Raises:
        BadExtension: two packages bring the same kind, or one can't be loaded.
    """
    tools: dict[str, Tool] = {}
    for extension in extensions(GROUP, "tool", found=found):
        factory: ToolFactory = extension.load()
        tools[extension.name] = factory(parts)
    return ToolRegistry(tools)
