"""The reference server's own template engine, set up as that server sets it up.

The PyPI binding differs from it in three ways that matter here: containers passed in print as
Python objects, so a scope is written as template literals; a few filters are the engine's
built-ins instead of the server's own; and Python methods of strings and maps work.
"""

import base64
import json
import math
import re
from collections.abc import Callable

import minijinja

NULL = "null_of_the_scope"


class OracleError(Exception):
    """The reference server refuses the template."""


class OracleGapError(Exception):
    """The binding can't show the reference server's result."""


class GapError(Exception):
    """Raised inside a Python filter; the binding wraps it."""

    def __init__(self) -> None:
        super().__init__(_GAP)


_GAP = "the binding prints this container as Python does"


class Oracle:
    """Renders with the rules of one dialect."""

    def __init__(self, dialect: str) -> None:
        self.dialect = dialect
        self.environment = minijinja.Environment()
        self.environment.undefined_behavior = "chainable"
        self.environment.auto_escape_callback = lambda _name: False
        filters = SERVER_FILTERS if dialect == "server" else WORKER_FILTERS
        for name, function in filters.items():
            self.environment.add_filter(name, function)

    def text(self, template: str, scope: dict) -> str:
        """The rendered text."""
        setting = "".join(
            f"{{% set {name} = {self.literal(value)} %}}" for name, value in scope.items()
        )
        try:
            return self.environment.render_str(setting + template)
        except Exception as error:
            if _GAP in f"{error} {error.__cause__}":
                raise OracleGapError(template) from error
            raise OracleError(str(error).split("\n", 1)[0]) from error

    def value(self, template: str, scope: dict) -> object:
        """The typed value, worked out step by step from texts, as the contract says."""
        return (
            self._server(template, scope)
            if self.dialect == "server"
            else self._worker(template, scope)
        )

    def _server(self, template: str, scope: dict) -> object:
        is_template = ("{{" in template and "}}" in template) or (
            "{%" in template and "%}" in template
        )
        text = self.text(template, scope) if is_template else template
        trimmed = text.strip()
        if (trimmed[:1], trimmed[-1:]) in {("{", "}"), ("[", "]")}:
            try:
                return strict_json(trimmed)
            except ValueError:
                pass
            inner = single_expression(template)
            if inner is not None:
                try:
                    return strict_json(self.text("{{ " + inner + " | tojson }}", scope))
                except (OracleError, ValueError):
                    pass
        return typed_scalar(text)

    def _worker(self, template: str, scope: dict) -> object:
        if "{{" not in template and "{%" not in template:
            return template
        text = self.text(template, scope)
        try:
            return strict_json(text)
        except ValueError:
            pass
        inner = single_expression(template)
        if inner is not None:
            try:
                return strict_json(self.text("{{ " + inner + " | tojson }}", scope))
            except (OracleError, ValueError):
                pass
        return text

    def literal(self, value: object) -> str:  # noqa: PLR0911 - one return per type
        """A JSON value as template source."""
        match value:
            case None:
                return NULL if self.dialect == "server" else "none"
            case bool():
                return "true" if value else "false"
            case float():
                return format_float(value)
            case int():
                return str(value) if value >= 0 else f"({value})"
            case str():
                return json.dumps(value, ensure_ascii=False)
            case list():
                return "[" + ", ".join(self.literal(entry) for entry in value) + "]"
            case dict():
                # The reference server's maps are sorted; the binding keeps the order of the source.
                entries = [f"{json.dumps(k)}: {self.literal(value[k])}" for k in sorted(value)]
                return "{" + ", ".join(entries) + "}"
        raise AssertionError(value)


def format_float(value: float) -> str:
    text = f"{value:.17g}" if "e" in repr(value) else repr(value)
    text = text if "." in text or "e" in text else text + ".0"
    return f"({text})" if value < 0 else text


def single_expression(template: str) -> str | None:
    trimmed = template.strip()
    single = trimmed.startswith("{{") and trimmed.endswith("}}") and trimmed.count("{{") == 1
    return trimmed[2:-2] if single and "tojson" not in trimmed else None


def strict_json(text: str) -> object:
    def refuse(word: str) -> object:
        raise ValueError(word)

    def integer(digits: str) -> int | float:
        value = int(digits)
        return value if -(2**63) <= value < 2**64 else float(value)

    return json.loads(text, parse_constant=refuse, parse_int=integer)


def typed_scalar(text: str) -> object:
    trimmed = text.strip()
    if trimmed in {"true", "false"}:
        return trimmed == "true"
    if re.fullmatch(r"[+-]?\d+", trimmed, re.ASCII) and -(2**63) <= int(trimmed) < 2**63:
        return int(trimmed)
    if re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", trimmed, re.ASCII):
        number = float(trimmed)
        if math.isfinite(number):
            return number
    return None if trimmed in {"", "null", "None"} else text


