"""Command-line options of several commands, and logging to stderr."""

import sys
from pathlib import Path
from typing import Annotated

import typer

DataOption = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="DIR",
        help="Data directory; $NOETL_DATA_DIR or .noetl when not given.",
        show_default=False,
    ),
]
ServerOption = Annotated[
    str | None,
    typer.Option("--server-url", metavar="URL", help="Use this server instead of a local stack."),
]
TokenOption = Annotated[
    str | None,
    typer.Option(
        metavar="KEY", help="API key; else $NOETL_SESSION_TOKEN, else that of a local stack."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def log_to_stderr() -> None:
    """Send the logs of libraries to stderr, away from the command's output."""
    # Loaded here: most commands log nothing.
    import structlog  # noqa: PLC0415

    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
