"""Typed reading of tool configurations, with the error texts of the original worker's decoder."""

import json

from noetl_contract.json import Json, JsonObject
from noetl_contract.tools import TOOLS

from noetl_worker.tools.tool import ToolError


class Fields:
    """A configuration of a tool kind; unknown keys are ignored."""

    def __init__(self, config: JsonObject, *, kind: str) -> None:
        self.config = config
        self._kind = kind

    def refuse(self, message: str) -> ToolError:
        """Return the error of a configuration that does not decode."""
        return ToolError("Configuration error", f"Invalid {self._kind} config: {message}")

    def check_required(self) -> None:
        """Refuse a configuration without a key that the contract's table requires."""
        for key in TOOLS[self._kind].keys:
            if key.is_required and not any(name in self.config for name in key.names):
                raise self.refuse(f"missing field `{key.name}`")

    def text(self, name: str) -> str:
        """Return a required string."""
        if name not in self.config:
            raise self.refuse(f"missing field `{name}`")
        return self._checked(self.config[name], str, "a string")

    def optional_text(self, name: str) -> str | None:
        """Return a string, or None if it is absent or null."""
        return self.text(name) if self.config.get(name) is not None else None

    def optional_unsigned(self, name: str) -> int | None:
        """Return an unsigned integer, or None if it is absent or null."""
        return self._integer(name, "u64", least=0, most=None)

    def optional_integer(self, name: str) -> int | None:
        """Return an integer of 64 bits, or None if it is absent or null."""
        return self._integer(name, "i64", least=-(2**63), most=2**63 - 1)

    def optional_number(self, name: str) -> float | None:
        """Return a number, or None if it is absent or null."""
        value = self.config.get(name)
        return None if value is None else float(self._checked(value, (int, float), "f64"))

    def required_value(self, name: str, *, by: str) -> Json:
        """Return any value that is not null."""
        value = self.config.get(name)
        if value is None:
            raise ToolError("Configuration error", f"{by} requires '{name}'")
        return value

    def flag(self, name: str, *, default: bool) -> bool:
        """Return a boolean."""
        return self._checked(self.config.get(name, default), bool, "a boolean")

    def mapping(self, name: str, *, alias: str | None = None) -> JsonObject:
        """Return a map, empty if absent."""
        if alias is not None and alias in self.config:
            if name in self.config:
                raise self.refuse(f"duplicate field `{name}`")
            name = alias
        return self._checked(self.config.get(name, {}), dict, "a map")

    def texts(self, name: str) -> dict[str, str]:
        """Return a map of strings, empty if absent."""
        found = self.mapping(name)
        for value in found.values():
            self._checked(value, str, "a string")
        return found

    def text_list(self, name: str) -> list[str]:
        """Return a list of strings, empty if absent."""
        found = self._checked(self.config.get(name, []), list, "a sequence")
        return [self._checked(value, str, "a string") for value in found]

    def choice(self, name: str, choices: tuple[str, ...], *, default: str) -> str:
        """Return the value of a field that has a closed set of words."""
        if name not in self.config:
            return default
        value = self.text(name)
        if value not in choices:
            listed = ", ".join(f"`{choice}`" for choice in choices)
            raise self.refuse(f"unknown variant `{value}`, expected one of {listed}")
        return value

    def _integer(self, name: str, expected: str, *, least: int, most: int | None) -> int | None:
        given = self.config.get(name)
        if given is None:
            return None
        value = self._checked(given, int, expected)
        if value < least or (most is not None and value > most):
            raise self.refuse(f"invalid value: integer `{value}`, expected {expected}")
        return value

    def _checked[T](self, value: Json, kind: type[T] | tuple[type[T], ...], expected: str) -> T:
        """Return a value of a type; a boolean is no number."""
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise self.refuse(f"invalid type: {_described(value)}, expected {expected}")
        return value


def _described(value: Json) -> str:
    if isinstance(value, str):
        return f'string "{value}"'
    if isinstance(value, dict | list):
        return "map" if isinstance(value, dict) else "sequence"
    if value is None:
        return "null"
    words = {bool: "boolean", int: "integer", float: "floating point"}
    return f"{words.get(type(value), 'value')} `{json.dumps(value, default=str)}`"
