"""Kinds of tools with the keys of their configurations: one table for every reader.

The JSON Schema of playbooks and the linter read it, the worker's refusals and the pages about
tools can.
"""

from typing import Final

from noetl_contract.tools.containers import CONTAINER
from noetl_contract.tools.executions import (
    ARTIFACT,
    NOOP,
    PLAYBOOK,
    RESULT_FETCH,
    TASK_SEQUENCE,
    WORKBOOK,
)
from noetl_contract.tools.keys import CREDENTIAL_KEYS, KeyType, ToolKey, ToolKind, Variants
from noetl_contract.tools.network import HTTP, MCP, NATS, SUBSCRIPTION
from noetl_contract.tools.plugins import WASM
from noetl_contract.tools.results import merge_labels
from noetl_contract.tools.retries import FAILURE_KINDS, RETRY_SYNONYMS, is_retry_condition
from noetl_contract.tools.scripts import PYTHON, SCRIPT, SHELL
from noetl_contract.tools.sql import DUCKDB, DUCKLAKE, POSTGRES, TRANSFER
from noetl_contract.tools.unsupported import UNSUPPORTED
from noetl_contract.tools.waits import SLEEP, WAIT
from noetl_contract.tools.warehouses import SNOWFLAKE

__all__ = [
    "CREDENTIAL_KEYS",
    "FAILURE_KINDS",
    "RETRY_SYNONYMS",
    "TOOLS",
    "TOOL_KINDS",
    "WITHOUT_KEYCHAIN",
    "KeyType",
    "ToolKey",
    "ToolKind",
    "Variants",
    "is_retry_condition",
    "merge_labels",
]

TOOL_KINDS: Final = (
    "http", "postgres", "duckdb", "ducklake", "python", "workbook", "playbook", "playbooks",
    "secrets", "iterator", "container", "script", "snowflake", "transfer", "snowflake_transfer",
    "gcs", "gateway", "nats", "shell", "artifact", "noop", "task_sequence", "rhai",
    "subscription", "mcp", "result_fetch", "wait", "sleep", "wasm",
)  # fmt: skip
"""Names of the kinds of tools, in the order in which messages list them."""

_BY_NAME: Final = {
    kind.name: kind
    for kind in (
        HTTP, POSTGRES, DUCKDB, DUCKLAKE, PYTHON, WORKBOOK, PLAYBOOK, SCRIPT, CONTAINER, WASM,
        TRANSFER, SNOWFLAKE, NATS, SHELL,
        ARTIFACT, NOOP, TASK_SEQUENCE, MCP, RESULT_FETCH, SUBSCRIPTION, WAIT, SLEEP,
        *UNSUPPORTED,
    )
}  # fmt: skip
TOOLS: Final = {name: _BY_NAME[name] for name in TOOL_KINDS}
"""All kinds of tools by name."""

WITHOUT_KEYCHAIN: Final = frozenset({"playbook", "artifact", "wait", "sleep"})
"""Kinds whose configuration stays readable, in the log of a child or in a stored result."""
