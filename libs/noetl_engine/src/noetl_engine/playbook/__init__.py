"""Playbooks: text in, frozen model out."""

from noetl_engine.playbook.errors import PlaybookError
from noetl_engine.playbook.model import Pipeline, Playbook
from noetl_engine.playbook.parse import parse_playbook
from noetl_engine.playbook.problem import Problem
from noetl_engine.playbook.yaml import YamlLimits

__all__ = ["Pipeline", "Playbook", "PlaybookError", "Problem", "YamlLimits", "parse_playbook"]
