import copy
import threading
import time
from collections.abc import Callable
from typing import Any, Never

import pytest
from noetl_template import (
    Limits,
    Renderer,
    TemplateError,
    evaluate_condition,
    evaluate_rule,
    render_expression,
    render_server,
    render_worker,
)

ENTRIES = [
    {"status": "success", "context": {"command_id": "c", "status": "success"}, "data": {"n": 1}},
    {"status": "error", "context": {"command_id": "d", "status": "error"}, "data": None},
]


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("{{ lp.results }}", [{"n": 1}, None]),
        ("{{ lp.results[0].n }}", 1),
        ("{{ lp['stats'] }}", {"total": 2, "success": 1, "failed": 1}),
        ("{{ lp.stats.failed }}", 1),
        ("{{ lp[0].data.n }}", 1),
        ("{{ lp | length }}", 2),
        ("{{ none_ran.stats.total }}", 0),
        ("{{ none_ran.results | length }}", 0),
        ("{{ rows.results is defined }}", False),
        ("{{ text.results is defined }}", False),
    ],
)
def test_a_loop_s_array_has_results_and_stats(template: str, value: object):
    scope = {"lp": ENTRIES, "none_ran": [], "rows": [{"n": 1}], "text": "x"}

    assert render_server(template, scope) == value
    assert render_worker(template, scope) == value


def adding(number: int) -> str:
    return f"{{{{ x + {number} }}}}"


