"""Check a document of any kind that has a language of its own."""

import re
from collections.abc import Collection
from typing import Final

from noetl_engine.playbook.lint import Finding, lint
from noetl_engine.schedule.read import read_schedule

_SCHEDULE: Final = re.compile(
    r"""^\s*["']?kind["']?\s*:\s*["']?schedule["']?\s*(?:#.*)?$""", re.IGNORECASE | re.MULTILINE
)


def is_schedule(text: str) -> bool:
    """Whether a text says that it is a schedule, by a line of its own at the left margin."""
    return any(not one.group().lstrip("\n").startswith(" ") for one in _SCHEDULE.finditer(text))


def lint_document(text: str, *, more_kinds: Collection[str] = ()) -> list[Finding]:
    """Return all findings of a schedule, or of what is taken for a playbook.

    ``more_kinds`` of tools are known in addition to the built-in ones.
    """
    if is_schedule(text):
        return read_schedule(text)[1]
    return lint(text, more_kinds=more_kinds)
