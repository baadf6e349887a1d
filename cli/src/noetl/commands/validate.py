"""Checking documents without running them, here or in an editor."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from noetl_common.settings import PlaybookSettings
from noetl_engine.kinds import LANGUAGES

from noetl.commands.modules import with_module
from noetl.commands.options import JsonOption
from noetl.stack.errors import StackError

if TYPE_CHECKING:
    from noetl_engine.playbook.lint import Finding

_KINDS = ", ".join(LANGUAGES)


def validate(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...",
            help=f"Documents ({_KINDS}); - reads one from standard input.",
        ),
    ],
    *,
    as_json: JsonOption = False,
) -> None:
    """Report everything that is wrong or without effect in documents; exit code 1 for errors."""
    from noetl_engine.documents import lint_document  # noqa: PLC0415 -- the engine loads slowly

    more_kinds = PlaybookSettings().more_kinds()
    found: dict[str, list[Finding]] = {}
    unread: list[StackError] = []
    for path in files:
        try:
            found[str(path)] = lint_document(text_of(path), more_kinds=more_kinds)
        except StackError as error:
            unread.append(error)
    if as_json:
        typer.echo(json.dumps([_report(name, findings) for name, findings in found.items()]))
    else:
        for name, findings in found.items():
            _print(name, findings)
    for trouble in unread:
        typer.echo(f"noetl-server: {trouble}", err=True)
    if unread or any(_is_refused(findings) for findings in found.values()):
        raise typer.Exit(1)


def schema(
    kind: Annotated[
        str, typer.Argument(metavar="[KIND]", help=f"Kind of document: {_KINDS}.")
    ] = "playbook",
) -> None:
    """Print the JSON Schema of playbooks, or of another kind of document."""
    from noetl_engine.documents import document_schema  # noqa: PLC0415 -- as above

    found = document_schema(kind, more_kinds=PlaybookSettings().more_kinds())
    if found is None:
        raise StackError(f"no schema of kind {kind!r}; there are: {_KINDS}")
    typer.echo(json.dumps(found, indent=2))


def text_of(path: Path) -> str:
    """Return the text of a file, of standard input for `-`; a plug-in's with its module.

    Raises:
        StackError: it can't be read.
    """
    try:
        data = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    except OSError as error:
        raise StackError(f"can't read {path}: {error.strerror or error}") from error
    try:
        return with_module(data.decode("utf-8-sig"), path)
    except UnicodeDecodeError as error:
        raise StackError(f"{path} is not UTF-8 text (byte {error.start})") from error


def _is_refused(findings: "list[Finding]") -> bool:
    return any(finding.severity == "error" for finding in findings)


def _report(name: str, findings: "list[Finding]") -> dict[str, object]:
    return {
        "file": name,
        "valid": not _is_refused(findings),
        "problems": [asdict(finding) for finding in findings],
    }


def _print(name: str, findings: "list[Finding]") -> None:
    for finding in findings:
        place = f"{name}:{finding.line}:{finding.column}"
        typer.echo(f"{place}: {finding.severity}: {finding.told} [{finding.rule}]")
    from noetl_engine.playbook.lint import Severity  # noqa: PLC0415 -- as above

    counts = {
        severity: sum(finding.severity is severity for finding in findings) for severity in Severity
    }
    words = [f"{n} {word}{'s' * (n > 1)}" for word, n in counts.items() if n]
    typer.echo(f"{name}: {', '.join(words) or 'ok'}")
