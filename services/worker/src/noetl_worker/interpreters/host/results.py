"""The JSON of a result: one table of conversions; a value without JSON is refused by name.

The worker reads it too, for what tools of its own process give.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, MappingView, Sequence
from collections.abc import Set as AbstractSet
from json import dumps
from typing import Any

DEEPEST = 100
"""Levels of a value; readers of our messages don't follow much further."""
_MOST_BITS = 1023
_LEAST, _MOST = -(1 << 63), (1 << 64) - 1
"""Integers that readers of JSON don't round."""
_MANY_DIGITS = b"0" * 19
_DIGITS = bytes(48 if 48 <= one < 58 else 46 for one in range(256))
_LONGEST_PATH = 200
_LONGEST_SHOWN = 60
_FRAMES = frozenset({"numpy", "pandas"})
_LONG = "an integer of more than 300 digits"
_GIVE = "JSON has no such value, so give null (None) or a text in its place"


class NotJson(ValueError):
    """A value that has no JSON: its text begins with the value's path."""


class _Refused(Exception):
    """Why a value has no JSON; a caller that knows its path makes a `NotJson` of it."""


def encode(value: Any, *, most: int = 0) -> str:
    """Return JSON of a script's result.

    Args:
        value: what the script gave.
        most: bytes that it may have; of tables and the like with more values than fit in there
            no copy is made. 0: any number.

    Raises:
        NotJson: it, or something in it, has no JSON.
    """
    try:
        text = dumps(
            value,
            default=lambda one: _converted(one, most),
            allow_nan=False,
            ensure_ascii=False,
        )
    except Exception:  # noqa: BLE001  also what a value's own methods raise; named below
        text = None
    # Looked for in the text, which takes a tenth of the time that it took to write.
    if text is not None and _MANY_DIGITS not in text.encode(errors="replace").translate(_DIGITS):
        return text
    found = _plain(value, _Place(None, "result", is_exact=True), most, {})
    return dumps(found, allow_nan=False, ensure_ascii=False) if text is None else text


def plain(value: Any, path: str = "result", *, most: int = 0) -> Any:
    """Return a value as plain JSON: no other types, keys that are texts, finite numbers.

    Raises:
        NotJson: it, or something in it, has no JSON.
    """
    return _plain(value, _Place(None, path), most, {})


class _Place:
    """Place of a value: its key in the place above; only an error makes a text of it.

    In a place that is exact no integer is rounded by those who read it.
    """

    __slots__ = ("above", "depth", "is_exact", "key")

    def __init__(self, above: _Place | None, key: Any, *, is_exact: bool = False) -> None:
        self.above = above
        self.key = key
        self.is_exact: bool = is_exact if above is None else above.is_exact
        self.depth: int = 0 if above is None else above.depth + 1

    def refuse(self, why: str) -> NotJson:
        parts: list[str] = []
        place: _Place | None = self
        while place is not None:
            parts.append(_step(place.key) if place.above is not None else str(place.key))
            place = place.above
        path = "".join(reversed(parts))
        return NotJson(f"{_cut(path, _LONGEST_PATH)} {why}")


def _step(key: Any) -> str:
    if isinstance(key, str):
        return f".{key}" if key.isidentifier() else f"[{_cut(repr(key), _LONGEST_SHOWN)}]"
    return f"[{key}]"


def _plain(value: Any, place: _Place, most: int, inside: dict[int, Any]) -> Any:
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, (int, float)):
        return _number(value, place)
    if id(value) in inside:
        raise place.refuse("holds itself")
    if place.depth > DEEPEST:
        raise place.refuse(f"is nested more than {DEEPEST} levels deep")
    inside[id(value)] = value
    try:
        if isinstance(value, dict):
            return {
                _key(key, place, most): _plain(item, _Place(place, key), most, inside)
                for key, item in value.items()
            }
        if isinstance(value, (list, tuple)):
            return [
                _plain(item, _Place(place, index), most, inside) for index, item in enumerate(value)
            ]
        # Its place is its own: what it holds are its elements.
        return _plain(_replaced(value, place, most), place, most, inside)
    finally:
        del inside[id(value)]


def _number(value: float, place: _Place) -> float:
    if isinstance(value, int):
        if value.bit_length() > _MOST_BITS:
            raise place.refuse(f"is {_LONG}: give it as a text")
        if place.is_exact and not _LEAST <= value <= _MOST:
            text = "is an integer beyond 64 bits, of which readers of JSON keep 16 digits"
            raise place.refuse(f"{text}: give it as a text")
    elif value - value != 0:
        raise place.refuse(f"is {_float(value)}: {_GIVE}{_advice()}")
    return value


def _replaced(value: Any, place: _Place, most: int) -> Any:
    try:
        return _converted(value, most)
    except MemoryError:
        raise
    except _Refused as why:
        raise place.refuse(f"{why}") from None
    except Exception as error:  # a value's own method
        name = type(value).__name__
        raise place.refuse(f"has no JSON: the {name} can't be read ({error})") from error


