"""YAML text to nodes that know their place."""

from noetl_engine.playbook.yaml.composer import YamlLimits, compose
from noetl_engine.playbook.yaml.nodes import ListNode, MapNode, Node, Scalar, to_json

__all__ = ["ListNode", "MapNode", "Node", "Scalar", "YamlLimits", "compose", "to_json"]
