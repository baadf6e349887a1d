"""The interface between a module and its worker, version 1: imports and exports."""

from typing import Final

INTERFACES: Final = ("noetl.plugin/1",)
"""The interfaces that this release knows."""
NAMESPACE: Final = "noetl"
"""The module name of all imports."""
HOST_FUNCTIONS: Final = {
    "log": "log",
    "http": "http",
    "kv_get": "kv",
    "kv_set": "kv",
}
"""Functions that a module may import, with the word of ``uses`` that declares each."""
USES: Final = ("log", "http", "kv")
SERVER_HOST: Final = "@server"
"""The entry of ``allowed_hosts`` that stands for the worker's own control plane."""
EXPORTS: Final = {"memory": "memory", "alloc": "function", "run": "function"}
"""Names that a module must export, with their kinds."""