def _key(key: Any, place: _Place, most: int) -> Any:
    if isinstance(key, float) and key - key != 0:
        raise place.refuse(f"has a key that is {_float(key)}: keys are texts")
    if isinstance(key, int) and key.bit_length() > _MOST_BITS:
        raise place.refuse(f"has a key that is {_LONG}: give it as a text")
    if key is None or isinstance(key, (str, int, float)):
        return key
    try:
        made = _converted(key, most)
    except Exception:  # noqa: BLE001  as above
        made = None
    if not isinstance(made, (str, int, float)):
        raise place.refuse(f"has the key {_cut(_shown(key), _LONGEST_SHOWN)}: keys are texts")
    return _key(made, place, most)


def _converted(value: Any, most: int) -> Any:  # noqa: C901, PLR0911  a table of types
    """Return the conversion of a value that is none of JSON's; its elements are not looked at.

    Raises:
        _Refused: nothing does.
    """
    kind = type(value)
    module = str(getattr(kind, "__module__", "")).partition(".")[0]
    if module in _FRAMES:
        found = _of_a_frame(value, kind.__name__, most)
        if found is not value:
            return found
    if isinstance(value, (bytes, bytearray, memoryview)):
        import base64  # noqa: PLC0415  few scripts give bytes

        return base64.b64encode(value).decode()
    if isinstance(value, (set, frozenset)):
        try:
            return sorted(value)
        except TypeError:
            return list(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (Sequence, AbstractSet, MappingView)):
        _check_size(len(value), most)
        elements: Any = value
        return list(elements)
    # Loaded where such a value comes from.
    enum, dataclasses = sys.modules.get("enum"), sys.modules.get("dataclasses")
    if enum is not None and isinstance(value, enum.Enum):
        return value.value
    if dataclasses is not None and hasattr(kind, "__dataclass_fields__"):
        return {one.name: getattr(value, one.name) for one in dataclasses.fields(value)}
    if hasattr(kind, "isoformat") and not hasattr(kind, "total_seconds"):
        return value.isoformat()
    if module == "decimal" and not value.is_finite():
        raise _Refused(f"is {value}: {_GIVE}")
    # A text that its class means for people, as that of a path, UUID or Decimal; not the parts of
    # a collection, and not `<object at 0x…>`.
    is_collection = hasattr(kind, "__len__") or hasattr(kind, "__iter__")
    own_text: Any = kind.__str__
    if own_text is not object.__str__ and not is_collection:
        return str(value)
    raise _Refused(
        f"is a {kind.__name__} ({_cut(_shown(value), _LONGEST_SHOWN)}), which has no JSON: "
        "give a mapping, a list, a text or a number of it"
    )


def _of_a_frame(value: Any, name: str, most: int) -> Any:
    """Return the conversion of a value of numpy or pandas, itself if it is like others.

    Nothing is imported: whoever made the value has.
    """
    if name in {"NaTType", "NAType"}:
        raise _Refused(f"is {value}, a value that is missing: {_GIVE}{_advice()}")
    if name in {"datetime64", "timedelta64"}:
        text = str(value)
        if text == "NaT":
            raise _Refused(f"is NaT, a time that is missing: {_GIVE}{_advice()}")
        return text
    if hasattr(value, "columns") and hasattr(value, "to_dict"):
        names = [str(one) for one in value.columns]
        if len(set(names)) < len(names):
            raise _Refused("is a table with two columns of one name: rename one")
        # As short as its records can be: `{"name":1},`
        _check_size(len(value), most, each=2 + sum(len(one) + 5 for one in names))
        return value.to_dict(orient="records")
    if name.startswith(("longdouble", "float128", "float96")):
        return float(value)
    if hasattr(value, "tolist"):
        _check_size(getattr(value, "size", 1), most)
        if getattr(getattr(value, "dtype", None), "kind", "") in {"m", "M"} and value.shape:
            # As a list they would be numbers of nanoseconds.
            return list(value)
        return value.tolist()
    return value


def _check_size(count: int, most: int, *, each: int = 2) -> None:
    if most and count * each > most:
        raise _Refused(
            f"has {count} rows or values, which are more than the {most} bytes that a result may "
            "have (NOETL_WORKER_PYTHON_RESULT_BYTES): give a part of it, or write it to a store"
        )


def _float(value: float) -> str:
    if value != value:  # noqa: PLR0124  what is not itself is not a number
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def _advice() -> str:
    if "pandas" not in sys.modules:
        return ""
    return "; of a table: df.astype(object).where(df.notna(), None)"


def _shown(value: Any) -> str:
    try:
        return " ".join(repr(value).split())
    except Exception:  # noqa: BLE001  a value's own method
        return "no text"


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}…"