ROW = {"a": None, "price": 1.5, "count": 2.0}


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("007", "007"),
        ("+5", "+5"),
        ("-5", -5),
        (" 5 ", 5),
        ("1.50", "1.50"),
        ("1.5", 1.5),
        ("1e5", "1e5"),
        (".5", ".5"),
        ("1_000", "1_000"),
        ("0x1F", "0x1F"),
        ("inf", "inf"),
        ("1e999", "1e999"),
        ("9007199254740992", 2**53),
        ("9007199254740993", "9007199254740993"),
        ("0.1000000000000000055", "0.1000000000000000055"),
        ("true", True),
        (" false ", False),
        ("True", "True"),
        ("", None),
        ("   ", None),
        ("null", None),
        ("None", None),
        ("none", "none"),
        ("[1,2]", [1, 2]),
        (' {"a":1} ', {"a": 1}),
        ("{a: 1}", "{a: 1}"),
        (" text ", " text "),
        ("{# note #}", "{# note #}"),
        ("{{ open", "{{ open"),
        ("}} {{", None),
    ],
)
def test_plain_strings_are_typed_by_the_server(source: str, value: object):
    if source == "}} {{":
        with pytest.raises(TemplateError):
            render_server(source, {})
        return
    result = render_server(source, {})

    assert value == result
    assert type(value) is type(result)


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("{{ execution_id }}", "325077236512452608"),
        ("{{ s }}", {"a": 1}),
        ("{{ none }}", "none"),
        ("{{ missing }}", None),
        ("{{ nothing }}", None),
        (" {{ a }} ", 1),
        ("{{ a }}{{ b }}", 12),
        (" {{ word }} ", " x "),
        ("{{ row }}", {"a": None, "price": "1.5", "count": 2}),
        ("{{ clean }}", {"price": 1.5}),
        ("pre {{ row }}", 'pre {"a": undefined, "count": 2.0, "price": 1.5}'),
        ("{{ row.a is none }}", False),
        ("{{ row.a is defined }}", False),
        ("{{ row.price }}", 1.5),
        ("{{ big }}", 1.2345678901234567e19),
        ("{{ row.a | default('d') }}", "d"),
        ("{{ '' | default('d') }}", None),
        ("{{ text | length }}", 2),
        ("{{ row | keys }}", ["a", "count", "price"]),
        ("{{ row | values }}", [None, 2, "1.5"]),
        ("{{ clean | items }}", [["price", 1.5]]),
        ("{{ row | get('price') }}", 1.5),
        ("{{ 'a,b,c' | split(',') }}", ["a", "b", "c"]),
        ("{{ 'a b' | b64encode | b64decode }}", "a b"),
        ("{{ '[1, {\"x\": 2}]' | fromjson }}", [1, {"x": 2}]),
        ("{{ clean | tojson }}", {"price": "1.5"}),
        ("{{ row.result }}", None),
        ("{{ '5.7' | int }}", 5),
        ("{{ true | int }}", 1),
        ("{{ self }}", None),
        ("{{ 'ab' | first ~ ('ab' | last) }}", "ab"),
        ("{{ 'ab' | split('') }}", ["", "a", "b", ""]),
        ("{{ [1e3, 1.5, 12345678901234567890] | tojson }}", [1000, "1.5", "12345678901234567890"]),
    ],
)
def test_server_templates(template: str, value: object):
    scope = {
        "execution_id": "325077236512452608", "s": '{"a":1}', "a": 1, "b": 2, "word": "x",
        "row": ROW, "clean": {"price": 1.5}, "nothing": None, "big": 12345678901234567890,
        "text": "é",
    }  # fmt: skip
    result = render_server(template, scope)

    assert value == result
    assert type(value) is type(result)


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("007", "007"),
        ("", ""),
        ("true", "true"),
        ("{{ code }}", "007"),
        ("{{ '1.50' }}", "1.50"),
        ("{{ '1.5' }}", 1.5),
        ("{{ '12' }}", 12),
        ("{{ '325077236512452608' }}", "325077236512452608"),
        ("{{ 325077236512452608 }}", 325077236512452608),
        ("{{ price }}", 1.5),
        ("{{ flag }}", True),
        ("{{ empty }}", ""),
        ("{{ missing }}", None),
        ("{{ nothing }}", None),
        ("x{{ nothing }}", "xnone"),
        ("{{ nothing is none }}", True),
        ("{{ row }}", ROW),
        ("{{ row | tojson }}", ROW),
        ("{{ step.result.x }}", 1),
        ("{{ step['result'].x }}", 1),
        ("{{ step.inner.result.y }}", 2),
        ("{{ own.result }}", 5),
        ("{{ step.result.x + step['result']['x'] }}", 2),
        ("{{ (step | default({})).result.x + 0 }}", 1),
        ("{{ own.result + 0 }}", 5),
        ("{{ [1] | chain([2], 'a') }}", [1, 2, "a"]),
        ("{{ step | chain({'x': 2}) }}", {"x": 2, "inner": {"y": 2}}),
        ("{{ [1, 2] | zip('ab') }}", [[1, "a"], [2, "b"]]),
        ("{{ 'é' | len }}", 2),
        ("{{ 'ab' | first ~ ('ab' | last) }}", "ab"),
        ("{{ rows[0].result | default('list') }}", "list"),
        ("{% for r in rows %}{{ r.result | default('list') }}{% endfor %}", "list"),
        ("{{ 'junk' | int }}", 0),
        ("{{ missing | int }}", 0),
        ("{{ true | int }}", 0),
        ("{{ 'junk' | float }}", 0.0),
        ("{{ 5 | length }}", 0),
        ("{{ [] | first }}", None),
        ("{{ 5 | join }}", 5),
        ("{{ 'junk' | fromjson }}", None),
        ("{{ missing | d('x') }}", "x"),
        ("{{ nothing | default('x') }}", "x"),
        ("{{ big }}", 18446744073709551615),
        ('{"a": {{ price }}}', {"a": 1.5}),
        ("{{ unfinished", None),
    ],
)
def test_worker_templates(template: str, value: object):
    scope = {
        "code": "007", "price": 1.5, "flag": True, "empty": "", "nothing": None, "row": ROW,
        "step": {"x": 1, "inner": {"y": 2}}, "own": {"result": 5}, "rows": [{"x": 1}],
        "big": 18446744073709551615,
    }  # fmt: skip
    if template == "{{ unfinished":
        with pytest.raises(TemplateError):
            render_worker(template, scope)
        return
    result = render_worker(template, scope)

    assert value == result
    assert type(value) is type(result)


