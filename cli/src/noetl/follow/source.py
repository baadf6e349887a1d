"""Line numbers of steps in the playbook's text, for error messages."""

import re

from noetl_engine.playbook.errors import DecodeError
from noetl_engine.playbook.lint.parts import steps_of
from noetl_engine.playbook.yaml import MapNode, compose


def step_lines(text: str) -> dict[str, int]:
    """Line number, counted from one, of each step's name; an unreadable text gives nothing."""
    try:
        root = compose(text, skip=lambda _: None)
    except DecodeError:
        return {}
    found: dict[str, int] = {}
    for step in steps_of(root) if isinstance(root, MapNode) else ():
        if step.is_named:
            found.setdefault(step.name, step.name_node.line)
    return found


def line_of(message: str, text: str) -> int | None:
    """Return the line that an error message is about: its own, or that of a step it names."""
    given = re.search(r"\bat line (\d+)\b", message)
    if given:
        return int(given[1])
    words = set(re.findall(r"[\w.-]+", message))
    return next((line for name, line in step_lines(text).items() if name in words), None)
