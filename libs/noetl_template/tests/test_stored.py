"""Values that are kept elsewhere, as templates see them before and after they are fetched."""

from collections.abc import Callable
from typing import Any

import orjson
import pytest
from noetl_contract.json import encode
from noetl_contract.tools.results import part_of
from noetl_template import (
    MISSING,
    UNKNOWN,
    Kind,
    Outline,
    Parts,
    Stored,
    TemplateError,
    ValueNotAtHand,
    evaluate_condition,
    evaluate_rule,
    literal,
    named_value,
    render_config,
    render_expression,
    render_server,
    with_fetched,
)

REF = "noetl://execution/1/result/start/2"
AT_HAND = [
    ("{{ start._ref }}", REF),
    ("{{ ctx.start._ref }}", REF),
    ("{{ start['_ref'] }}", REF),
    ("{{ start.data._ref }}", REF),
    ("{{ start._ref is defined }}", True),
    ("{{ start is defined }}", True),
    ("{{ start._preview is defined }}", False),
    ("{{ start.total }}", 3),
    ("{{ many | length }}", 2),
    ("{{ many | map(attribute='data._ref') | list }}", [REF, REF]),
    ("{{ many[0].status }}", "success"),
]
ASKING = [
    ("{{ start }}", {"rows": [1, 2], "total": 3, "data": {"rows": [1, 2], "total": 3}}),
    ("{{ ctx.start.rows }}", [1, 2]),
    ("{{ start.data }}", {"rows": [1, 2], "total": 3}),
    ("{{ start.data.rows[1] }}", 2),
    ("{{ start['rows'] | length }}", 2),
    ("{{ start.rows | default([]) }}", [1, 2]),
    ("{{ start.none | default('no') }}", "no"),
    ("{{ start.none is defined }}", False),
    ("{{ start | length }}", 3),
    ("{{ start | tojson | length > 9 }}", True),
    ("{{ start | items | length }}", 3),
    ("{{ 'rows' in start }}", True),
    ("{{ start == 3 }}", False),
    ("{{ not start }}", False),
    ("{{ start is mapping }}", True),
    ("{{ 'yes' if start else 'no' }}", "yes"),
    ("{% for key in start %}{{ key }}{% endfor %}", "datarowstotal"),
    ("text {{ start.rows }}", "text [1, 2]"),
    ("{{ [start.rows] }}", [[1, 2]]),
    ("{{ {'a': start} | length and start.total + start.rows[0] }}", 4),
    ("{{ many | map(attribute='data.rows') | list }}", [[1, 2], [1, 2]]),
    ("{{ many[1].data.rows }}", [1, 2]),
    ("{{ many.results[0].rows }}", [1, 2]),
    ("{% for one in many %}{{ one.data.rows[0] }}{% endfor %}", 11),
]


def scope_with(value: Any = UNKNOWN, *, parts: Parts | None = None) -> dict[str, Any]:
    parts = Parts() if parts is None else parts
    if value is not UNKNOWN:
        parts.put(REF, (), value)
    beside = {"_ref": REF, "total": 3}
    inner = Stored(beside, ref=REF, parts=parts, path=(None,))
    start = Stored({**beside, "data": inner}, ref=REF, parts=parts, copies_itself=True)
    entry = {"status": "success", "context": {}, "data": Stored(beside, ref=REF, parts=parts)}
    many = [dict(entry), dict(entry)]
    flat = {"start": start, "many": many}
    return {**flat, "ctx": flat}


@pytest.mark.parametrize(("template", "value"), AT_HAND)
@pytest.mark.parametrize("fetched", [UNKNOWN, [1, 2]], ids=["before", "after"])
def test_what_is_at_hand_is_seen_before_and_after(template: str, value: Any, fetched: Any) -> None:
    assert render_server(template, scope_with(fetched)) == value


@pytest.mark.parametrize(("template", "value"), ASKING)
def test_whatever_asks_for_more_fails_until_it_is_fetched(template: str, value: Any) -> None:
    with pytest.raises(ValueNotAtHand) as caught:
        render_server({"a": template}, scope_with())
    assert caught.value.stored.ref == REF

    fetched = {"rows": [1, 2], "total": 3}
    assert render_server({"a": template}, scope_with(fetched)) == {"a": value}
    assert render_config([template], scope_with(fetched)) == [value]
    assert render_expression(template, scope_with(fetched)) == value


def test_each_text_of_a_value_sees_what_it_asks_for() -> None:
    """A list has no `_ref`; the reference stays readable beside it."""
    config = {"rows": "{{ start }}", "ref": "{{ start._ref }}", "one": "{{ start[1] }}"}

    rendered = render_server(config, scope_with([5, 6]))

    assert rendered == {"rows": [5, 6], "ref": REF, "one": 6}


def test_conditions_ask_too() -> None:
    with pytest.raises(ValueNotAtHand):
        evaluate_condition("start.rows | length == 2", scope_with())
    with pytest.raises(ValueNotAtHand):
        evaluate_rule("{{ start.rows | length == 2 }}", scope_with())

    fetched = {"rows": [1, 2]}
    assert evaluate_condition("start.rows | length == 2", scope_with(fetched))
    assert evaluate_rule("{{ start.rows | length == 2 }}", scope_with(fetched))


