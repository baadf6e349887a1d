"""Commands of packages of their own, and the error where one isn't installed."""

from collections.abc import Callable
from typing import Any

import pytest
import typer
from noetl.commands.packages import PACKAGES, add_commands
from noetl.main import app as program
from noetl.stack.errors import StackError
from noetl_common.process.extensions import BadExtension
from typer.testing import CliRunner


class Found:
    """An entry point of a package that is there for the test."""

    def __init__(self, name: str, made: object) -> None:
        self.name = name
        self.made = made

    dist = None
    value = "some_package.commands:app"

    def load(self) -> object:
        if isinstance(self.made, Exception):
            raise self.made
        return self.made


def given(**made: object) -> Callable[[], typer.Typer]:
    def app_with_them() -> typer.Typer:
        app = typer.Typer()
        app.command("own-one")(own_one)
        found: Any = [Found(*one) for one in made.items()]
        add_commands(app, found)
        return app

    return app_with_them


def own_one() -> None:
    typer.echo("of the program")


def hello(name: str) -> None:
    typer.echo(f"hello {name}")


@pytest.mark.parametrize("command", PACKAGES)
@pytest.mark.parametrize("arguments", [[], ["write", "--from", "x", "-n", "5"], ["--help"]])
def test_a_command_without_its_package_says_what_to_install(
    command: str, arguments: list[str]
) -> None:
    done = CliRunner().invoke(given()(), [command, *arguments])

    assert isinstance(done.exception, StackError)
    assert str(done.exception) == (
        f"the command {command} is in the package {PACKAGES[command]}: "
        "install it beside noetl-server"
    )


def test_the_help_names_the_package() -> None:
    shown = CliRunner().invoke(given()(), ["--help"]).stdout

    assert "Needs the package noetl-migrate, which isn't" in shown


def test_functions_become_commands_and_apps_become_groups() -> None:
    group = typer.Typer()
    group.command("check")(hello)
    group.command("write")(hello)
    app = given(greet=hello, many=group)()

    assert CliRunner().invoke(app, ["greet", "you"]).stdout == "hello you\n"
    assert CliRunner().invoke(app, ["many", "check", "all"]).stdout == "hello all\n"
    assert CliRunner().invoke(app, ["own-one"]).stdout == "of the program\n"


@pytest.mark.parametrize("command", ["greet", "archive"])
@pytest.mark.parametrize("kind", [ImportError, AttributeError, SyntaxError])
def test_one_that_cannot_be_loaded_says_why_and_stops_no_other(
    command: str, kind: type[Exception]
) -> None:
    reason = "no 'databases_of' in 'noetl.commands.operate'"
    app = given(**{command: kind(reason), "hello": hello})

    done = CliRunner().invoke(app(), [command, "--from", "x"])

    assert isinstance(done.exception, StackError)
    assert str(done.exception) == (
        f"the command '{command}' of some_package.commands:app can't be used: "
        f"{kind.__name__}: {reason}"
    )
    assert CliRunner().invoke(app(), ["hello", "you"]).stdout == "hello you\n"
    assert "Can't be loaded from" in CliRunner().invoke(app(), ["--help"]).stdout


def test_a_command_that_is_there_already_is_refused() -> None:
    with pytest.raises(BadExtension, match=r"the command 'own-one' of .* another one has that"):
        given(**{"own-one": hello})()


def test_all_of_ours_are_installed_in_a_checkout() -> None:
    shown = CliRunner().invoke(program, ["--help"]).stdout

    assert "Needs the package" not in shown
    assert all(f" {command} " in shown for command in PACKAGES)
