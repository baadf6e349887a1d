"""Templates and scopes made from a seed, for comparisons with the oracle.

Left out is what the README lists as deviations, and what the binding can't show: lists made by
its Python filters print as Python, and so on.
"""

import json
import random
import re
from dataclasses import dataclass

VALUES = [
    None, True, False, 0, 1, -3, 42, 1.5, 1e21, 0.1, "", "x", "true", "007", "5", "1e3", "a b",
    "it's", 'q"uote\\', "[1,2]", '{"a": 1}', "{bad}", "null", "None", "é😀", "line\nbreak", [],
    [1, 2, 3], ["a", "b"], [{"id": 1, "name": "n"}, {"id": 2}], {}, {"a": 1},
    {"a": None, "b": 1.5}, {"status": "ok", "data": {"x": [1, {"y": None}]}}, [None, 1.5],
]  # fmt: skip
NAMES = ["a", "b", "c", "s", "n", "lst", "m", "rows", "nope", "t"]
PATHS = ["m.a", "m.b.c", "m['a']", "rows[0].id", "lst[0]", "lst[-1]", "s[:2]", "nope.x.y",
         "m.b.c[1]", "rows[1]", "n.z"]  # fmt: skip
LITERALS = ["1", "2", "0", "-1", "1.5", "'x'", "'b'", '""', "true", "false", "[1, 2]",
            "{'k': 1}", "'5'", "'1,2'"]  # fmt: skip
FILTERS = [
    "default", "default('z')", "default(0)", "int", "float", "string", "lower", "upper", "trim",
    "length", "join(',')", "join", "tojson", "abs", "round", "round(1)", "title", "capitalize",
    "sort", "sort(reverse=true)", "unique", "sum", "max", "min", "list", "count", "bool",
    "replace('a','b')", "dictsort", "map(attribute='id')", "map('string')", "selectattr('v')",
    "rejectattr('v')", "select", "reject", "groupby('g')", "batch(2)", "slice(2)", "indent(2)",
    "lines", "e", "pprint", "d('q')", "fromjson", "b64encode", "attr('a')", "select('number')",
    "selectattr('id','gt',1)", "sort(attribute='id')", "map(attribute='g')", "format(1)",
]  # fmt: skip
TESTS = [
    "defined", "undefined", "none", "string", "number", "mapping", "sequence", "iterable", "odd",
    "even", "divisibleby 2", "true", "false", "boolean", "integer", "float", "sameas 1",
    "in [1,2]", "eq 1", "lt 2", "startingwith 'a'", "lower",
]  # fmt: skip
ARITHMETIC = ["+", "-", "*", "/", "//", "%", "~", "**"]
COMPARISONS = ["==", "!=", "<", ">", "<=", ">=", "in", "not in"]


@dataclass(frozen=True)
class Case:
    """A template with a scope."""

    template: str
    scope: dict


def case_of(seed: int) -> Case:
    """The case of a seed."""
    choice = random.Random(seed)  # noqa: S311 - test data
    return Case(_template(choice), _scope(choice))


def scope_for(template: str, seed: int) -> dict:
    """A scope for a template from a playbook: a value for each path it may look up."""
    choice = random.Random(seed)  # noqa: S311 - test data
    scope: dict = {}
    for path in sorted(set(re.findall(r"(?<![\w.])[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*", template))):
        parts = path.split(".")
        if parts[0] in _NOT_NAMES or choice.random() < 0.15:
            continue
        node = scope
        for part in parts[:-1]:
            if not isinstance(node.get(part), dict):
                node[part] = {}
            node = node[part]
        node.setdefault(parts[-1], _copy(choice.choice(VALUES)))
    return scope


_NOT_NAMES = frozenset(
    {"if", "for", "in", "not", "and", "or", "is", "else", "endif", "endfor", "set", "true",
     "false", "none", "True", "False", "None", "loop", "elif", "range"}
)  # fmt: skip


def _copy(value: object) -> object:
    return json.loads(json.dumps(value))


def _scope(choice: random.Random) -> dict:
    scope = {
        name: _copy(choice.choice(VALUES))
        for name in NAMES
        if name != "nope" and choice.random() < 0.9
    }
    if choice.random() < 0.7:
        scope["lst"] = choice.choice(
            [[1, 2, 3], ["b", "A", "c"], [3, 1.5, 2], [None, 1], [], [[1, 2], [3]]]
        )
    if choice.random() < 0.7:
        scope["m"] = choice.choice(
            [{"a": 1, "b": {"c": [1, 2]}}, {"a": "x"}, {}, {"a": None, "z": 2.5}]
        )
    if choice.random() < 0.7:
        scope["rows"] = [
            {"id": 2, "g": "x", "v": 1.5}, {"id": 1, "g": "y", "v": None}, {"id": 3, "g": "X"}
        ]  # fmt: skip
    return scope


def _template(choice: random.Random) -> str:
    match choice.choices(range(5), [60, 15, 10, 10, 5])[0]:
        case 0:
            return "{{ (" + _expression(choice, 3) + ") }}"
        case 1:
            return f"x {{{{ {_expression(choice, 2)} }}}} y{{{{ {_expression(choice, 1)} }}}}"
        case 2:
            return (
                f"{{% if {_expression(choice, 2)} %}}A{{{{ {_expression(choice, 1)} }}}}"
                "{% else %}B{% endif %}"
            )
        case 3:
            return (
                f"{{% for i in {_expression(choice, 1)} %}}{{{{ i }}}}{{{{ loop.index }}}},"
                "{% else %}E{% endfor %}"
            )
    return f"{{% set q = {_expression(choice, 2)} %}}{{{{ q }}}}|{{{{ q is defined }}}}"


def _expression(choice: random.Random, depth: int) -> str:  # noqa: C901, PLR0911 - a grammar
    if depth <= 0 or choice.random() < 0.15:
        return choice.choice(choice.choices([NAMES, PATHS, LITERALS], [45, 15, 40])[0])

    def part() -> str:
        return _expression(choice, depth - 1)

    match choice.choices(range(9), [30, 15, 15, 10, 5, 7, 6, 7, 5])[0]:
        case 0:
            subject = part() if choice.random() < 0.6 else f"({part()})"
            return f"{subject} | {choice.choice(FILTERS)}"
        case 1:
            return f"{part()} {choice.choice(ARITHMETIC)} {part()}"
        case 2:
            return f"{part()} {choice.choice(COMPARISONS)} {part()}"
        case 3:
            # Constants on the left side are folded to a boolean by the reference server.
            return f"({choice.choice(NAMES)} {choice.choice(['and', 'or'])} {part()})"
        case 4:
            return f"(not ({part()}))"
        case 5:
            return f"(({part()}) is {choice.choice(['', 'not '])}{choice.choice(TESTS)})"
        case 6:
            return f"({part()} if {part()} else {part()})"
        case 7:
            return f"[{part()}, {part()}]" if choice.random() < 0.6 else f"{{'k': {part()}}}"
    return f"(-({part()}))"
