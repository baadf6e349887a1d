"""Playbooks: text in, frozen model out."""

from noetl_engine.playbook.errors import PlaybookError
from noetl_engine.playbook.model import (
    START_STEP,
    AdmitRule,
    Arc,
    Cursor,
    Frame,
    KeychainEntry,
    Loop,
    LoopMode,
    Metadata,
    Pipeline,
    Playbook,
    Router,
    RouterForm,
    RouterMode,
    Step,
    Task,
    Tool,
    Value,
    ValueMap,
    WorkbookTask,
)
from noetl_engine.playbook.parse import parse_playbook
from noetl_engine.playbook.problem import Problem
from noetl_engine.playbook.yaml import YamlLimits

__all__ = [
    "START_STEP",
    "AdmitRule",
    "Arc",
    "Cursor",
    "Frame",
    "KeychainEntry",
    "Loop",
    "LoopMode",
    "Metadata",
    "Pipeline",
    "Playbook",
    "PlaybookError",
    "Problem",
    "Router",
    "RouterForm",
    "RouterMode",
    "Step",
    "Task",
    "Tool",
    "Value",
    "ValueMap",
    "WorkbookTask",
    "YamlLimits",
    "parse_playbook",
]
