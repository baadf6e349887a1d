"""Kind `wasm`, with the keys of its configuration."""

from noetl_contract.tools.keys import ARGUMENTS, KeyType, ToolKey, ToolKind

WASM = ToolKind(
    name="wasm",
    description="Runs a plug-in, a WebAssembly module of the catalog.",
    keys=(
        ToolKey(
            "plugin",
            KeyType.TEXT,
            "Catalog path of the plug-in, `path@version` for one version; no template.",
            is_required=True,
        ),
        ARGUMENTS,
        ToolKey(
            "timeout_seconds",
            KeyType.UNSIGNED,
            "Longest run.",
            default_text="the tool's `timeout`, else the plug-in's; NOETL_WASM_SECONDS_MAX is the"
            " most",
        ),
        ToolKey(
            "fuel",
            KeyType.UNSIGNED,
            "Instructions, or so, at most.",
            default_text="the plug-in's; NOETL_WASM_FUEL_MAX is the most",
        ),
        ToolKey(
            "memory_bytes",
            KeyType.UNSIGNED,
            "Memory at most.",
            default_text="the plug-in's; NOETL_WASM_MEMORY_BYTES_MAX is the most",
        ),
    ),
    package="noetl-tool-wasm",
    is_in_images=True,
)
