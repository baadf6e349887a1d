"""The playbook language as data: its mappings with their keys, meaning and effect.

The JSON Schema is made from this, and the linter knows unknown, misplaced and inert keys by it.
"""

from collections.abc import Mapping
from typing import Final

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
from noetl_engine.playbook.tool_levels import (
    CALL_ACTION,
    CALL_POLICY,
    CALL_RULE,
    CALL_SPEC,
    ERRORS,
    TOOL,
    TOOL_OUTPUT,
)

_IGNORED: Final = "it is ignored"

PLAYBOOK: Final = Level(
    doc="A workflow: steps, joined by arcs, that run tools.",
    keys={
        "apiVersion": Key("Version of the language.", {"const": "noetl.io/v2"}, is_required=True),
        "kind": Key("Kind of the document.", one_of("Playbook", "Agent"), is_required=True),
        "metadata": Key("Name and catalog path.", reference("Metadata"), is_required=True),
        "workload": Key("Defaults of the caller's payload, key by key.", ANY),
        "workflow": Key(
            "The steps; the one named 'start' is the entry.",
            list_of(reference("Step")),
            is_required=True,
        ),
        "spec": Key("Limits and rules of an execution.", reference("PlaybookSpec")),
        "on_failure": Key("What a failed execution starts or calls.", reference("OnFailure")),
        "keychain": Key("Credentials the playbook needs.", list_of(reference("KeychainEntry"))),
        "workbook": Key("Tools that steps may refer to.", list_of(reference("WorkbookTask"))),
        "executor": Key(
            "Wishes about the executor.",
            reference("Executor"),
            inert="it is ignored: the entry is the step named 'start'",
        ),
        "vars": Key("Old name of workload.", ANY, inert="it is ignored, write 'workload'"),
    },
)
PLAYBOOK_SPEC: Final = Level(
    doc="Limits and rules of an execution.",
    keys={
        "timeout": Key("Deadline of an execution from its start: 30, 30s, 5m or 1h.", TEXT),
        "errors": ERRORS,
    },
)
ON_FAILURE: Final = Level(
    doc="What a failed execution starts or calls.",
    keys={
        "playbook": Key("Path of the playbook that is started with the failure.", TEXT),
        "version": Key("Its version; without one the newest.", INTEGER),
        "payload": Key("More for its payload; no templates.", OBJECT),
        "webhook": Key(
            "Address that the failure is sent to, or a mapping with `url` and `auth`.",
            {
                "anyOf": [
                    TEXT,
                    {
                        "type": "object",
                        "properties": {"url": TEXT, "auth": TEXT},
                        "required": ["url"],
                    },
                ]
            },
        ),
    },
)
METADATA: Final = Level(
    doc="Name and catalog path of a playbook.",
    is_open=True,
    keys={
        "name": Key("Name of the playbook.", TEXT, is_required=True),
        "path": Key("Catalog path; its first part chooses the worker pool.", TEXT),
        "description": Key("For readers.", TEXT),
        "labels": Key("Labels kept with the catalog entry.", OBJECT),
    },
)
EXECUTOR: Final = Level(
    doc="Wishes about the executor, kept for other tools.",
    is_open=True,
    keys={
        "profile": Key("Profile.", {**TEXT, "default": "auto"}),
        "version": Key("Runtime version.", {**TEXT, "default": "noetl-runtime/1"}),
        "requires": Key(
            "Needed tools and features.",
            {"type": "object", "properties": {"tools": LIST, "features": LIST}},
        ),
        "spec": Key(
            "Entry, end and policies.",
            {
                "type": "object",
                "properties": {
                    "entry_step": TEXT,
                    "final_step": TEXT,
                    "no_next_is_error": BOOLEAN,
                    "policy": {
                        "type": "object",
                        "properties": {"defaults": ANY, "limits": ANY, "results": ANY},
                    },
                },
            },
        ),
    },
)
# In the order of the original server's decoder, whose first message counts.
KEYCHAIN_ENTRY: Final = Level(
    doc="A credential the playbook needs.",
    is_open=True,
    keys={
        "name": Key("Alias that `auth` refers to.", TEXT, is_required=True),
        **{
            name: Key(f"The credential's {name.replace('_', ' ')}.", TEXT)
            for name in ("credential", "token_type", "scope", "provider", "auth", "region")
        },
        "no_broker_fallback": Key("Never ask the broker.", BOOLEAN),
        "auto_renew": Key("Renew before it ends.", BOOLEAN),
        "residency": Key("Where it may be used.", one_of("none", "advisory", "strict")),
        "allowed_regions": Key("Regions it may be used in.", LIST),
        "map": Key("Fields by name.", OBJECT),
    },
)
WORKBOOK_TASK: Final = Level(
    doc="A named tool; a step runs it with `kind: workbook`.",
    keys={
        "name": Key("Name steps refer to.", TEXT, is_required=True),
        "tool": Key("The tool.", reference("ToolSpec"), is_required=True),
        "desc": Key("For readers.", TEXT),
        "sink": Key("Old way to store.", ANY, inert="nothing is stored: add a step that stores"),
    },
)
STEP: Final = Level(
    doc="One step of the workflow.",
    keys={
        "step": Key("Unique name; templates find the step's result under it.", TEXT,
                    is_required=True),
        "desc": Key("For readers.", TEXT),
        "tool": Key(
            "One tool, or a list of tools that run one after the other.",
            {
                "anyOf": [
                    reference("ToolSpec"),
                    {
                        "type": "array",
                        "minItems": 1,
                        "items": {
                            "anyOf": [
                                reference("ToolSpec"),
                                {
                                    "type": "object",
                                    "minProperties": 1,
                                    "maxProperties": 1,
                                    "additionalProperties": reference("ToolSpec"),
                                },
                            ]
                        },
                    },
                ]
            },
        ),
        "next": Key("What follows; nothing ends the branch.", reference("NextRouter")),
        "loop": Key("Run once per element.", reference("LoopConfig")),
        "when": Key("Guard: the step is skipped when it is false.", TEXT),
        "set": Key("Variables written when the step is done.", OBJECT),
        "spec": Key("Timeout, failures and admission.", reference("StepSpec")),
        "args": Key("Arguments for tools that have none; rendered by the worker.", OBJECT),
        "input": Key("Defaults below the tool's own arguments.", OBJECT),
        "output": Key("Which fields stay inline when a result is stored.",
                      reference("StepOutput")),
        "vars": Key("Old variables.", OBJECT, inert="it is ignored, write 'set'"),
        "case": Key("Old form of routing.", ANY),
        **{
            name: Key("Old construct.", ANY, inert=f"it is ignored here, {advice}")
            for name, advice in {
                "retry": "write it inside 'tool'",
                "timeout": "write it in 'spec' or inside 'tool'",
                "sink": "add a step or a pipeline item that stores",
                "save": "add a step or a pipeline item that stores",
                "bind": "write 'set'",
            }.items()
        },
    },
)  # fmt: skip
STEP_SPEC: Final = Level(
    doc="Timeout, failures and admission of a step.",
    keys={
        "next_mode": Key("Mode of `next` where it has none of its own.", TEXT),
        "timeout": Key("Per command: 30, 30s, 5m or 1h.", TEXT),
        "repeatable": Key(
            "Whether a command whose worker is lost is run again; false: it fails, for a person.",
            {"type": "boolean"},
        ),
        "errors": ERRORS,
        "policy": Key("Admission.", reference("StepPolicy")),
        "on_error": Key(
            "Old error handling.",
            TEXT,
            inert="it is ignored: add an arc with `when: \"{{ event.name == 'call.error' }}\"`",
        ),
    },
)
STEP_POLICY: Final = Level(
    doc="When a step may run.",
    keys={
        "admit": Key(
            "Rules in order; the first that holds decides.",
            {"type": "object", "properties": {"mode": TEXT, "rules": LIST}},
        ),
        **{name: Key(f"About {name}.", ANY, inert=_IGNORED)
           for name in ("emit", "failure", "lifecycle")},
    },
)  # fmt: skip
STEP_OUTPUT: Final = Level(
    doc="Which fields stay inline when a result is stored.",
    keys={"output_select": Key("Names or dotted paths.", LIST)},
)
LOOP: Final = Level(
    doc="Runs the step once per element.",
    keys={
        "in": Key("The elements, usually a template.", TEXT),
        "iterator": Key("Name of the element.", TEXT, is_required=True),
        "spec": Key("Mode and limits.", reference("LoopSpec")),
        "cursor": Key("The query of a cursor loop.", reference("Cursor")),
        "mode": Key(
            "Old place of the mode.",
            one_of("sequential", "parallel", "cursor"),
            inert="it is ignored, write it in 'loop.spec'",
        ),
    },
)
LOOP_SPEC: Final = Level(
    doc="How the iterations follow each other.",
    keys={
        "mode": Key("Order of the iterations.", one_of("sequential", "parallel", "cursor")),
        "max_in_flight": Key("Iterations of a parallel loop at once.", NUMBER_OR_TEMPLATE),
        "frame": Key("Rows of a cursor loop.", reference("Frame")),
        "policy": Key(
            "Where iterations run.",
            {"type": "object", "properties": {"exec": one_of("distributed", "local")}},
            inert="it is ignored: every iteration is a command of its own",
        ),
    },
)
FRAME: Final = Level(
    doc="How many rows a cursor loop takes at once.",
    keys={
        "max_rows": Key("Rows per claim.", NUMBER_OR_TEMPLATE),
        "row_concurrency": Key("Rows worked on at once.", NUMBER_OR_TEMPLATE),
        **{name: Key("Old bound of a frame.", schema, inert=_IGNORED)
           for name, schema in {
               "max_seconds": NUMBER_OR_TEMPLATE, "max_bytes": NUMBER_OR_TEMPLATE,
               "lease_seconds": NUMBER_OR_TEMPLATE, "heartbeat_seconds": NUMBER_OR_TEMPLATE,
               "max_attempts": NUMBER_OR_TEMPLATE, "process": one_of("row", "frame"),
               "retry_mode": TEXT, "verify_ipc": BOOLEAN}.items()},
    },
)  # fmt: skip
CURSOR: Final = Level(
    doc="The query of a cursor loop.",
    keys={
        "kind": Key("Tool kind that runs the claim.", TEXT),
        "auth": Key("Credential alias; never a template.", TEXT),
        "claim": Key("Query that claims the next rows.", TEXT),
        "options": Key("Old options.", ANY, inert=_IGNORED),
    },
)
ROUTER: Final = Level(
    doc="What follows a step.",
    keys={
        "spec": Key("Mode.", reference("NextSpec")),
        "arcs": Key("In order.", list_of(reference("Arc"))),
    },
)
ROUTER_SPEC: Final = Level(
    doc="How many arcs are taken.",
    keys={
        "mode": Key("The first that holds, or all that do.", one_of("exclusive", "inclusive")),
        "on_no_match": Key("When none holds; both end the branch.", one_of("complete", "quiet")),
        "policy": Key("Old policy.", ANY, inert=_IGNORED),
    },
)
ARC: Final = Level(
    doc="A way to the next step.",
    keys={
        "step": Key("The step it leads to.", STRING, is_required=True),
        "when": Key("Guard.", STRING),
        "set": Key("Variables written when it is taken.", OBJECT),
        "spec": Key("Old settings.", ANY, inert=_IGNORED),
        **{name: Key("Old guard.", ANY,
                     inert="it is ignored and the arc is unconditional, write 'when'")
           for name in ("cond", "condition", "if", "expr")},
        "args": Key("Old arguments.", ANY, inert="it is ignored, write 'set'"),
    },
)  # fmt: skip
TARGET: Final = Level(
    doc="A way to the next step, old notation.",
    keys={"step": ARC.keys["step"], "when": ARC.keys["when"],
          "args": Key("Values for the target's context.", OBJECT),
          "set": Key("Variables.", ANY, inert="it is ignored here, write it in 'next.arcs'")},
)  # fmt: skip
LEVELS: Final[Mapping[str, Level]] = {
    "Playbook": PLAYBOOK,
    "PlaybookSpec": PLAYBOOK_SPEC,
    "OnFailure": ON_FAILURE,
    "Metadata": METADATA,
    "Executor": EXECUTOR,
    "KeychainEntry": KEYCHAIN_ENTRY,
    "WorkbookTask": WORKBOOK_TASK,
    "Step": STEP,
    "StepSpec": STEP_SPEC,
    "StepPolicy": STEP_POLICY,
    "StepOutput": STEP_OUTPUT,
    "LoopConfig": LOOP,
    "LoopSpec": LOOP_SPEC,
    "Frame": FRAME,
    "Cursor": CURSOR,
    "NextRouter": ROUTER,
    "NextSpec": ROUTER_SPEC,
    "Arc": ARC,
    "Target": TARGET,
    "ToolSpec": TOOL,
    "CallSpec": CALL_SPEC,
    "CallPolicy": CALL_POLICY,
    "CallRule": CALL_RULE,
    "CallAction": CALL_ACTION,
    "ToolOutput": TOOL_OUTPUT,
}
