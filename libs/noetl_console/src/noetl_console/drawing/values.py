"""Values as readable texts, within the bounds of one page."""

from dataclasses import dataclass
from typing import Any, Final

import orjson
import yaml

LONGEST_VALUE = 20_000
"""Characters of one value beside others; the rest is on a page of its own."""
MOST_TOGETHER = 200_000
"""Characters of all values of a page, and of a single value on its own page."""


@dataclass(frozen=True, slots=True)
class Shown:
    """Text of a value as a page shows it; ``rest`` is how many characters are left out."""

    text: str
    rest: int


class Values:
    """The values of one page; each takes from the characters left for all.

    Args:
        longest: characters of one value.
    """

    def __init__(self, longest: int = LONGEST_VALUE) -> None:
        self._longest = longest
        self._left = MOST_TOGETHER

    def show(self, value: Any) -> Shown:
        """Return a value as text, cut where it is too long.

        What is not too long is YAML as authors write it, in which a script has lines.
        """
        most = min(self._longest, self._left)
        shown = _cut(value, most) if isinstance(value, str) else _structured(value, most)
        self._left -= len(shown.text)
        return shown


def _structured(value: Any, most: int) -> Shown:
    text = orjson.dumps(
        value, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS, default=str
    ).decode()
    if len(text) > min(most, LONGEST_VALUE) or not isinstance(value, dict | list):
        return _cut(text, most)
    # The one in C spells emoji as numbers.
    dumper = _Readable if max(text) > "\uffff" else _Quick
    dumped: str = yaml.dump(
        orjson.loads(text), Dumper=dumper, sort_keys=False, allow_unicode=True, width=100
    )
    return _cut(dumped.rstrip(), most)


def _cut(text: str, most: int) -> Shown:
    return Shown(text[:most], max(len(text) - most, 0))


class _Readable(yaml.SafeDumper):
    """YAML with texts of several lines as such."""


# The emitter in C, where there is one: without it a page of large values holds up the edge.
_Quick: Final[Any] = type("_Quick", (getattr(yaml, "CSafeDumper", yaml.SafeDumper),), {})


def _lines(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Readable.add_representer(str, _lines)
_Quick.add_representer(str, _lines)
