"""Commands of packages of their own, by the entry point group `noetl.commands`.

An entry point is a function, which becomes the command of its name, or a `typer.Typer`, which
becomes a group of commands.
"""

from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import EntryPoint
from typing import Final

import typer
from noetl_common.process.extensions import BadExtension, extensions

from noetl.stack.errors import StackError

GROUP: Final = "noetl.commands"
PACKAGES: Final[Mapping[str, str]] = {
    "archive": "noetl-maintenance",
    "import": "noetl-migrate",
    "reshard": "noetl-maintenance",
    "shadow": "noetl-migrate",
    "verify": "noetl-maintenance",
}
"""Commands of ours that a package has to be installed for."""


def add_commands(app: typer.Typer, found: Iterable[EntryPoint] | None = None) -> None:
    """Add the commands of all installed packages.

    One of ours whose package isn't installed says so, whatever its arguments are; one that can't be
    loaded says why, and stops no other one.

    Raises:
        BadExtension: two packages bring the same command, or one brings a command of the program.
    """
    taken = {str(command.name or _name_of(command.callback)) for command in app.registered_commands}
    taken |= {str(group.name) for group in app.registered_groups}
    for extension in extensions(GROUP, "command", taken=frozenset(taken), found=found):
        name = extension.name
        taken.add(name)
        try:
            made = extension.load()
        except BadExtension as error:
            _add_refusing(app, name, f"Can't be loaded from {extension.package}.", error.message)
            continue
        if isinstance(made, typer.Typer):
            app.add_typer(made, name=name)
        else:
            app.command(name)(made)
    for name, package in PACKAGES.items():
        if name not in taken:
            refused = (
                f"the command {name} is in the package {package}: install it beside noetl-server"
            )
            _add_refusing(
                app, name, f"Needs the package {package}, which isn't installed.", refused
            )


def _name_of(function: Callable[..., object] | None) -> str:
    return getattr(function, "__name__", "").replace("_", "-")


def _add_refusing(app: typer.Typer, name: str, help_text: str, refused: str) -> None:
    @app.command(
        name,
        help=help_text,
        add_help_option=False,
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    )
    def refuse() -> None:
        raise StackError(refused)
