"""Line numbers of steps in the playbook's text, for error messages."""

import re

import yaml


def step_lines(text: str) -> dict[str, int]:
    """Line number, counted from one, of each step's name; what can't be read gives nothing."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError:
        return {}
    workflow = _child(root, "workflow")
    found: dict[str, int] = {}
    for item in workflow.value if isinstance(workflow, yaml.SequenceNode) else []:
        name = _child(item, "step")
        if isinstance(name, yaml.ScalarNode):
            found.setdefault(str(name.value), name.start_mark.line + 1)
    return found


def line_of(message: str, text: str) -> int | None:
    """Return the line that an error message is about: its own, or that of a step it names."""
    given = re.search(r"\bat line (\d+)\b", message)
    if given:
        return int(given[1])
    words = set(re.findall(r"[\w.-]+", message))
    return next((line for name, line in step_lines(text).items() if name in words), None)


def _child(node: yaml.Node | None, key: str) -> yaml.Node | None:
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            if name.value == key:
                child: yaml.Node = value
                return child
    return None
