"""Commands as they are read: whether the words mean something, without running them."""

import importlib
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import chdir
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import configuration
import typer
import yaml
from fenced import ROOT
from noetl.main import app
from noetl_common.environment.pieces import variables_of
from noetl_common.errors import NoetlError
from noetl_testkit.waiting import PATIENCE_SECONDS
from pydantic import ValidationError
from pydantic_settings import BaseSettings

_CALL = re.compile(
    r"""(?:^|[\s|(&;])(?:\S*/)?noetl-server\b((?:'[^']*'|"[^"]*"|[^|)&;#>\n'"])*)""", re.MULTILINE
)
_INSERTED = re.compile(r"\$\((?!noetl-server)[^()]*\)")
_TARGET = re.compile(r"(?:^|&& )make ([a-z-]+)(?:[ \t]+args=(\"[^\"]*\"|\S+))?", re.MULTILINE)
_OURS = re.compile(r"(?:^|[\s|])((?:benchmarks|tools)/\w+)([^|#\n]*)", re.MULTILINE)
_SETS = re.compile(r"(?:^|\s)([A-Z][A-Z0-9_]+)=('[^']*'|\"[^\"]*\"|[^\s#;]*)", re.MULTILINE)
_COMPOSE = re.compile(r"^docker compose ([^|#>\n&]*)", re.MULTILINE)
_VOLUMES = re.compile(r"^docker volume rm ([^#\n]*)", re.MULTILINE)
_FILE = re.compile(r"[\w-]+\.(?:yaml|json)")
_OPTION = re.compile(r"--[a-z][a-z-]*")
# Words of ``docker compose`` that we use, and how many names of services stand behind them.
_SERVICES = {"up": 99, "build": 99, "logs": 99, "down": 0, "run": 1, "exec": 1}


def strangers(text: str) -> Iterator[str]:
    """Yield the problems of the commands of a text.

    That is what the shell can't read, commands, options and values of ours that their parsers
    refuse, targets and scripts that aren't there or don't know an option, settings with values that
    no service would take, and services and volumes that ``compose.yaml`` hasn't got.
    """
    read = subprocess.run(
        ["bash", "-n"],
        input=text,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    if read.returncode:
        yield read.stderr.strip()
    whole = text.replace("\\\n", " ")
    for call in _CALL.findall(_INSERTED.sub("inserted", whole).replace("EXECUTION_ID", "1")):
        yield from _refused(_words(call.partition("<<")[0]))
    for name, given in _TARGET.findall(whole):
        yield from _target(name, _words(given.strip("\"'")))
    for program, given in _OURS.findall(whole):
        yield from _unknown_options(program, program, _words(given))
    for name, value in _SETS.findall(whole):
        yield from _setting(name, value.strip("\"'"))
    yield from _compose(whole)


def _words(text: str) -> list[str]:
    return shlex.split(text, comments=True)


def _refused(words: list[str]) -> Iterator[str]:
    """Yield why the command line doesn't take these words; files that they name are there."""
    said = shlex.join(["noetl-server", *words])
    command = typer.main.get_command(app)
    with TemporaryDirectory() as folder, chdir(folder):
        Path("examples").symlink_to(ROOT / "examples")
        for name in filter(_FILE.fullmatch, words):
            Path(name).touch()
        try:
            context = command.make_context("noetl-server", list(words))
            # Of a group's words those that its own options leave.
            while rest := hasattr(command, "resolve_command") and [
                *context._protected_args,
                *context.args,
            ]:
                name, command, rest = command.resolve_command(context, rest)
                context = command.make_context(name, rest, parent=context)
        except typer.Exit:  # has said its help
            return
        except Exception as error:
            if not hasattr(error, "format_message"):
                raise
            yield f"{said}: {error.format_message()}"


def _target(name: str, words: list[str]) -> Iterator[str]:
    recipe = re.search(rf"^{name}:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    if recipe is None:
        yield f"make {name}"
        return
    line = next((one for one in recipe[1].splitlines() if "$(args)" in one), None)
    if not words:
        return
    if line is None:
        yield f"make {name} takes no args"
        return
    yield from _unknown_options(f"make {name}", line.strip().split("$(args)")[0], words)


def _unknown_options(said: str, program: str, words: list[str]) -> Iterator[str]:
    """Yield the options that a program's help doesn't have."""
    if not (ROOT / program.partition(" ")[0]).exists():
        yield f"{program} is not there"
        return
    options = {one.partition("=")[0] for one in words if _OPTION.match(one)} - {"--help"}
    if options:
        known = set(_OPTION.findall(_help_of(program)))
        yield from (f"{said} {one}" for one in sorted(options - known))


@cache
def _help_of(program: str) -> str:
    done = subprocess.run(
        ["bash", "-c", f"{program} --help"],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=True,
    )
    return done.stdout


@cache
def _settings() -> dict[str, list[tuple[type[BaseSettings], str]]]:
    """Return the classes and fields that read a variable, by its name."""
    found: dict[str, list[tuple[type[BaseSettings], str]]] = {}
    for path in sorted(ROOT.glob("services/*/src/noetl_*")):
        importlib.import_module(path.name)
        for kind in configuration.settings_of(path.name):
            prefix = str(kind.model_config.get("env_prefix", ""))
            for field, about in kind.model_fields.items():
                for name in variables_of(field, about, prefix):
                    found.setdefault(name, []).append((kind, field))
    return found


def _setting(name: str, value: str) -> Iterator[str]:
    """Yield a service's problems with a value of one of its settings."""
    readers = _settings().get(name, [])
    if "$" in value or "…" in value or not readers:
        return
    problems = [_problem_of(kind, field, name, value) for kind, field in readers]
    if all(problems):
        yield f"{name}={value}: {problems[0]}"


def _problem_of(kind: type[BaseSettings], field: str, name: str, value: str) -> str:
    """Return a service's problem with one setting; nothing about missing settings."""
    with patch.dict(os.environ, {name: value}, clear=True):
        try:
            kind()
        except ValidationError as error:
            names = {field, name, name.lower()}
            found = (one["msg"] for one in error.errors() if names & {*map(str, one["loc"])})
            return next(found, "")
        except NoetlError as error:
            return error.message
    return ""


def _compose(text: str) -> Iterator[str]:
    """Yield services and volumes that the stack in containers hasn't got."""
    stack = yaml.safe_load((ROOT / "compose.yaml").read_text())
    for given in _COMPOSE.findall(text):
        word, *words = _words(given)
        if word not in _SERVICES:
            yield f"docker compose {word}"
            continue
        names = [one for one in words if not one.startswith("-")]
        for name in names[: _SERVICES[word]]:
            if name.partition("=")[0] not in stack["services"]:
                yield f"docker compose {word}: no service is called {name}"
    volumes = {f"{stack['name']}_{name}" for name in stack["volumes"]}
    for given in _VOLUMES.findall(text):
        yield from (f"no volume is called {one}" for one in set(_words(given)) - volumes)
