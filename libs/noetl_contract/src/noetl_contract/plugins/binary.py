"""The imports and exports of a WebAssembly module, read from its bytes."""

from collections.abc import Collection, Iterator
from typing import Final

from noetl_contract.plugins.interface import EXPORTS, HOST_FUNCTIONS, NAMESPACE

MAGIC: Final = b"\0asm\1\0\0\0"
_KINDS: Final = ("function", "table", "memory", "global", "tag")
_IMPORT, _FUNCTION, _EXPORT = 2, 3, 7
_MOST: Final = 10_000
_MOST_FUNCTIONS: Final = 50_000
_SHOWN: Final = 100


class BadModule(ValueError):
    """The bytes are not a module that a worker can run; the message says why."""


def check_module(data: bytes, *, uses: Collection[str]) -> None:
    """Check that a module exports what the interface asks for, and imports what it declares.

    The code itself is checked where it is compiled.

    Raises:
        BadModule: it doesn't.
    """
    if not data.startswith(MAGIC):
        raise BadModule("it is no WebAssembly module of version 1")
    reader = _Reader(data, len(MAGIC))
    exported: dict[str, str] = {}
    while not reader.is_done:
        section, inner = reader.byte(), reader.part(reader.number())
        if section == _IMPORT:
            for module, name, kind in _imports(inner):
                _check_import(module, name, kind, uses)
        elif section == _FUNCTION:
            inner.count("functions", most=_MOST_FUNCTIONS)
        elif section == _EXPORT:
            exported |= dict(_exports(inner))
    for name, kind in EXPORTS.items():
        if exported.get(name) != kind:
            raise BadModule(f"it exports no {kind} '{name}'")


def _check_import(module: str, name: str, kind: str, uses: Collection[str]) -> None:
    shown = f"{module}.{name}"[:_SHOWN]
    if module != NAMESPACE or name not in HOST_FUNCTIONS or kind != "function":
        known = ", ".join(f"{NAMESPACE}.{one}" for one in HOST_FUNCTIONS)
        raise BadModule(f"it imports {kind} '{shown}', which no worker has; there are {known}")
    if HOST_FUNCTIONS[name] not in uses:
        raise BadModule(f"it imports '{shown}': 'uses' has to name '{HOST_FUNCTIONS[name]}'")


def _imports(reader: "_Reader") -> Iterator[tuple[str, str, str]]:
    for _ in range(reader.count()):
        module, name, kind = reader.text(), reader.text(), reader.kind()
        match kind:
            case "function":
                reader.number()
            case "table":
                reader.byte()
                reader.limits()
            case "memory":
                reader.limits()
            case "tag":
                reader.byte()
                reader.number()
            case _:
                reader.byte()
                reader.byte()
        yield module, name, kind


def _exports(reader: "_Reader") -> Iterator[tuple[str, str]]:
    for _ in range(reader.count()):
        name, kind = reader.text(), reader.kind()
        reader.number()
        yield name, kind


class _Reader:
    """Reads numbers and names; every read beyond the end is refused."""

    def __init__(self, data: bytes, at: int = 0) -> None:
        self._data = data
        self._at = at

    @property
    def is_done(self) -> bool:
        return self._at >= len(self._data)

    def byte(self) -> int:
        return self._take(1)[0]

    def number(self) -> int:
        """Read an unsigned number of 32 bits (LEB128)."""
        value = 0
        for shift in range(0, 35, 7):
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if not byte & 0x80:
                return value
        raise BadModule("a number in it is too long")

    def count(self, what: str = "imports or exports", *, most: int = _MOST) -> int:
        found = self.number()
        if found > most:
            raise BadModule(f"it has {found} {what}; the limit is {most}")
        return found

    def kind(self) -> str:
        found = self.byte()
        if found >= len(_KINDS):
            raise BadModule(f"it has imports or exports of the unknown kind {found}")
        return _KINDS[found]

    def limits(self) -> None:
        flags = self.byte()
        self.number()
        if flags & 1:
            self.number()

    def text(self) -> str:
        return self._take(self.number()).decode("utf-8", "replace")

    def part(self, size: int) -> "_Reader":
        return _Reader(self._take(size))

    def _take(self, size: int) -> bytes:
        end = self._at + size
        if end > len(self._data):
            raise BadModule("it ends in the middle")
        taken = self._data[self._at : end]
        self._at = end
        return taken
