"""YAML text to nodes that know their place."""

from noetl_engine.playbook.yaml.composer import YamlLimits, compose
from noetl_engine.playbook.yaml.nodes import (
    ListNode,
    MapNode,
    Node,
    Scalar,
    is_absent,
    is_null,
    to_json,
)

__all__ = [
    "ListNode",
    "MapNode",
    "Node",
    "Scalar",
    "YamlLimits",
    "compose",
    "is_absent",
    "is_null",
    "to_json",
]
