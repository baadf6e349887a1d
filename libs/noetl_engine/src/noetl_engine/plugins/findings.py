"""Everything that is wrong or without effect in a plug-in's document, with its place."""

import re
from collections.abc import Iterator, Mapping
from typing import Final

from noetl_contract.json import Json
from noetl_contract.plugins.document import BadPlugin, read_plugin

from noetl_engine.playbook.lint import Finding
from noetl_engine.playbook.lint.guess import Guesser
from noetl_engine.playbook.lint.parts import below
from noetl_engine.playbook.lint.source import Source
from noetl_engine.playbook.yaml import MapNode
from noetl_engine.plugins.keys import PLUGIN, PLUGIN_LEVELS
from noetl_engine.triggers.findings import error_at, linted, nearest, unknown_keys

_QUOTED: Final = re.compile(r"'(spec(?:\.[a-z0-9_]+)*)'")
_LEVELS: Final = {
    (): "PluginSpec",
    ("module",): "PluginModule",
    ("limits",): "PluginLimits",
}


def lint_plugin(text: str) -> list[Finding]:
    """Return the findings of a document of kind Plugin; errors where it can't be registered."""
    return linted(text, _plugin)


def _plugin(root: MapNode, tree: Mapping[str, Json], _source: Source) -> Iterator[Finding]:
    guess = Guesser()
    yield from unknown_keys(root, PLUGIN.keys, "", guess)
    for place, level in _LEVELS.items():
        node = below(root, "spec", *place)
        if isinstance(node, MapNode):
            path = ".".join(("spec", *place))
            yield from unknown_keys(node, PLUGIN_LEVELS[level].keys, path, guess)
    try:
        read_plugin(tree)
    except BadPlugin as error:
        found = _QUOTED.search(str(error))
        place_of, path = nearest(root, found[1] if found else "spec")
        yield error_at(place_of, path, str(error))
