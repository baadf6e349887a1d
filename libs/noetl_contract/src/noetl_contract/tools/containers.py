"""Kind `container`, with the keys of its configuration."""

from noetl_contract.tools.keys import KeyType, ToolKey, ToolKind

_ENV = (
    ToolKey("name", KeyType.TEXT, "Name of the variable.", is_required=True),
    ToolKey("value", KeyType.ANY, "Its value, which may come from the keychain.", default=""),
    ToolKey(
        "value_from",
        KeyType.MAPPING,
        "A Secret of the cluster, in place of a value.",
        keys=(
            ToolKey("secret_name", KeyType.TEXT, "Name of the Secret.", is_required=True),
            ToolKey("secret_key", KeyType.TEXT, "Key in it.", is_required=True),
        ),
    ),
)
_RESOURCES = (
    ToolKey("requests", KeyType.MAPPING, "Amounts that are reserved.", default={}),
    ToolKey(
        "limits",
        KeyType.MAPPING,
        "Amounts at most: `cpu`, `memory` and others.",
        default_text="NOETL_CONTAINER_CPU_MAX, NOETL_CONTAINER_MEMORY_BYTES_MAX",
    ),
)
_VOLUME = (
    ToolKey("path", KeyType.TEXT, "Absolute path in the container.", is_required=True),
    ToolKey("source", KeyType.TEXT, "Named volume or claim.", default_text="an empty folder"),
    ToolKey("read_only", KeyType.FLAG, "Whether it can't be changed.", default=False),
)

CONTAINER = ToolKind(
    name="container",
    description="Runs an image; the step waits for its end without a worker.",
    keys=(
        ToolKey("image", KeyType.TEXT, "The image.", is_required=True),
        ToolKey("command", KeyType.TEXT_LIST, "Entry point.", default_text="the image's own"),
        ToolKey("args", KeyType.TEXT_LIST, "Arguments of it.", default_text="the image's own"),
        ToolKey("env", KeyType.LIST, "Environment.", default=[], keys=_ENV),
        ToolKey("resources", KeyType.MAPPING, "Resources.", default={}, keys=_RESOURCES),
        ToolKey("gpu", KeyType.UNSIGNED, "GPUs, in short for `nvidia.com/gpu` of `limits`."),
        ToolKey("working_dir", KeyType.TEXT, "Working directory.", default_text="the image's own"),
        ToolKey("volumes", KeyType.LIST, "Folders of its own.", default=[], keys=_VOLUME),
        ToolKey(
            "timeout_seconds",
            KeyType.UNSIGNED,
            "Longest run.",
            default_text="the tool's `timeout`, else NOETL_CONTAINER_SECONDS_MAX",
        ),
        ToolKey(
            "ttl_seconds",
            KeyType.UNSIGNED,
            "Seconds until the ended container is removed.",
            default_text="NOETL_CONTAINER_TTL_SECONDS",
        ),
        ToolKey(
            "image_pull_policy",
            KeyType.TEXT,
            "When the image is pulled.",
            default="IfNotPresent",
            choices=("Always", "IfNotPresent", "Never"),
        ),
        ToolKey(
            "backoff_limit", KeyType.UNSIGNED, "Further tries of the container itself.", default=0
        ),
        ToolKey(
            "restart_policy",
            KeyType.TEXT,
            "Whether such a try is a restart in its place.",
            default="Never",
            choices=("Never", "OnFailure"),
        ),
        ToolKey(
            "namespace",
            KeyType.TEXT,
            "Namespace of the Job.",
            default_text="NOETL_CONTAINER_NAMESPACE",
        ),
        ToolKey("service_account", KeyType.TEXT, "Service account of the pod."),
        ToolKey("node_selector", KeyType.MAPPING, "Labels of nodes that may run it.", default={}),
    ),
)
