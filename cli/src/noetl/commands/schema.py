"""The JSON Schema of playbooks, for editors."""

import json

import typer
from noetl_engine.playbook.schema import json_schema


def schema() -> None:
    """Print the JSON Schema of playbooks."""
    typer.echo(json.dumps(json_schema(), indent=2))
