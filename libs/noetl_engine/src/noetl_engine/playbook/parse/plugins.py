"""The plug-ins that the tools of a playbook name."""

from collections.abc import Iterable, Iterator

from noetl_contract.plugins.names import BadName, read_reference

from noetl_engine.playbook.model import Step, Tool

PLUGIN_KIND = "wasm"
"""The kind of tool that runs a plug-in."""


def named_plugins(steps: Iterable[Step]) -> tuple[str, ...]:
    """Return the names as they are written, each once; those that can't be read are left out."""
    return tuple(dict.fromkeys(name for step in steps for name in _names(step)))


def _names(step: Step) -> Iterator[str]:
    tool = step.tool
    for one in (tool,) if isinstance(tool, Tool) else (task.tool for task in tool.tasks):
        name = one.config.get("plugin")
        if one.kind != PLUGIN_KIND or not isinstance(name, str):
            continue
        try:
            read_reference(name)
        except BadName:
            continue
        yield name
