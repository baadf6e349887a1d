"""Kinds of the control plane: `playbook`, `artifact`, `result_fetch`, `noop`; with their keys."""

from noetl_contract.tools.keys import KeyType, ToolKey, ToolKind

PLAYBOOK = ToolKind(
    name="playbook",
    description="Starts another playbook.",
    keys=(
        ToolKey("path", KeyType.TEXT, "Catalog path of the playbook."),
        ToolKey("catalog_id", KeyType.INTEGER, "Catalog id of the playbook."),
        ToolKey("version", KeyType.ANY, "Version, `latest` is the newest.", default_text="newest"),
        ToolKey(
            "args",
            KeyType.MAPPING,
            "The child's workload; the first that is not empty.",
            default={},
            aliases=("input", "payload"),
        ),
        ToolKey(
            "parent_execution_id",
            KeyType.INTEGER,
            "Parent of the child, 0 for none.",
            default_text="this execution",
        ),
        ToolKey("return_step", KeyType.TEXT, "Wait for the end and return this step's data."),
        ToolKey(
            "on_child_failure",
            KeyType.TEXT,
            "Whether the step fails when the child that it waits for fails, is cancelled or takes"
            " too long.",
            default_text="NOETL_ON_CHILD_FAILURE, which is `continue`",
            choices=("fail", "continue"),
        ),
        ToolKey("poll_interval", KeyType.NUMBER, "Seconds between two looks.", default=2),
        ToolKey("timeout", KeyType.UNSIGNED, "Longest wait, in pipelines.", default=300),
        ToolKey("timeout_seconds", KeyType.NUMBER, "Longest wait for the child's callback."),
    ),
    alternatives=(("path", "catalog_id"),),
)
_TRANSPORT = (
    ToolKey(
        "prefer",
        KeyType.TEXT,
        "Transport; ours is HTTP.",
        default="flight",
        choices=("flight", "http"),
    ),
    ToolKey("flight_endpoint", KeyType.TEXT, "Unused here."),
    ToolKey("bearer_token", KeyType.TEXT, "Unused here."),
    ToolKey("tls_ca_path", KeyType.TEXT, "Unused here."),
    ToolKey("client_cert_path", KeyType.TEXT, "Unused here, together with the key."),
    ToolKey("client_key_path", KeyType.TEXT, "Unused here, together with the certificate."),
)
ARTIFACT = ToolKind(
    name="artifact",
    description="Gets a result that was too large for its event.",
    keys=(
        ToolKey("action", KeyType.TEXT, "Only `get`.", default="get"),
        ToolKey(
            "input",
            KeyType.MAPPING,
            "The result.",
            is_required=True,
            aliases=("args",),
            keys=(ToolKey("result_ref", KeyType.TEXT, "Its reference.", is_required=True),),
        ),
        *_TRANSPORT,
    ),
)
RESULT_FETCH = ToolKind(
    name="result_fetch",
    description="Gets a result that was too large for its event.",
    keys=(ToolKey("ref", KeyType.TEXT, "Reference of the result.", is_required=True), *_TRANSPORT),
)
NOOP = ToolKind(
    name="noop",
    description="Returns `result`, or a message.",
    keys=(
        ToolKey("result", KeyType.ANY, "The result."),
        ToolKey("message", KeyType.ANY, "Message of the result.", default="noop"),
    ),
    is_open=True,
)
TASK_SEQUENCE = ToolKind(
    name="task_sequence",
    description="Runs a pipeline; playbooks write a list in `tool`.",
    keys=(ToolKey("tasks", KeyType.LIST, "The tasks.", aliases=("tool_config",)),),
    is_open=True,
)
WORKBOOK = ToolKind(
    name="workbook",
    description="Runs a task of the playbook's workbook, which replaces it.",
    keys=(ToolKey("name", KeyType.TEXT, "Name of the task."),),
    is_open=True,
)