@pytest.mark.parametrize(
    ("guard", "holds"),
    [
        ("x > 3", True),
        ("x < 3", False),
        ("missing < 2", True),
        ("missing > 2", False),
        ("{{ x }}", True),
        ("{{ zero }}", False),
        ("{{ zero_point }}", True),
        ("false {{ word }}", True),
        ("false {{ missing }}", False),
        ("{{ a and b }}", True),
        ("{{ ' No ' }}", False),
        ("{{ 'OFF' }}", False),
        ("{{ {} }}", False),
        ("{{ [] }}", False),
        ("{{ none }}", False),
        ("{{ missing.deeper }}", False),
        ("true", True),
        ("event.name == 'loop.done'", True),
    ],
)
def test_guards(guard: str, *, holds: bool):
    scope = {
        "x": 5, "zero": 0, "zero_point": 0.0, "word": "w", "a": "req-1", "b": "req-123",
        "event": {"name": "loop.done"},
    }  # fmt: skip

    assert evaluate_condition(guard, scope) is holds


@pytest.mark.parametrize(
    ("when", "holds"),
    [
        (True, True),
        (False, False),
        (None, False),
        ("{{ output.status == 'error' }}", True),
        ("{{ output.missing }}", False),
        ("plain text", True),
        ("no", True),
        ("False", False),
        ("{{ 1 + 'a' }}", False),
    ],
)
def test_policy_rules(*, when: str | bool | None, holds: bool):
    assert evaluate_rule(when, {"output": {"status": "error"}}) is holds


@pytest.mark.parametrize("render", [render_server, render_worker])
@pytest.mark.parametrize(
    "template",
    [
        "{{ 1e308 * 10 }}",
        "{{ -1e308 * 10 }}",
        "{{ total / count }}",
        "{{ {'mean': [total / count]} }}",
        " {{ total / count }} ",
        "{{ [1e308 * 10] | tojson }}",
    ],
)
def test_a_number_that_json_lacks_is_no_value(render: Callable[[Any, Any], Any], template: str):
    with pytest.raises(TemplateError, match=r"the value is (NaN|-?inf), a number that JSON does"):
        render({"set": [template]}, {"total": 0.0, "count": 0.0})


def test_in_a_text_such_a_number_is_a_word():
    assert render_server("mean: {{ 0.0 / 0 }}", {}) == "mean: NaN"


def test_a_failing_guard_raises():
    with pytest.raises(TemplateError, match="unsupported types"):
        evaluate_condition("x + 'a' > 1", {"x": 1})


def test_plain_text_in_a_loop_is_data():
    assert render_expression("items", {"items": [1]}) == "items"
    assert render_expression("{{ items }}", {"items": [1]}) == [1]


def test_the_server_renders_keys_as_text_and_the_worker_does_not():
    value = {"{{ name }}": "{{ n }}", "007": ["{{ n }}", {"x": True, "y": None}]}

    assert render_server(value, {"name": "5", "n": 1}) == {
        "5": 1,
        "007": [1, {"x": True, "y": None}],
    }
    assert render_worker(value, {"name": "5", "n": 1}) == {
        "{{ name }}": 1,
        "007": [1, {"x": True, "y": None}],
    }


def test_rendering_leaves_value_and_scope_alone():
    scope = {"rows": [{"b": 1, "a": None}], "m": {"z": 1, "y": {"x": 2}}}
    value = {
        "code": "{{ rows | sort(attribute='b') }}",
        "all": ["{{ m }}", "{% set m = 1 %}{{ m }}"],
    }
    before = copy.deepcopy((scope, value))

    render_server(value, scope)
    render_worker(value, scope)

    assert before == (scope, value)


