"""Deliberate differences from the reference server's rendering, with examples of each.

The README lists the same names with the reasons; a test holds both lists together, and another
sorts every difference it meets into one of the kinds that random templates can show.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass

REFUSED = "refused"


@dataclass(frozen=True)
class Example:
    """A template with both results, as JSON texts or ``refused``."""

    template: str
    theirs: str
    ours: str
    scope: tuple = ()
    dialects: tuple[str, ...] = ("server", "worker")


M = (("m", {"x": None, "y": 1.5}), ("a", True))

EXAMPLES: dict[str, list[Example]] = {
    "null-in-operator": [
        Example("{{ m if a else 1 }}", r'"{\"x\": undefined, \"y\": 1.5}"',
                '{"x": null, "y": "1.5"}', M, ("server",)),
        Example("{{ m if a else 1 }}", r'"{\"x\": none, \"y\": 1.5}"',
                '{"x": null, "y": 1.5}', M, ("worker",)),
        Example("{{ nope and 1 == 2 }}", '""', "null", M, ("worker",)),
    ],
    "null-beside-tojson": [
        Example("{{ [nope, 1 | tojson] }}", r'"[undefined, \"1\"]"', '[null, "1"]'),
    ],
    "folded-constants": [Example("{{ [] and 1 }}", "false", "[]")],
    "sign-before-look-up": [
        Example("{{ -a[0] }}", REFUSED, "-3", (("a", [3]),)),
        Example("{{ -a.b }}", REFUSED, "-3", (("a", {"b": 3}),)),
    ],
    "more-expressions": [
        Example("{{ +5 }}", REFUSED, "5"),
        Example("{{ 1, 2 }}", REFUSED, "[1, 2]"),
        Example("{{ 3 is odd + 1 }}", REFUSED, "2"),
    ],
    "chained-tests": [Example("{{ 3 is odd is true }}", "true", REFUSED)],
    "bare-point": [Example("{{ 5. }}", "5.0", REFUSED)],
    "unpacked-text": [
        Example("{% for k, v in ['ab'] %}{{ k }}{{ v }}{% endfor %}", REFUSED, '"ab"'),
    ],
    "lists-that-are-lazy-there": [
        Example("{{ range(2) is sequence }}", "false", "true"),
        Example("{{ [1][0:1] is sequence }}", "false", "true"),
        Example("{{ ([1] * 2) > {'a': 1} }}", "true", "false"),
        Example("{{ [{'a': 1}, range(2)] | sort }}", '[{"a": 1}, [0, 1]]', '[[0, 1], {"a": 1}]'),
    ],
    "no-blocks": [
        Example("{% block b %}x{% endblock %}", '"x"', REFUSED),
        Example("{% autoescape true %}x{% endautoescape %}", '"x"', REFUSED),
    ],
    "no-internals": [
        Example("{% macro f() %}{% endmacro %}{{ f }}", '"<macro f>"', REFUSED),
        Example("{{ namespace(a=1) }}", '{"a": 1}', REFUSED),
        Example("{% for i in [1] %}{{ loop }}{% endfor %}", '"<loop 0/1>"', REFUSED),
    ],
    "line-ends-in-tags": [Example("{{ 'a\r\nb' }}", r'"a\r\nb"', r'"a\nb"')],
    "numbers-written-otherwise": [
        Example("{{ a }}", "7", '"007"', (("a", "007"),), ("server",)),
        Example("{{ a }}", "1.5", '"1.50"', (("a", "1.50"),)),
        Example("{{ a }}", "325077236512452608", '"325077236512452608"',
                (("a", "325077236512452608"),)),
    ],
    "names-of-loops": [
        Example("{{ a.stats.failed }}", "null", "1",
                (("a", [{"status": "error", "context": {}, "data": None}]),), ("server",)),
    ],
    "exponents": [
        Example("x{{ a | tojson }}", '"x1e21"', '"x1e+21"', (("a", 1e21),), ("worker",)),
        Example("{{ '%s|' | format(a) }}", '"1e+21|"', '"1000000000000000000000.0|"',
                (("a", 1e21),)),
    ],
    "numbers-not-finite": [
        Example("{{ 1 / 0 }}", '"inf"', REFUSED),
        Example("{{ (1 / 0) }}", "null", REFUSED, (), ("worker",)),
    ],
    "numbers-beyond-64-bit": [
        Example("{{ [9223372036854775808] }}", "[9223372036854775808]",
                '["9223372036854775808"]', (), ("server",)),
        Example("{{ [18446744073709551616] }}", "[1.8446744073709552e+19]",
                "[18446744073709551616]", (), ("worker",)),
        Example("{{ [20000000000000000000000] | tojson }}", "[2e+22]", REFUSED, (), ("worker",)),
    ],
}  # fmt: skip

_OPERATORS = re.compile(r" (?:if|and|or|not|is|in) |[=!<>]=|[<>~*+%-]|//?")
_LAZY = re.compile(r"\*|range\(|\[[^\[\]]*:[^\[\]]*\]")
_ORDER = re.compile(r"[<>]|sort|max|min|is |unique|groupby")
_BARE = re.compile(r"(?<![\w\"])(?:undefined|none|-?inf|NaN)\b")


@dataclass(frozen=True)
class Difference:
    """One case in which we differ."""

    dialect: str
    template: str
    scope: dict
    theirs: str
    ours: str


def kind_of(difference: Difference) -> str | None:
    """The listed deviation a difference is, nothing when it is none."""
    return next((name for name, fits in _KINDS.items() if fits(difference)), None)


def _is_number_written_otherwise(difference: Difference) -> bool:
    """The reference server reads any number in a text, however it is written."""
    if REFUSED in {difference.theirs, difference.ours}:
        return False
    number, text = json.loads(difference.theirs), json.loads(difference.ours)
    if not isinstance(text, str) or isinstance(number, bool) or not isinstance(number, int | float):
        return False
    try:
        return float(text) == float(number)
    except ValueError:
        return False


def _is_value_instead_of_text(difference: Difference) -> bool:
    """The reference server left text, because its retry bound to the last operand only."""
    if REFUSED in {difference.theirs, difference.ours}:
        return False
    text, value = json.loads(difference.theirs), json.loads(difference.ours)
    if not isinstance(text, str):
        return False
    if text == "":
        return value is None
    try:
        read = json.loads(_BARE.sub("null", text))
    except ValueError:
        return False
    return _textual(read) == _textual(value)


def _textual(value: object) -> object:  # noqa: PLR0911 - one return per type
    """Numbers as texts, and numbers that JSON lacks as null: the server's retry does so."""
    match value:
        case bool() | None:
            return value
        case int() | float():
            return str(float(value))
        case "inf" | "-inf" | "NaN":
            return None
        case str():
            try:
                return str(float(value))
            except ValueError:
                return value
        case list():
            return [_textual(entry) for entry in value]
        case dict():
            return {key: _textual(entry) for key, entry in value.items()}
    return value


_NOT_FINITE = re.compile(r"\b(?:inf|NaN|null)\b")

_KINDS: dict[str, Callable[[Difference], bool]] = {
    "numbers-not-finite": lambda one: (
        one.ours == REFUSED and _NOT_FINITE.search(one.theirs) is not None
    ),
    "numbers-written-otherwise": _is_number_written_otherwise,
    "null-beside-tojson": lambda one: "tojson" in one.template and _is_value_instead_of_text(one),
    "null-in-operator": lambda one: (
        _OPERATORS.search(one.template) is not None and _is_value_instead_of_text(one)
    ),
    "exponents": lambda one: "tojson" in one.template and "1e+21" in repr(one.scope),
    "lists-that-are-lazy-there": lambda one: (
        _LAZY.search(one.template) is not None and _ORDER.search(one.template) is not None
    ),
}
