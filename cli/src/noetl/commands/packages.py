"""Commands of packages of their own, by the entry point group `noetl.commands`.

An entry point is a function, which becomes the command of its name, or a `typer.Typer`, which
becomes a group of commands.
"""

from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Final

import typer

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
        ValueError: two packages bring the same command, or one brings a command of the program.
    """
    taken = {str(command.name or _name_of(command.callback)) for command in app.registered_commands}
    taken |= {str(group.name) for group in app.registered_groups}
    for entry in entry_points(group=GROUP) if found is None else found:
        if entry.name in taken:
            raise ValueError(f"two commands are named '{entry.name}'")
        taken.add(entry.name)
        try:
            made = entry.load()
        except (ImportError, AttributeError) as error:
            package = entry.dist.name if entry.dist else entry.value
            refused = f"the command {entry.name} of {package} can't be loaded: {error}"
            _add_refusing(app, entry.name, f"Can't be loaded from {package}.", refused)
            continue
        if isinstance(made, typer.Typer):
            app.add_typer(made, name=entry.name)
        else:
            app.command(entry.name)(made)
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


def _add_refusing(app: typer.Typer, name: str, told: str, refused: str) -> None:
    @app.command(
        name,
        help=told,
        add_help_option=False,
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    )
    def refuse() -> None:
        raise StackError(refused)
