"""The tool kind ``wordcount``: how many words a text has, and which are the most frequent."""

import re
from collections import Counter
from typing import Any

from noetl_worker.tools.fields import Fields
from noetl_worker.tools.tool import Tool, ToolContext, ToolError, ToolParts, ToolResult

__all__ = ["WordCount", "create"]

_LONGEST = 10_000_000


class WordCount:
    """Counts the words of ``text`` and names the ``top`` most frequent."""

    async def run(self, config: dict[str, Any], context: ToolContext) -> ToolResult:
        """Count.

        Raises:
            ToolError: the configuration is wrong.
        """
        # Templates of the configuration may use the results of earlier tasks.
        fields = Fields(context.render(config), kind="wordcount")
        text = fields.text("text")
        top = fields.optional_unsigned("top")
        if len(text) > _LONGEST:
            message = f"wordcount: the text has more than {_LONGEST} characters"
            raise ToolError("Execution failed", message)
        words = Counter(re.findall(r"\w+", text.lower()))
        return ToolResult(
            data={
                "words": words.total(),
                "unique": len(words),
                "top": [
                    {"word": word, "count": count}
                    for word, count in words.most_common(3 if top is None else top)
                ],
            }
        )


def create(_parts: ToolParts) -> Tool:
    """Make the tool; the parts hold settings, an HTTP client and more for tools that need them."""
    return WordCount()
