"""A template can't take for ever, nor all memory; input that is merely large goes through."""

from collections.abc import Callable
from contextlib import suppress
from time import process_time

import pytest
from hostile_templates import SHARED, SLOW, WORK
from hypothesis import given, settings
from hypothesis import strategies as st
from noetl_template import (
    Limits,
    Renderer,
    TemplateError,
    TemplateLimitError,
    evaluate_condition,
    evaluate_rule,
    render_expression,
    render_server,
    render_worker,
    shared_work,
    work_spent,
)

# Far above what any of them takes, far below the time after which an operator would act.
MOST_SECONDS = 10


@pytest.mark.parametrize("render", [render_server, render_worker])
@pytest.mark.parametrize("template", SHARED.values(), ids=SHARED)
def test_lists_that_hold_one_another_are_refused_by_the_number_of_their_values(
    render: Callable[..., object], template: str
) -> None:
    with pytest.raises(TemplateError, match=r"more than 100000 nested values|unknown filter"):
        render(template, {})


@pytest.mark.parametrize("template", WORK.values(), ids=WORK)
def test_work_without_end_is_refused(template: str) -> None:
    started = process_time()
    with pytest.raises(TemplateLimitError):
        render_server(template, {})
    assert process_time() - started < MOST_SECONDS


@pytest.mark.parametrize("template", SLOW.values(), ids=SLOW)
def test_nothing_takes_longer_than_its_share(template: str) -> None:
    started = process_time()
    with suppress(TemplateError):
        render_worker(template, {})
    assert process_time() - started < MOST_SECONDS


def test_guards_and_rules_are_refused_as_well():
    template = SHARED["length of the text"]

    with pytest.raises(TemplateLimitError):
        evaluate_condition(template, {})
    with pytest.raises(TemplateLimitError):
        evaluate_rule(template, {})
    assert evaluate_rule("{{ 1 / {} }}", {}) is False


def test_large_input_is_no_attack():
    rows = [{"id": number, "tags": ["a", "b"]} for number in range(120_000)]

    assert render_expression("{{ rows }}", {"rows": rows}) == rows
    assert render_expression("{{ rows | map(attribute='id') | list }}", {"rows": rows}) == list(
        range(120_000)
    )
    assert len(render_expression("{{ rows | batch(100) }}", {"rows": rows})) == 1200
    assert render_expression("{{ [rows, rows] | length }}", {"rows": rows}) == 2
    assert render_expression("{{ rows == rows + [] }}", {"rows": rows}) is True


def test_what_a_template_made_is_plain_outside():
    made = render_server({"x": "{{ {'a': [1, range(3)], 'b': {'c': 'd'}} }}"}, {})["x"]

    assert made == {"a": [1, [0, 1, 2]], "b": {"c": "d"}}
    assert {type(part) for part in (made, made["a"], made["a"][1], made["b"])} == {dict, list}


def test_the_templates_of_one_value_have_one_budget():
    small = Renderer(limits=Limits(max_work=3000))
    template = "{% for i in range(1000) %}{% endfor %}"

    assert small.render_server([template], {}) == [None]
    with pytest.raises(TemplateLimitError, match="more than 3000 units"):
        small.render_server([template] * 3, {})


def test_renders_that_share_their_work_stop_together():
    template = "{% for i in range(1000) %}{% endfor %}"

    with shared_work(3000):
        render_server(template, {})
        assert 1000 < work_spent() < 3000
        render_server(template, {})
        with pytest.raises(TemplateLimitError, match="together"):
            render_server(template, {})
    assert work_spent() == 0
    assert render_server(template, {}) is None


def test_only_code_counts_as_the_length_of_a_template():
    text = "x" * 500_000

    assert render_server(text + "{{ 1 + 1 }}", {}) == text + "2"
    with pytest.raises(TemplateLimitError, match="longer than 65536 characters"):
        render_server("{{ 1 }}" * 15_000, {})


_BITS = st.sampled_from(
    [
        "{% for i in range(99999) %}", "{% for i in ns.x %}", "{% endfor %}", "{% endfor %}",
        "{% set ns.x = [ns.x, ns.x] %}", "{% set ns.x = ns.x + ns.x %}",
        "{% set ns.x = ns.x * 9 %}",
        "{% set ns.s = ns.s ~ ns.s %}", "{% set ns.s = ns.s ~ ns.x %}", "{% set ns.s = [ns.s] %}",
        "{% set ns.x = ns.x | zip(ns.x) %}", "{% set ns.x = ns.s | list %}",
        "{% set ns.x = {'a': ns.x, 'b': ns.s} %}", "{% set ns.x = ns.x | items %}",
        "{% set ns.s = ns.s | replace('a', ns.s) %}", "{% set ns.s = ns.x | string %}",
        "{% set ns.s = ns.x | pprint %}", "{% set ns.s = ns.x | tojson %}",
        "{% set ns.x = ns.s | fromjson %}", "{% set ns.x = ns.x | sort %}",
        "{% set ns.x = ns.x | unique %}", "{% set ns.x = ns.s | split('a') %}",
        "{% set ns.s = ns.x | join(ns.s) %}", "{% set ns.s = ns.s | indent(99) %}",
        "{% set ns.x = ns.x | groupby('0') %}", "{% set ns.x = ns.x | batch(2, ns.x) %}",
        "{% set ns.x = ns.x | map('string') | list %}", "{{ ns.x == [ns.x] }}", "{{ ns.x < ns.s }}",
        "{{ ns.s in ns.s }}", "{{ ns.x | max }}", "{{ ns.x }}", "{{ ns.s }}",
        "{{ loop.changed(ns.x) }}",
        "{% set ns.s = ('%s' * 99) | format(ns.s) %}", "{% set ns.s = ns.s | upper | e %}",
        "{% set ns.x = range(0, 99999, 2) %}", "{% set ns.x = ns.x[::-1] %}",
    ]
)  # fmt: skip


@given(st.lists(_BITS, min_size=3, max_size=40))
@settings(max_examples=40)
def test_no_mixture_takes_longer(bits: list[str]) -> None:
    opened = 0
    parts = []
    for bit in bits:
        opened += bit.startswith("{% for")
        if bit == "{% endfor %}":
            if not opened:
                continue
            opened -= 1
        parts.append(bit)
    template = "{% set ns = namespace(x=[1, 'a'], s='ab') %}" + "".join(parts)
    started = process_time()
    with suppress(TemplateError):
        render_server(template + "{% endfor %}" * opened, {})
    assert process_time() - started < MOST_SECONDS