def test_it_is_a_map_to_everything_else() -> None:
    scope = scope_with()

    dumped = orjson.loads(orjson.dumps(scope))
    assert dumped["start"] == {"_ref": REF, "total": 3, "data": {"_ref": REF, "total": 3}}
    assert literal([scope["many"]]) == [scope["many"]]
    assert with_fetched(scope)["many"] is scope["many"]


def test_the_very_value_that_a_path_names() -> None:
    scope = scope_with()

    assert named_value("{{ ctx.many }}", scope) is scope["many"]
    assert named_value("{{ many | list }}", scope) is None
    assert named_value("many", scope) is None
    with pytest.raises(TemplateError):
        named_value("{{ start.rows }}", scope)


LARGE: dict[str, Any] = {
    "before": 3,
    "rows": [{"id": number, "name": "x" * 40} for number in range(50)],
    "empty": {},
    "deep": {"list": [[1, 2], list(range(99))], "text": "é" * 200, "n": None, "data": {"n": 7}},
    "text": "abc" * 100,
    "behind": {"n": 1.5},
}
EXPRESSIONS = (
    """
before ; behind.n ; rows ; rows[3] ; rows[-1].id ; rows[50] ; rows[0:2] ; rows | length
rows | count ; rows.results ; rows.none ; rows['id'] ; none ; none.none ; none | default(0)
before | default(0) ; rows | default([]) | length ; deep.none | default('no') ; deep.text[3]
deep.n is none ; deep.n is defined ; deep.list[1] | sum ; deep.list | length ; deep.data.n
deep | length ; deep | items | length ; deep is mapping ; deep is sequence ; text is string
rows is sequence ; rows is iterable ; rows is none ; rows is undefined ; text | length
text | upper ; text ~ '!' ; text + '!' ; text * 2 ; rows + [1] ; rows | first ; rows | last
rows | map(attribute='id') | sum ; rows | selectattr('id', 'gt', 40) | list
'before' in value ; 'none' in value ; 'none' in deep ; {'id': 0} in rows ; 'abc' in text
rows == [1] ; rows != text ; rows < [1] ; not rows ; not empty ; 'y' if deep else 'n'
deep | tojson ; text | string ; [rows, 1] | length ; rows | reverse | first
deep.list[1][5] ; rows[before].id ; text.none ; text[-1] ; rows[1.0].id
rows | join(',') | length ; deep.data ; deep == deep ; value | length ; value.data.before
value.data.rows | length ; value.data.data ; rows | tojson | length ; deep.list[0] | tojson
rows | batch(20) | length
""".strip()
    .replace("\n", " ; ")
    .split(" ; ")
)


def answered(text: str, data: Any, *, most: int) -> tuple[Any, list[Any]]:
    """Render with parts as the result store gives them; return the value and what was asked."""
    document, parts, asked = encode({"status": "success", "data": data}), Parts(), []
    scope: dict[str, Any] = {}
    for name in ["value", *(data if isinstance(data, dict) else ())]:
        path = () if name == "value" else (name,)
        scope[name] = Stored({}, ref=REF, parts=parts, path=path, copies_itself=name == "value")
    while True:
        try:
            return render_server({"a": text}, scope)["a"], asked
        except ValueNotAtHand as error:
            wanted = (error.stored.path, error.is_whole)
            assert wanted not in asked
            asked.append(wanted)
            part = part_of(document, wanted[0], most=1 << 30 if error.is_whole else most)
            found = type(part).from_json(part.to_json())
            if found.outline is None:
                value = MISSING if found.is_missing else found.value
                parts.put(REF, wanted[0], value)
                continue
            kind = {"map": Kind.MAP, "list": Kind.SEQUENCE, "text": Kind.STRING}[found.outline.kind]
            keys = None if found.outline.keys is None else frozenset(found.outline.keys)
            outline = Outline(kind, found.outline.length, found.outline.entries, keys)
            parts.put(REF, wanted[0][: found.depth], outline)


def outcome(work: Callable[[], Any]) -> Any:
    """Return the value, or the problem of a template that fails."""
    try:
        return work()
    except TemplateError as error:
        return error.problem


@pytest.mark.parametrize("most", [0, 100, 1 << 20])
@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_parts_give_what_the_whole_gives(expression: str, most: int) -> None:
    text = "{{ " + expression + " }}"
    scope = {**LARGE, "value": {**LARGE, "data": LARGE}}

    expected = outcome(lambda: render_server({"a": text}, scope)["a"])

    assert outcome(lambda: answered(text, LARGE, most=most)[0]) == expected


@pytest.mark.parametrize(
    ("expression", "asked"),
    [
        ("value.before", [(("before",), True)]),
        ("value.absent", [(("absent",), True)]),
        ("value.data.behind.n", [((None, "behind", "n"), True)]),
        ("value.none | default(0)", [((), False)]),
        ("value.before + 1", [((), False)]),
        ("value.rows | length", [((), False), (("rows",), False)]),
        ("value.rows[7].id", [((), False), (("rows",), False), (("rows", 7), False)]),
        ("value.rows | map(attribute='id') | sum", [((), False), (("rows",), True)]),
    ],
)
def test_a_path_asks_for_what_it_names(expression: str, asked: list[Any]) -> None:
    assert answered("{{ " + expression + " }}", LARGE, most=30)[1] == asked
