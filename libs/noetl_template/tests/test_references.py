"""Names that templates look up."""

import pytest
from noetl_template import TemplateError, references


def paths(template: str, *, guarded: bool) -> list[str]:
    return [".".join(found.path) for found in references(template) if found.is_guarded is guarded]


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("text", []),
        ("{{ a }}", ["a"]),
        ("{{ a.b[0].c['d'].e }}", ["a.b.c.d.e"]),
        ("{{ a[b.c].d }}", ["a", "b.c"]),
        ("{{ a.f(b) ~ range(c) }}", ["a.f", "b", "c"]),
        ("{% for i in rows %}{{ i.x ~ loop.index ~ y }}{% endfor %}", ["rows", "y"]),
        ("{% set q = a %}{{ q }}", ["a"]),
        ("{% macro m(p) %}{{ p }}{% endmacro %}{{ m(a) }}", ["a"]),
        ("{{ true and none }}", []),
    ],
)
def test_look_ups_are_found_with_their_paths(template: str, expected: list[str]):
    assert sorted(expected) == sorted(paths(template, guarded=False))


@pytest.mark.parametrize(
    "template",
    [
        "{{ a | default(1) }}",
        "{{ a is defined }}",
        "{{ a or 1 }}",
        "{{ 1 if a else 2 }}",
        "{% if a %}{{ a.b }}{% endif %}",
        "{{ not a }}",
        "{{ a and a.b }}",
        "{{ a.b | default(a.c) if a else a.d }}",
    ],
)
def test_what_may_be_missing_is_told_apart(template: str):
    assert paths(template, guarded=False) == []
    assert paths(template, guarded=True)


def test_lines_count_from_one():
    assert [found.line for found in references("a\nb\n{{ x }}")] == [3]


@pytest.mark.parametrize(
    "template", ["{{ a b }}", "{% if %}", "{{ a | nosuch }}", "{{ a is odder }}", "{% for %}"]
)
def test_what_does_not_compile_is_refused(template: str):
    with pytest.raises(TemplateError):
        references(template)


def test_the_worker_has_filters_of_its_own():
    assert references("{{ a | len }}", by_worker=True)
    with pytest.raises(TemplateError):
        references("{{ a | len }}")


def test_very_long_templates_are_checked_too():
    assert len(references("{{ a.b }} " * 10_000)) == 10_000
    with pytest.raises(TemplateError):
        references("{{ a.b }} " * 10_000 + "{{ a b }}")
