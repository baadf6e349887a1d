"""Values of plain scalars: YAML 1.2 core as the original server's parser reads it."""

import math
import re
from typing import Final

from noetl_engine.playbook.model import Value

_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})
_TRUE: Final = frozenset({"true", "True", "TRUE"})
_FALSE: Final = frozenset({"false", "False", "FALSE"})
_NOT_FINITE: Final = re.compile(r"[+-]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_INTEGER: Final = re.compile(
    r"(?P<sign>[+-]?)(?:0x(?P<hex>[0-9a-fA-F]+)|0o(?P<octal>[0-7]+)|0b(?P<binary>[01]+)"
    r"|(?P<decimal>0|[1-9][0-9]*))"
)
_LEADING_ZERO: Final = re.compile(r"[+-]?0[0-9]+")
_FLOAT: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_BASES: Final = (("hex", 16), ("octal", 8), ("binary", 2), ("decimal", 10))
_INT64_MIN: Final = -(2**63)
_UINT64_MAX: Final = 2**64 - 1
# Nothing longer can be a number a playbook may contain.
_MAX_NUMBER_CHARS: Final = 400


class ScalarError(ValueError):
    """A scalar that no value can stand for."""


def plain_value(text: str) -> Value:
    """Return the value of an unquoted scalar without a tag.

    Raises:
        ScalarError: An integer that doesn't fit 64 bits.
    """
    if text in _NULLS:
        return None
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    # Numbers start with a digit, a sign or a dot; everything else is text.
    if text[0] not in "+-.0123456789":
        return text
    return _number(text)


def _number(text: str) -> Value:
    if _NOT_FINITE.fullmatch(text):
        return None  # JSON has no infinity, and the original server turns it into null
    if len(text) > _MAX_NUMBER_CHARS or _LEADING_ZERO.fullmatch(text):
        return text
    integer = _INTEGER.fullmatch(text)
    if integer is not None:
        return _integer(integer)
    if _FLOAT.fullmatch(text):
        number = float(text)
        return number if math.isfinite(number) else text
    return text


def _integer(match: re.Match[str]) -> int:
    value = next(int(match[name], base) for name, base in _BASES if match[name] is not None)
    if match["sign"] == "-":
        value = -value
    if not _INT64_MIN <= value <= _UINT64_MAX:
        raise ScalarError(
            f"invalid type: integer `{value}` as {'i128' if value < 0 else 'u128'}, "
            "expected any YAML value"
        )
    return value


def tagged_value(tag: str, text: str) -> Value:
    """Return the value of a scalar with one of YAML's own tags.

    Raises:
        ScalarError: The text doesn't fit the tag, or the tag is not one of YAML's.
    """
    if tag == "tag:yaml.org,2002:str":
        return text
    wanted: dict[str, tuple[type, ...]] = {
        "tag:yaml.org,2002:int": (int,),
        "tag:yaml.org,2002:float": (float, int),
        "tag:yaml.org,2002:bool": (bool,),
        "tag:yaml.org,2002:null": (type(None),),
    }
    if tag not in wanted:
        raise ScalarError("invalid type: enum, expected any valid JSON value")
    value = plain_value(text)
    if type(value) not in wanted[tag]:
        raise ScalarError(f"invalid value: string {text!r}, expected a {tag.rpartition(':')[2]}")
    return value
