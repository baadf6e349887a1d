"""The mappings of a plug-in's document as data, for the linter and the schema."""

from typing import Final

from noetl_contract.plugins.interface import INTERFACES, USES

from noetl_engine.playbook.levels import (
    INTEGER,
    NUMBER,
    STRING,
    Key,
    Level,
    list_of,
    one_of,
    reference,
)
from noetl_engine.triggers.keys import DOCUMENT_METADATA, DOCUMENT_VERSION, METADATA

PLUGIN: Final = Level(
    doc="A WebAssembly module that steps run.",
    keys={
        "apiVersion": DOCUMENT_VERSION,
        "kind": Key("Kind of the document.", {"const": "Plugin"}, is_required=True),
        "metadata": DOCUMENT_METADATA,
        "spec": Key("The module, and what it may do.", reference("PluginSpec"), is_required=True),
    },
)
PLUGIN_LEVELS: Final = {
    "Metadata": METADATA,
    "PluginSpec": Level(
        doc="A module, what it uses, and its limits.",
        keys={
            "interface": Key(
                "What module and worker ask of each other.", one_of(*INTERFACES), is_required=True
            ),
            "module": Key("The module.", reference("PluginModule"), is_required=True),
            "uses": Key("Functions of the worker that it imports.", list_of(one_of(*USES))),
            "allowed_hosts": Key(
                "Hosts that `http` may call: `host`, `host:port`, `*.example.com`, or `@server` for"
                " the worker's own control plane.",
                list_of(STRING),
            ),
            "limits": Key("What one run may use.", reference("PluginLimits")),
        },
    ),
    "PluginModule": Level(
        doc="The module in one form.",
        keys={
            "wat": Key("Its text format.", STRING),
            "base64": Key("The binary, in base64.", STRING),
            "gzip": Key("The packed binary, in base64.", STRING),
            "file": Key("A file that the command line puts in, in place of a form.", STRING),
            "sha256": Key(
                "Digest of the binary, or of the text; another module is refused.", STRING
            ),
        },
    ),
    "PluginLimits": Level(
        doc="What one run may use; the worker's settings are the most.",
        keys={
            "fuel": Key("Instructions, or so.", INTEGER),
            "memory_bytes": Key("Memory, from 65536.", INTEGER),
            "seconds": Key("Wall-clock time.", NUMBER),
            "output_bytes": Key("Its result.", INTEGER),
        },
    ),
}
