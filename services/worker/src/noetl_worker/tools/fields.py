"""Typed reading of tool configurations, with the error texts of the original worker's decoder."""

import json

from noetl_contract.json import Json, JsonObject
from noetl_contract.tools import TOOLS

from noetl_worker.tools.tool import ToolError


class Fields:
    """A configuration of a tool kind; unknown keys are ignored."""

    def __init__(self, config: JsonObject, *, kind: str) -> None:
        self._config = config
        self._kind = kind

    def refuse(self, message: str) -> ToolError:
        """Return the error of a configuration that does not decode."""
        return ToolError("Configuration error", f"Invalid {self._kind} config: {message}")

    def check_required(self) -> None:
        """Refuse a configuration without a key that the contract's table requires."""
        for key in TOOLS[self._kind].keys:
            if key.is_required and not any(name in self._config for name in key.names):
                raise self.refuse(f"missing field `{key.name}`")

    def text(self, name: str) -> str:
        """Return a required string."""
        if name not in self._config:
            raise self.refuse(f"missing field `{name}`")
        value = self._config[name]
        if not isinstance(value, str):
            raise self.refuse(f"invalid type: {_described(value)}, expected a string")
        return value

    def optional_text(self, name: str) -> str | None:
        """Return a string, or None if it is absent or null."""
        return self.text(name) if self._config.get(name) is not None else None

    def optional_unsigned(self, name: str) -> int | None:
        """Return an unsigned integer, or None if it is absent or null."""
        value = self._config.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.refuse(f"invalid type: {_described(value)}, expected u64")
        if value < 0:
            raise self.refuse(f"invalid value: integer `{value}`, expected u64")
        return value

    def optional_integer(self, name: str) -> int | None:
        """Return an integer of 64 bits, or None if it is absent or null."""
        value = self._config.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.refuse(f"invalid type: {_described(value)}, expected i64")
        if not -(2**63) <= value < 2**63:
            raise self.refuse(f"invalid value: integer `{value}`, expected i64")
        return value

    def optional_number(self, name: str) -> float | None:
        """Return a number, or None if it is absent or null."""
        value = self._config.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.refuse(f"invalid type: {_described(value)}, expected f64")
        return float(value)

    def required_value(self, name: str, *, by: str) -> Json:
        """Return any value that is not null."""
        value = self._config.get(name)
        if value is None:
            raise ToolError("Configuration error", f"{by} requires '{name}'")
        return value

    def flag(self, name: str, *, default: bool) -> bool:
        """Return a boolean."""
        if name not in self._config:
            return default
        value = self._config[name]
        if not isinstance(value, bool):
            raise self.refuse(f"invalid type: {_described(value)}, expected a boolean")
        return value

    def mapping(self, name: str, *, alias: str | None = None) -> JsonObject:
        """Return a map, empty if absent."""
        if alias is not None and alias in self._config:
            if name in self._config:
                raise self.refuse(f"duplicate field `{name}`")
            name = alias
        if name not in self._config:
            return {}
        value = self._config[name]
        if not isinstance(value, dict):
            raise self.refuse(f"invalid type: {_described(value)}, expected a map")
        return value

    def texts(self, name: str) -> dict[str, str]:
        """Return a map of strings, empty if absent."""
        found = self.mapping(name)
        for value in found.values():
            if not isinstance(value, str):
                raise self.refuse(f"invalid type: {_described(value)}, expected a string")
        return found

    def text_list(self, name: str) -> list[str]:
        """Return a list of strings, empty if absent."""
        if name not in self._config:
            return []
        found = self._config[name]
        if not isinstance(found, list):
            raise self.refuse(f"invalid type: {_described(found)}, expected a sequence")
        for value in found:
            if not isinstance(value, str):
                raise self.refuse(f"invalid type: {_described(value)}, expected a string")
        return found

    def choice(self, name: str, choices: tuple[str, ...], *, default: str) -> str:
        """Return the value of a field that has a closed set of words."""
        if name not in self._config:
            return default
        value = self.text(name)
        if value not in choices:
            listed = ", ".join(f"`{choice}`" for choice in choices)
            raise self.refuse(f"unknown variant `{value}`, expected one of {listed}")
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
