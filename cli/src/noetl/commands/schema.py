"""The JSON Schema of playbooks, for editors."""

import json

import typer
from noetl_common.settings import PlaybookSettings
from noetl_engine.playbook.schema import json_schema


def schema() -> None:
    """Print the JSON Schema of playbooks."""
    typer.echo(json.dumps(json_schema(more_kinds=PlaybookSettings().more_kinds()), indent=2))
