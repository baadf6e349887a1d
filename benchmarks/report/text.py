"""Tables as text, for a terminal and for Markdown."""

from collections.abc import Iterable

from benchmarks.report.results import Table, Value


def shown(value: Value) -> str:
    """Return a cell with three significant digits, thousands apart."""
    if value is None:
        return "-"
    if isinstance(value, float):
        digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3
        return f"{value:,.{digits}f}"
    return f"{value:,}" if isinstance(value, int) else value


def plain(table: Table) -> str:
    """Return a table for a terminal."""
    cells = [table.columns, *([shown(one) for one in row] for row in table.rows)]
    widths = [max(len(row[place]) for row in cells) for place in range(len(table.columns))]
    numbers = _numbers(table)
    lines = [
        "  ".join(
            text.rjust(width) if number else text.ljust(width)
            for text, width, number in zip(row, widths, numbers, strict=True)
        ).rstrip()
        for row in cells
    ]
    return "\n".join([table.title, *lines, " ".join(table.notes)]).rstrip()


def markdown(table: Table) -> str:
    """Return a table and its notes as Markdown."""
    marks = ["--:" if number else "---" for number in _numbers(table)]
    rows = [table.columns, marks, *([shown(one) for one in row] for row in table.rows)]
    lines = [f"| {' | '.join(_escaped(row))} |" for row in rows]
    return "\n".join([*lines, "", " ".join(table.notes)]).rstrip()


def _numbers(table: Table) -> list[bool]:
    """Return the columns that hold figures, and stand to the right."""
    return [
        bool(table.rows) and not any(isinstance(row[place], str) for row in table.rows)
        for place in range(len(table.columns))
    ]


def _escaped(cells: Iterable[str]) -> list[str]:
    return [cell.replace("|", "\\|") for cell in cells]
