"""Places in the text of a playbook, and advice from its layout for YAML errors."""

import re
from typing import Final

from noetl_engine.playbook.yaml import Scalar

_TAB_INDENT: Final = re.compile(r" *\t\s*\S")
_BARE_TEMPLATE: Final = re.compile(r"(?:^|[:\-\[,]\s+)\{\{")
_COLON_IN_TEXT: Final = re.compile(r"^\s*(?:- )?[\w.\-]+:\s+[^'\"|>\[{#&*!].*:(?:\s|$)")
_SYNTAX: Final = re.compile(r"\{\{|\{%")


class Source:
    """The text by lines."""

    def __init__(self, text: str) -> None:
        self._lines = text.splitlines()

    def line(self, number: int) -> str:
        """Return a line by its one-based number, empty outside of the text."""
        return self._lines[number - 1] if 1 <= number <= len(self._lines) else ""

    def inside(self, scalar: Scalar, template_line: int) -> tuple[int, int]:
        """Line and column of the first template on a line of a scalar.

        Exact for blocks and for text on one line; folded text points to its beginning.
        """
        if scalar.style in {"|", ">"}:
            line = scalar.line + template_line
            text, start = self.line(line), 0
        else:
            line = scalar.line
            text, start = self.line(line), scalar.column - 1
        found = _SYNTAX.search(text, start)
        if found is not None:
            return line, found.start() + 1
        indent = len(text) - len(text.lstrip())
        return line, max(start, indent) + 1

    def advice(self, line: int) -> str | None:
        """Return the fix that the layout around a broken line suggests."""
        for number in (line, line - 1):
            text = self.line(number)
            where = "" if number == line else f" (line {number})"
            if _TAB_INDENT.match(text):
                return f"indent with spaces, not with a tab{where}"
            if _BARE_TEMPLATE.search(text):
                return f'put the template in quotes: "{{{{ … }}}}"{where}'
            if _COLON_IN_TEXT.match(text):
                return f"put text that contains ': ' in quotes{where}"
        return None
