"""Tables in Markdown."""

from collections.abc import Iterable, Sequence

GENERATED = "<!-- Written by `make docs` from the code; don't edit. -->"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table."""
    lines = [_line(head), _line(["---"] * len(head))]
    return [*lines, *(_line(row) for row in rows)]


def code(text: str) -> str:
    """Return a text as code, an empty one as nothing."""
    return f"`{text}`" if text else ""


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"