def test_an_error_names_reason_and_cut_template():
    template = "{{ 1 + 'a' }}" + "x" * 500

    with pytest.raises(TemplateError) as caught:
        render_server(template, {})

    assert caught.value.reason == (
        "invalid operation: tried to use + operator on unsupported types number and string"
    )
    assert caught.value.template == template[:200] + "…"
    assert str(caught.value) == f"{caught.value.reason} (in template: {template[:200]}…)"


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{{ x | nope }}", "unknown filter: filter nope is unknown"),
        ("{{ x is nope }}", "unknown test: test nope is unknown"),
        ("{{ x.items() }}", "unknown method: map has no method named items"),
        ("{{ 'a'.upper() }}", "unknown method: string has no method named upper"),
        ("{{ now() }}", "unknown function: now is unknown"),
        ("{{ 'd' | default('d', true) }}", "too many arguments"),
        ("{{ 'd' | replace('d') }}", "missing argument"),
        ("{{ [] | first }}", "invalid operation: sequence is empty"),
        ("{{ 5 | length }}", "invalid operation: length requires string, sequence, or mapping"),
        ("{{ x | b64decode }}", "b64decode error: Only base64 data is allowed"),
        ("{{ 5 | keys }}", "invalid operation: keys requires mapping"),
        ("{{ true | join }}", "invalid operation: cannot join value of type bool"),
        ("{{ '' | int }}", "int error: cannot parse float from empty string"),
        ("{{ 'x' | float }}", "float error: invalid float literal"),
        ("{% include 'x' %}", "statement 'include' is not available (line 1)"),
    ],
)
def test_reasons(template: str, reason: str):
    with pytest.raises(TemplateError) as caught:
        render_server(template, {"x": {}})

    assert reason == caught.value.reason


def test_broken_json_is_an_error_on_the_server_only():
    with pytest.raises(TemplateError, match="fromjson error"):
        render_server("{{ 'x' | fromjson }}", {})
    assert render_worker("{{ 'x' | fromjson }}", {}) is None


ESCAPES = [
    "{{ ''.__class__ }}",
    "{{ x.__class__.__mro__ }}",
    "{{ x['__class__'] }}",
    "{{ x | attr('__class__') }}",
    "{{ [x] | map(attribute='__class__') | list }}",
    "{{ namespace().__class__ }}",
    "{{ namespace()._Namespace__attrs }}",
    "{% for i in [1] %}{{ loop.__init__ }}{{ loop._iterator }}{{ loop.cycle }}{% endfor %}",
    "{% macro m() %}{% endmacro %}{{ m.__globals__ }}{{ m._func }}{{ m.name }}",
    "{{ range.__self__ }}{{ dict.mro }}{{ range.run }}",
    "{{ lipsum }}{{ cycler }}{{ joiner }}{{ self._TemplateReference__context }}",
    "{{ environment }}{{ context }}{{ l_0_x }}",
    "{{ 5 .real }}{{ 1.5.hex }}{{ true.real }}",
    "{% set ns = namespace() %}{% set ns.__class__ = 5 %}{{ ns.__class__ }}",
]


@pytest.mark.parametrize("template", ESCAPES)
def test_nothing_of_python_is_reachable(template: str):
    assert render_worker("<" + template + ">", {"x": {}}) in {"<>", "<[]>", "<[undefined]>"}


@pytest.mark.parametrize(
    "template",
    [
        "{{ '{0.__class__}' | format(x) }}",
        "{{ x.__init__() }}",
        "{{ [].append(1) }}",
        "{{ (x.get)('a') }}",
        "{{ range.run(1) }}",
        "{{ loop }}{% for i in [1] %}{{ loop }}{% endfor %}",
        "{{ range }}",
    ],
)
def test_nothing_of_python_is_callable_or_printed(template: str):
    try:
        result = render_worker(template, {"x": {}})
    except TemplateError:
        return
    assert result == "{0.__class__}"


