"""`completion`: the script that makes a shell complete the commands and their options."""

from enum import StrEnum
from typing import Annotated

import typer

# Parts of `--show-completion`, which would guess the shell instead of taking its name.
from typer.completion import (  # type: ignore[attr-defined]
    completion_init,
    get_completion_script,
)

_PROGRAM = "noetl-server"
_VARIABLE = "_NOETL_SERVER_COMPLETE"


class Shell(StrEnum):
    """Shells that can complete."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def completion(
    shell: Annotated[Shell, typer.Argument(help="The shell that reads it.")],
) -> None:
    """Print the completion for a shell, to be read at its start.

    bash and zsh: `eval "$(noetl-server completion bash)"`; fish: `noetl-server completion fish |
    source`.
    """
    typer.echo(get_completion_script(prog_name=_PROGRAM, complete_var=_VARIABLE, shell=shell.value))


def answer_shells() -> None:
    """Let the program answer the printed scripts' requests."""
    completion_init()
