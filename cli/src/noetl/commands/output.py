"""Output of commands: JSON for programs, tables for people."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer
from noetl_contract.json import Json
from pydantic import BaseModel

if TYPE_CHECKING:
    from noetl_engine.playbook.lint import Finding


def print_json(value: BaseModel | Sequence[BaseModel] | Json) -> None:
    """Print a value, or models in it, as JSON."""
    typer.echo(json.dumps(_plain(value), indent=2, ensure_ascii=False))


def print_table(rows: Sequence[tuple[str, ...]]) -> None:
    """Print rows in columns, the first one as their heads."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = (text.ljust(width) for text, width in zip(row, widths, strict=True))
        typer.echo("  ".join(cells).rstrip())


def print_fields(found: BaseModel) -> None:
    """Print the fields of a model that have a value, one a line."""
    values = found.model_dump(mode="json")
    width = max(map(len, values))
    for name, value in values.items():
        if value is not None:
            typer.echo(f"{name:<{width}}  {value}")


def print_problems(place: str, problems: Sequence[str]) -> None:
    """Print the catalog's problems with a document that it has kept, beside the output."""
    for problem in problems:
        typer.echo(f"{place}: warning: {problem}", err=True)


def print_findings(place: str, findings: "Sequence[Finding]") -> None:
    """Print the linter's findings about a document, beside the output."""
    for finding in findings:
        where = f"{place}:{finding.line}:{finding.column}"
        typer.echo(f"{where}: {finding.severity}: {finding.told} [{finding.rule}]", err=True)


def _plain(value: Json) -> Json:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude_unset=True)
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    return value