EXPENSIVE = [
    "{% set o = namespace(x='aa') %}{% for i in range(60) %}{% set o.x = o.x ~ o.x %}{% endfor %}",
    "{% set o = namespace(x=[1]) %}{% for i in range(60) %}{% set o.x = o.x + o.x %}{% endfor %}",
    "{% for a in range(99999) %}{% for b in range(99999) %}{{ b }}{% endfor %}{% endfor %}",
    "{% for a in range(99999) %}{% for b in range(99999) %}"
    + "x" * 5000
    + "{% endfor %}{% endfor %}",
    "{% macro m(n) %}{{ m(n + 1) }}{% endmacro %}{{ m(0) }}",
    "{% macro m(n) %}{{ m(n - 1) ~ m(n - 1) if n else '' }}{% endmacro %}{{ m(60) }}",
    "{{ 'a' * 999999999999 }}",
    "{{ [1] * 999999999999 }}",
    "{{ ('a' * 9999999) | replace('', 'b' * 9999999) }}",
    "{{ [1] | slice(999999999999) }}",
    "{{ [1] | batch(999999999999, 0) }}",
    "{{ 'a\nb' | indent(999999999999) }}",
    "{{ '%999999999s' | format('a') }}",
    "{{ range(0, 99999999999999999999999, 1) }}",
    "{{ 9 ** 9 ** 9 ** 9 }}",
    "{{ 2 ** 127 * 2 ** 127 }}",
    "{{ " + "(" * 2000 + "1" + ")" * 2000 + " }}",
    "{{ " + "[" * 500 + "]" * 500 + " }}",
    "{% if 1 %}" * 300 + "{% endif %}" * 300,
    "{% for i in [1] %}" * 40 + "{% endfor %}" * 40,
    "{{ " + "1 + " * 20000 + "1 }}",
    "{{ 'x' " + "~ 'x' " * 20000 + "}}",
    "{{ " + "9" * 5000 + " }}",
    "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}",
    "{{ 1.5 | round(999999999) }}{{ 1.5 | round(-999999999) }}",
]


@pytest.mark.parametrize("template", EXPENSIVE, ids=range(len(EXPENSIVE)))
def test_no_template_costs_much(template: str):
    started = time.thread_time()

    try:
        result = render_server(template, {})
    except TemplateError:
        result = None

    assert time.thread_time() - started < 5
    assert result is None or len(str(result)) < 100_000


def test_output_is_bounded():
    small = Renderer(limits=Limits(max_output_chars=1000))

    assert len(str(small.render_server("{{ 'x' * 900 }}", {}))) == 900
    for template in ("{{ 'x' * 1100 }}", "{% for i in range(20) %}" + "x" * 100 + "{% endfor %}"):
        with pytest.raises(TemplateError, match="longer than 1000 characters"):
            small.render_server(template, {})


def test_source_is_bounded():
    small = Renderer(limits=Limits(max_source_chars=1000, max_text_chars=1000))

    with pytest.raises(TemplateError, match="longer than 1000 characters"):
        small.render_server("{{ x }}" + "x" * 1000, {})


def test_values_may_not_be_nested_without_end():
    value: list = []
    for _ in range(5000):
        value = [value]

    for scope, template in (({"x": value}, "{{ x }}"), ({}, value), ({"x": value}, "a{{ x }}")):
        with pytest.raises(TemplateError, match="nested too deeply"):
            render_server(template, scope)


def test_the_cache_is_bounded_in_entries_and_characters():
    small = Renderer(max_entries=10, max_chars=1000)
    for number in range(100):
        small.render_server(adding(number), {"x": 1})
    by_entries = len(small._server._kept)
    for number in range(20):
        small.render_server(adding(number) + "y" * 100, {"x": 1})

    assert by_entries == 10
    assert sum(map(len, small._server._kept)) == small._server._chars <= 1000


def test_a_template_used_often_stays_compiled():
    small = Renderer(max_entries=10)
    small.render_server("{{ x + 1 }}", {"x": 1})
    kept = small._server._kept["{{ x + 1 }}"]
    for number in range(100):
        small.render_server(adding(number), {"x": 1})
        small.render_server("{{ x + 1 }}", {"x": 1})

    assert small._server._kept["{{ x + 1 }}"] is kept


def test_threads_share_a_renderer():
    shared = Renderer(max_entries=5)
    failures: list[object] = []

    def work(offset: int) -> None:
        for number in range(300):
            result = shared.render_server(adding(number % 9), {"x": offset})
            if result != offset + number % 9:
                failures.append(result)

    threads = [threading.Thread(target=work, args=(offset,)) for offset in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    assert shared._server._chars == sum(map(len, shared._server._kept))


def test_render_does_not_read_the_whole_scope():
    class Lazy(dict):
        def __iter__(self) -> Never:
            pytest.fail("the scope was walked")

        keys = items = values = __iter__

    assert render_server("{{ a }}-{{ b.c }}", Lazy(a=1, b={"c": 2})) == "1-2"
