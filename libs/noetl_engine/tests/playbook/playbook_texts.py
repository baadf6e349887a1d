"""Playbook texts for the tests."""

from pathlib import Path

ABOVE = Path(__file__).resolve().parents
# Examples in folders may bring tools of their own.
EXAMPLES = [
    path
    for parent in ABOVE
    for path in sorted(parent.glob("examples/*.yaml"))
    if "\nkind: Playbook" in path.read_text()
]
SHARED = [path for parent in ABOVE for path in sorted(parent.glob("shared/playbooks/**/*.yaml"))]
GOOD = EXAMPLES + SHARED

HEADER = "apiVersion: noetl.io/v2\nkind: Playbook\nmetadata: {name: t, path: p/t}\n"
NOOP = "tool: {kind: noop}"


def workflow(*steps: str, head: str = HEADER, tail: str = "") -> str:
    """A playbook of flow-style steps; each is the inside of its braces."""
    items = "".join(f"  - {{{step}}}\n" for step in steps)
    return f"{head}{tail}workflow:\n{items}"


def start(*parts: str, tool: str = NOOP) -> str:
    """The inside of a start step."""
    return ", ".join(["step: start", tool, *parts])


def end() -> str:
    """The inside of a step named end."""
    return f"step: end, {NOOP}"
