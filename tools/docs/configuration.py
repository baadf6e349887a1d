"""The page of settings: every field of every settings class, by environment variable."""

import importlib
import pkgutil
import types
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAliasType, Union, get_args, get_origin

from hosts import hosted_by
from noetl_common.environment.pieces import is_in_files, variables_of
from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings
from tables import GENERATED, code, table

_UNITS = {
    "seconds": "seconds",
    "secs": "seconds",
    "ms": "milliseconds",
    "minutes": "minutes",
    "hours": "hours",
    "days": "days",
    "bytes": "bytes",
}
_WORDS: dict[Any, str] = {
    str: "text",
    int: "integer",
    float: "number",
    bool: "true or false",
    SecretStr: "secret",
    Path: "path",
}


_IN_FILES = (
    "A secret may be in a file instead, as Kubernetes and Docker mount them: the variable with "
    "`_FILE` at its end names it, `POSTGRES_PASSWORD_FILE=/run/secrets/postgres-password`. "
    "Line breaks at its end don't count. The variable and its file together are an error, and "
    "so is a file that can't be read. The command line takes its secrets the same way."
)


@dataclass(frozen=True)
class Setting:
    """One line of the page, without its services."""

    variables: tuple[str, ...]
    kind: str
    default: str
    unit: str
    description: str


def page(root: Path) -> str:
    """Return the page of all services of a checkout."""
    services = {path.parents[1].name: path.name for path in root.glob("services/*/src/noetl_*")}
    users: dict[Setting, list[str]] = defaultdict(list)
    for service, package in sorted(services.items()):
        # Those of packages of their own are read by the service that runs them.
        packages = [package, *(folder.name for folder in hosted_by(service, root))]
        kinds = [kind for one in packages for kind in settings_of(one)]
        for setting in {one for kind in kinds for one in fields_of(kind)}:
            users[setting].append(service)
    lines = [
        "# Configuration",
        "",
        GENERATED,
        "",
        "Settings come from the environment only.",
        "The first name of a line is the one to use, the others are read too.",
        "",
        _IN_FILES,
        "",
    ]
    shared = {one: names for one, names in users.items() if len(names) > 1}
    lines += ["## Several services", "", *_table(shared, with_services=True), ""]
    for service in sorted({name for names in users.values() for name in names}):
        own = {one: names for one, names in users.items() if names == [service]}
        if own:
            lines += [f"## {service}", "", *_table(own, with_services=False), ""]
    return "\n".join(lines).rstrip() + "\n"


def settings_of(package: str) -> Iterator[type[BaseSettings]]:
    """Return the settings classes that a service reads: leaves of its modules named so."""
    found: set[type[BaseSettings]] = set()
    path = importlib.import_module(package).__path__
    for module in pkgutil.walk_packages(path, f"{package}."):
        if not module.name.rpartition(".")[2].endswith("settings"):
            continue
        for value in vars(importlib.import_module(module.name)).values():
            if isinstance(value, type) and issubclass(value, BaseSettings):
                found.add(value)
    own = {kind for kind in found if kind.__module__.startswith(f"{package}.")}
    for kind in own:
        if not any(other is not kind and issubclass(other, kind) for other in own):
            yield kind


def fields_of(kind: type[BaseSettings]) -> Iterator[Setting]:
    """Return the fields of a settings class."""
    prefix = str(kind.model_config.get("env_prefix", ""))
    for name, field in kind.model_fields.items():
        yield Setting(
            variables_of(name, field, prefix),
            "secret" if is_in_files(name, kind.model_fields) else _kind(field.annotation),
            _default(field),
            _UNITS.get(name.rpartition("_")[2], ""),
            " ".join((field.description or "").split()),
        )


def _kind(annotation: Any) -> str:  # noqa: PLR0911 (one line per form)
    if isinstance(annotation, TypeAliasType):
        return _kind(annotation.__value__)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _kind(arguments[0])
    if origin is Literal:
        return " or ".join(code(str(word)) for word in arguments)
    if origin in {Union, types.UnionType}:
        return " or ".join(_kind(one) for one in arguments if one is not type(None))
    if annotation in _WORDS:
        return _WORDS[annotation]
    if origin in {list, tuple, set, frozenset}:
        return "list"
    return "object"


def _default(field: FieldInfo) -> str:
    if field.default_factory is not None:
        return "worked out at the start"
    value = field.default
    if value is PydanticUndefined:
        return "**required**"
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if value is None or value in ("", (), []):
        return ""
    if isinstance(value, bool):
        return code(str(value).lower())
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return code(str(value))


def _table(settings: dict[Setting, list[str]], *, with_services: bool) -> list[str]:
    head = ["variable", "type", "default", "unit", "meaning"]
    rows = []
    for one in sorted(settings, key=lambda setting: setting.variables):
        row = [", ".join(map(code, one.variables)), one.kind, one.default, one.unit]
        row.append(one.description)
        rows.append([*row, ", ".join(settings[one])] if with_services else row)
    return table([*head, "read by"] if with_services else head, rows)
