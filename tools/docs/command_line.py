"""The tables of commands and exit codes in the page about the command line, from the program."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from noetl.commands.packages import PACKAGES
from noetl.exits import Exit
from noetl.main import app
from typer.main import get_command

NAME = "docs/command-line.md"
_PARTS = ("commands", "exit codes")


def page(root: Path) -> str:
    """Return the page with its tables anew.

    Raises:
        ValueError: the lines around a table are missing.
    """
    text = (root / NAME).read_text()
    tables = {"commands": commands_table(), "exit codes": exits_table()}
    for part in _PARTS:
        begin, end = (
            f"<!-- {part}: generated from the program by tools/docs -->",
            f"<!-- end of {part} -->",
        )
        before, found, rest = text.partition(begin)
        _, ended, after = rest.partition(end)
        if not found or not ended:
            raise ValueError(f"{NAME} lacks the lines around its table of {part}")
        text = f"{before}{begin}\n{tables[part]}\n{end}{after}"
    return text


def commands_table() -> str:
    """Return a row for each command: how it is called, and the first sentence of its help."""
    lines = ["| command | does |", "|---|---|"]
    lines += [
        f"| `{called}` | {purpose}{_package_of(called)} |"
        for called, purpose in sorted(_commands(get_command(app), ""))
    ]
    return "\n".join(lines)


def _package_of(called: str) -> str:
    """Return the package to install for a command that isn't in every installation."""
    package = PACKAGES.get(called.split(maxsplit=1)[0])
    return f" Needs the package `{package}`." if package else ""


def exits_table() -> str:
    """Return a row for each exit code."""
    lines = ["| exit code | means |", "|---|---|"]
    lines += [f"| {code.value} | {code.meaning} |" for code in Exit]
    return "\n".join(lines)


def _commands(command: Any, words: str) -> Iterator[tuple[str, str]]:
    """Yield each command with its arguments and its purpose; groups give way to their commands."""
    children = getattr(command, "commands", {})
    if words and (not children or command.invoke_without_command):
        yield _called(command, words), _first_paragraph(command.help or "")
    for name, child in children.items():
        yield from _commands(child, f"{words} {name}".strip())


def _called(command: Any, words: str) -> str:
    """Return the words of a command with its arguments, as its usage names them."""
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    return " ".join([words, *map(_argument, arguments)]).replace("|", "\\|")


def _argument(argument: Any) -> str:
    name = argument.metavar or argument.name.upper()
    return name if argument.required or name.startswith("[") else f"[{name}]"


def _first_paragraph(text: str) -> str:
    """Return the first paragraph on one line."""
    return " ".join(text.partition("\n\n")[0].split()).replace("|", "\\|")
