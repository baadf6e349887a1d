"""Kinds of documents."""

from typing import Final

LANGUAGES: Final = ("playbook", "schedule", "trigger", "subscription", "plugin")
"""Kinds of documents with a language of their own."""
DESCRIBED: Final = frozenset({"credential", "mcp", "agent", "memory"})
"""Kinds that the catalog keeps; of them an agent is read, if it has a workflow."""
