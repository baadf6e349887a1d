"""Values that are kept elsewhere, as templates see them before and after they are fetched."""

from typing import Any

import orjson
import pytest
from noetl_template import (
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


def scope_with(fetched: dict[str, Any]) -> dict[str, Any]:
    inner = Stored({"_ref": REF, "total": 3}, ref=REF, fetched=fetched)
    start = Stored(
        {"_ref": REF, "total": 3, "data": inner}, ref=REF, fetched=fetched, copies_itself=True
    )
    entry = {"status": "success", "context": {}, "data": inner}
    many = [dict(entry), dict(entry)]
    flat = {"start": start, "many": many}
    return {**flat, "ctx": flat}


@pytest.mark.parametrize(("template", "value"), AT_HAND)
@pytest.mark.parametrize("fetched", [{}, {REF: [1, 2]}], ids=["before", "after"])
def test_what_is_at_hand_is_seen_before_and_after(
    template: str, value: Any, fetched: dict[str, Any]
) -> None:
    assert render_server(template, scope_with(fetched)) == value


@pytest.mark.parametrize(("template", "value"), ASKING)
def test_whatever_asks_for_more_fails_until_it_is_fetched(template: str, value: Any) -> None:
    with pytest.raises(ValueNotAtHand) as caught:
        render_server({"a": template}, scope_with({}))
    assert caught.value.stored.ref == REF

    fetched = {REF: {"rows": [1, 2], "total": 3}}
    assert render_server({"a": template}, scope_with(fetched)) == {"a": value}
    assert render_config([template], scope_with(fetched)) == [value]
    assert render_expression(template, scope_with(fetched)) == value


def test_each_text_of_a_value_sees_what_it_asks_for() -> None:
    """A list has no `_ref`; the reference stays readable beside it."""
    config = {"rows": "{{ start }}", "ref": "{{ start._ref }}", "one": "{{ start[1] }}"}

    rendered = render_server(config, scope_with({REF: [5, 6]}))

    assert rendered == {"rows": [5, 6], "ref": REF, "one": 6}


def test_conditions_ask_too() -> None:
    fetched: dict[str, Any] = {}
    with pytest.raises(ValueNotAtHand):
        evaluate_condition("start.rows | length == 2", scope_with(fetched))
    with pytest.raises(ValueNotAtHand):
        evaluate_rule("{{ start.rows | length == 2 }}", scope_with(fetched))

    fetched[REF] = {"rows": [1, 2]}
    assert evaluate_condition("start.rows | length == 2", scope_with(fetched))
    assert evaluate_rule("{{ start.rows | length == 2 }}", scope_with(fetched))


def test_it_is_a_map_to_everything_else() -> None:
    scope = scope_with({})

    dumped = orjson.loads(orjson.dumps(scope))
    assert dumped["start"] == {"_ref": REF, "total": 3, "data": {"_ref": REF, "total": 3}}
    assert literal([scope["many"]]) == [scope["many"]]
    assert with_fetched(scope)["many"] is scope["many"]


def test_the_very_value_that_a_path_names() -> None:
    scope = scope_with({})

    assert named_value("{{ ctx.many }}", scope) is scope["many"]
    assert named_value("{{ many | list }}", scope) is None
    assert named_value("many", scope) is None
    with pytest.raises(TemplateError):
        named_value("{{ start.rows }}", scope)
