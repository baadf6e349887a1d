"""The part of the language below ``tool``: mappings that belong to one call of a tool."""

from typing import Final

from noetl_contract.tools import TOOL_KINDS

from noetl_engine.playbook.levels import (
    ANY,
    BOOLEAN,
    INTEGER,
    LIST,
    NUMBER_OR_TEMPLATE,
    OBJECT,
    STRING,
    TEXT,
    Key,
    Level,
    list_of,
    one_of,
    reference,
)

_IGNORED: Final = "it is ignored"
ERRORS: Final = Key(
    "What a soft error does to its step: it completes, or fails as by a hard one. The nearest of "
    "tool, step and playbook decides.",
    one_of("continue", "fail"),
)

TOOL: Final = Level(
    doc="A tool and its configuration.",
    is_open=True,
    keys={
        "kind": Key("Which tool.", one_of(*TOOL_KINDS), is_required=True),
        "name": Key("Label of a pipeline item, or the workbook task.", STRING),
        "input": Key("Arguments.", ANY),
        "args": Key("Other name of input.", ANY),
        "auth": Key("Credential alias.", ANY),
        "credential": Key("Other name of auth.", ANY),
        "libs": Key("Modules that a script has imported.", ANY),
        "command": Key("Command line or SQL.", ANY),
        "output_select": Key("Fields that stay inline when the result is stored.", ANY),
        **{name: Key(doc, STRING) for name, doc in {
            "code": "Program text; it is a template first.", "url": "Address.",
            "method": "HTTP method.", "query": "Query text.",
            "connection": "Connection string."}.items()},
        "params": Key("Parameters of a request or of SQL.",
                      {"type": ["object", "array", "string"]}),
        "headers": Key("HTTP headers.",
                       {"type": "object", "additionalProperties": {"type": "string"}}),
        "retry": Key("Tries of a failing tool.", ANY),
        "timeout": Key("Seconds.", ANY),
        "set": Key("Variables of the pipeline.", ANY),
        "spec": Key("Failures of this call.", reference("CallSpec")),
        "eval": Key("Old flow control.", LIST, inert="nothing executes it, write 'spec.policy'"),
        "output": Key("Where a result goes.", reference("ToolOutput"),
                      inert="it is ignored: large results are stored by themselves"),
        **{name: Key("Old construct.", ANY, inert=f"it is ignored, {advice}")
           for name, advice in {
               "pool": "the pool comes from metadata.path",
               "sink": "add a step or a pipeline item that stores",
               "save": "add a step or a pipeline item that stores",
               "bind": "write 'set' on the step"}.items()},
    },
)  # fmt: skip
CALL_SPEC: Final = Level(
    doc="Failures of one call of a tool.",
    keys={
        "errors": ERRORS,
        "policy": Key("What follows a result or an error.", reference("CallPolicy")),
        "timeout": Key(
            "Old time limit.",
            ANY,
            inert="it is ignored, write 'timeout' in the tool or in the 'spec' of the step",
        ),
    },
)
CALL_POLICY: Final = Level(
    doc="What follows a result or an error of a tool.",
    keys={
        "rules": Key("In order; the first that holds decides.", list_of(reference("CallRule"))),
        **{
            name: Key(f"Old {name}.", schema, inert=_IGNORED)
            for name, schema in {
                "mode": TEXT,
                "on_unmatched": one_of("continue", "fail"),
                "before": ANY,
                "after": ANY,
                "finally": ANY,
            }.items()
        },
    },
)
CALL_RULE: Final = Level(
    doc="One rule about a result or an error.",
    keys={
        "when": Key("Condition.", TEXT),
        "then": Key("What is done.", reference("CallAction")),
        "else": Key(
            "The rule that always holds, in place of 'when'.",
            {"type": "object", "properties": {"then": reference("CallAction")}},
        ),
    },
)
CALL_ACTION: Final = Level(
    doc="What a rule does.",
    keys={
        "do": Key("The action.", one_of("continue", "retry", "break", "jump", "fail")),
        "to": Key("Label of the task that a jump leads to; 'previous' is the one before.", TEXT),
        "attempts": Key("Tries in all, of 'retry'.", NUMBER_OR_TEMPLATE),
        "delay": Key("Seconds before the next try.", NUMBER_OR_TEMPLATE),
        "backoff": Key("Growth of the delay.", one_of("none", "fixed", "linear", "exponential")),
        "set": Key("Variables.", OBJECT),
    },
)
TOOL_OUTPUT: Final = Level(
    doc="Where a tool's result goes; kept for other tools.",
    is_open=True,
    keys={
        "store": Key(
            "Where results are stored.",
            {
                "type": "object",
                "properties": {
                    "kind": one_of("auto", "memory", "kv", "disk", "object", "s3", "gcs", "db",
                                   "duckdb", "eventlog"),
                    "driver": TEXT, "bucket": TEXT, "prefix": TEXT, "ttl": TEXT,
                    "compression": one_of("none", "gzip", "lz4"), "credential": TEXT,
                },
            },
        ),
        "select": Key(
            "Fields that stay inline.",
            list_of({"type": "object", "required": ["path", "as"],
                     "properties": {"path": TEXT, "as": TEXT}}),
        ),
        "accumulate": Key(
            "Joining the results of iterations.",
            {
                "type": "object",
                "properties": {
                    "enabled": BOOLEAN,
                    "strategy": one_of("append", "replace", "merge", "concat"),
                    "merge_path": TEXT, "manifest_as": TEXT, "max_items": INTEGER,
                    "on_success": ANY, "on_error": ANY,
                },
            },
        ),
        "inline_max_bytes": Key("Largest inline result.", INTEGER),
        "preview_max_bytes": Key("Largest preview.", INTEGER),
        "scope": Key("How long it lives.",
                     one_of("step", "execution", "workflow", "permanent")),
        "as": Key("Name.", TEXT),
    },
)  # fmt: skip
