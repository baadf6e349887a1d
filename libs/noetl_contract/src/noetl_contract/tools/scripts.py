"""Kinds `python`, `shell` and `script`, with the keys of their configurations."""

from noetl_contract.tools.keys import ARGUMENTS, CWD, ENV, KeyType, ToolKey, ToolKind

_SECONDS = ToolKey(
    "timeout_seconds", KeyType.UNSIGNED, "Longest run.", default_text="the tool's `timeout`"
)
_SCRIPT = (
    ToolKey("uri", KeyType.TEXT, "Path of `file`, address of `http` and `gcs`."),
    ToolKey(
        "source",
        KeyType.MAPPING,
        "Kind of the place.",
        default={},
        keys=(
            ToolKey(
                "type",
                KeyType.TEXT,
                "Where it is.",
                default="inline",
                choices=("inline", "file", "gcs", "http"),
            ),
            ToolKey("code", KeyType.TEXT, "Text of `inline`."),
            ToolKey("endpoint", KeyType.TEXT, "Address of `http`.", default_text="`uri`"),
            ToolKey("method", KeyType.TEXT, "Method of `http`.", default="GET"),
            ToolKey("timeout", KeyType.UNSIGNED, "Seconds of `http`.", default=30),
            ToolKey("auth", KeyType.MAPPING, "An `auth` object for `http`."),
        ),
    ),
)

PYTHON = ToolKind(
    name="python",
    description="Runs a script in a fresh process.",
    keys=(
        ToolKey("code", KeyType.TEXT, "The script; wins over `script`."),
        ToolKey("script", KeyType.MAPPING, "Where the script is.", keys=_SCRIPT),
        ARGUMENTS,
        ENV,
        _SECONDS,
        CWD,
        ToolKey(
            "python", KeyType.TEXT, "Another interpreter.", default_text="PYTHON_PATH of the worker"
        ),
        ToolKey(
            "requirements",
            KeyType.TEXT_LIST,
            "Packages for the script, such as `pandas==2.3.3`; locked at registration.",
            default=[],
        ),
        ToolKey(
            "libs",
            KeyType.ANY,
            "Modules to import before the script: `alias: module`, or `alias: {from, import}`.",
        ),
    ),
    alternatives=(("code", "script"),),
)
SHELL = ToolKind(
    name="shell",
    description="Runs a command line.",
    keys=(
        ToolKey("command", KeyType.TEXT, "The command line.", is_required=True),
        ToolKey("shell", KeyType.TEXT, "Program that reads it.", default="sh"),
        CWD,
        ENV,
        _SECONDS,
        ToolKey(
            "capture",
            KeyType.FLAG,
            "Whether the output is the result, else it is the worker's own.",
            default=True,
        ),
    ),
)
SCRIPT = ToolKind(
    name="script",
    description="Runs a script as a Kubernetes Job.",
    keys=(
        ToolKey(
            "script",
            KeyType.MAPPING,
            "The script.",
            is_required=True,
            keys=(
                ToolKey(
                    "type",
                    KeyType.TEXT,
                    "Where it is.",
                    is_required=True,
                    choices=("inline", "local", "http", "gcs", "s3"),
                ),
                ToolKey("content", KeyType.TEXT, "Text of `inline` and `local`."),
                ToolKey("uri", KeyType.TEXT, "Address of `http`."),
            ),
        ),
        ARGUMENTS,
        ToolKey(
            "job",
            KeyType.MAPPING,
            "The Job.",
            default={},
            keys=(
                ToolKey("image", KeyType.TEXT, "Image.", default="python:3.11-slim"),
                ToolKey(
                    "image_pull_policy",
                    KeyType.TEXT,
                    "When the image is pulled.",
                    default="IfNotPresent",
                    choices=("Always", "IfNotPresent", "Never"),
                ),
                ToolKey(
                    "namespace",
                    KeyType.TEXT,
                    "Namespace.",
                    default_text="NOETL_CONTAINER_NAMESPACE",
                ),
                ToolKey("timeout", KeyType.UNSIGNED, "Longest run in seconds.", default=600),
                ToolKey("backoff_limit", KeyType.UNSIGNED, "Tries of the Job.", default=3),
                ToolKey(
                    "ttl_seconds_after_finished",
                    KeyType.UNSIGNED,
                    "Seconds until the ended Job is removed.",
                    default=300,
                ),
                ToolKey(
                    "install_dependencies",
                    KeyType.TEXT_LIST,
                    "Packages installed before the script.",
                    default=[],
                ),
                ToolKey("env", KeyType.TEXTS, "Environment, by a Secret.", default={}),
                ToolKey(
                    "resources",
                    KeyType.MAPPING,
                    "Resources.",
                    default={},
                    keys=(
                        ToolKey("requests", KeyType.TEXTS, "Requests.", default={}),
                        ToolKey(
                            "limits",
                            KeyType.TEXTS,
                            "Limits.",
                            default_text="those of a container",
                        ),
                    ),
                ),
            ),
        ),
    ),
)