def rust_float(text: str) -> float:
    if not re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", text.strip(), re.ASCII):
        raise ValueError("invalid float literal")
    return float(text)


def number_of(value: object) -> float:
    match value:
        case bool() | int() | float():
            return float(value)
        case None:
            raise ValueError("cannot parse float from empty string")
        case str():
            return rust_float(value)
    raise ValueError("invalid float literal")


def saturated(number: float) -> int:
    """A float as a 64-bit integer, as Rust casts it."""
    if math.isnan(number):
        return 0
    if abs(number) < 2**63:
        return int(number)
    return 2**63 - 1 if number > 0 else -(2**63)


def or_zero(value: object) -> float:
    if isinstance(value, bool):
        return 0.0
    try:
        return number_of(value)
    except ValueError:
        return 0.0


def byte_length(value: object) -> int:
    if isinstance(value, str):
        return len(value.encode())
    if isinstance(value, dict | list | tuple):
        return len(value)
    raise ValueError("length requires string, sequence, or mapping")


def end_of(position: int):
    def end(value: object) -> object:
        if value is None or not len(value):
            raise ValueError("sequence is empty")
        elements = sorted(value) if isinstance(value, dict) else value
        return elements[position]

    return end


def end_or_gap(position: int):
    def end(value: object) -> object:
        if not isinstance(value, str | list) or not value:
            raise GapError  # undefined can't be returned
        return value[position]

    return end


def join_list(value: object, separator: str = "") -> str:
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
        raise GapError
    return separator.join(value)


def textual(value: object) -> object:
    match value:
        case bool():
            return value
        case float():
            return int(value) if value.is_integer() and abs(value) < 2**63 else rust_text(value)
        case list() | tuple():
            return [textual(entry) for entry in value]
        case dict():
            return {str(k): textual(entry) for k, entry in value.items()}
    return value


def rust_text(value: float) -> str:
    return minijinja.Environment().render_str("{{ v }}", v=value)


def compact(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def mapping_only(function: Callable[..., object]) -> Callable[..., object]:
    def run(value: object, *args: object) -> object:
        if not isinstance(value, dict):
            raise TypeError("requires mapping")
        return function(value, *args)

    return run


def json_or_none(text: str) -> object:
    try:
        return strict_json(text)
    except ValueError:
        return None


def without_null(value: object) -> object:
    """JSON that the binding turns into the reference server's values."""
    if value is None or isinstance(value, list | dict):
        raise GapError  # nulls would be none, and containers print as Python
    return value


def scalar_only(value: object) -> object:
    if isinstance(value, list | dict):
        raise GapError
    return value


def worker_default(value: object, other: object = "") -> object:
    chosen = other if value is None else value
    # Containers come back as Python objects, and 2.0 arrives as 2.
    if not isinstance(chosen, str):
        raise GapError
    return chosen


def on_text(function: Callable[..., object]) -> Callable[..., object]:
    def run(value: object, *args: object) -> object:
        if not isinstance(value, str):
            raise GapError
        return function(value, *args)

    return run


COMMON = {
    "b64encode": on_text(lambda value: base64.b64encode(value.encode()).decode()),
    "b64decode": on_text(lambda value: base64.b64decode(value, validate=True).decode()),
    "split": on_text(lambda value, separator=" ": value.split(separator)),
}
SERVER_FILTERS = COMMON | {
    "int": lambda value: value if type(value) is int else saturated(number_of(value)),
    "float": number_of,
    "length": byte_length,
    "first": end_of(0),
    "last": end_of(-1),
    "keys": mapping_only(sorted),
    "values": mapping_only(lambda value: [value[key] for key in sorted(value)]),
    "items": mapping_only(lambda value: [[key, value[key]] for key in sorted(value)]),
    "get": mapping_only(lambda value, key: value.get(key)),
    "tojson": lambda value: compact(textual(value)),
    "fromjson": on_text(lambda text: without_null(strict_json(text))),
}
WORKER_FILTERS = COMMON | {
    "d": worker_default,
    "default": worker_default,
    "int": lambda value: value if type(value) is int else saturated(or_zero(value)),
    "float": or_zero,
    "length": lambda value: byte_length(value) if isinstance(value, str | list | dict) else 0,
    "len": lambda value: byte_length(value) if isinstance(value, str | list | dict) else 0,
    "fromjson": on_text(lambda text: scalar_only(json_or_none(text))),
    "join": join_list,
    "first": end_or_gap(0),
    "last": end_or_gap(-1),
}
