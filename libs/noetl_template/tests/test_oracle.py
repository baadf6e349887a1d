"""Our rendering against that of the reference server's own engine."""

import json
import re
from pathlib import Path

import pytest
import yaml
from noetl_template import Renderer, TemplateError
from template_cases import case_of, scope_for
from template_deviations import EXAMPLES, Difference, Example, kind_of
from template_oracle import Oracle, OracleError, OracleGapError

DIALECTS = ("server", "worker")
SHARED = next(
    (
        folder
        for parent in Path(__file__).resolve().parents
        if (folder := parent / "shared" / "playbooks").is_dir()
    ),
    None,
)
SCOPES_PER_TEMPLATE = 4

ORACLES = {dialect: Oracle(dialect) for dialect in DIALECTS}
renderer = Renderer()


def ours(dialect: str, template: str, scope: dict) -> str:
    render = renderer.render_server if dialect == "server" else renderer.render_worker
    try:
        return json.dumps(render(template, scope), sort_keys=True)
    except TemplateError:
        return "refused"


def theirs(dialect: str, template: str, scope: dict) -> str | None:
    try:
        return json.dumps(ORACLES[dialect].value(template, scope), sort_keys=True)
    except OracleError:
        return "refused"
    except OracleGapError:
        return None


def differences(cases: list[tuple[str, str, dict]]) -> tuple[list[Difference], int]:
    """Return the cases that differ, and how many cases the oracle could decide."""
    found, compared = [], 0
    for dialect, template, scope in cases:
        expected = theirs(dialect, template, scope)
        if expected is None:
            continue
        compared += 1
        actual = ours(dialect, template, scope)
        if actual != expected:
            found.append(Difference(dialect, template, scope, expected, actual))
    return found, compared


def unlisted(found: list[Difference]) -> list[Difference]:
    """The differences that are no listed deviation."""
    return [one for one in found if kind_of(one) is None]


def strings_in(value: object) -> list[str]:
    match value:
        case str():
            return [value]
        case dict():
            return [text for entry in value.values() for text in strings_in(entry)]
        case list():
            return [text for entry in value for text in strings_in(entry)]
    return []


@pytest.mark.shared
@pytest.mark.skipif(SHARED is None, reason="no contract material beside the checkout")
def test_every_template_of_the_playbooks_renders_alike():
    texts = sorted(
        {
            text
            for path in SHARED.rglob("*.yaml")
            for text in strings_in(yaml.load(path.read_text(), yaml.BaseLoader))  # noqa: S506
            if "{{" in text or "{%" in text
        }
    )
    cases = [
        (dialect, text, scope_for(text, seed))
        for dialect in DIALECTS
        for text in texts
        for seed in range(SCOPES_PER_TEMPLATE)
    ]

    found, compared = differences(cases)

    assert unlisted(found) == []
    assert compared > len(cases) * 0.95


def test_random_templates_render_alike(template_count: int):
    cases = [
        (DIALECTS[seed % 2], case.template, case.scope)
        for seed in range(template_count)
        for case in [case_of(seed)]
    ]

    found, compared = differences(cases)

    assert unlisted(found) == []
    assert compared > template_count * 0.9


@pytest.mark.parametrize(
    ("name", "example", "dialect"),
    [
        pytest.param(name, example, dialect, id=f"{name}-{number}-{dialect}")
        for name, examples in EXAMPLES.items()
        for number, example in enumerate(examples)
        for dialect in example.dialects
    ],
)
def test_each_listed_deviation_is_there(name: str, example: Example, dialect: str):
    scope = dict(example.scope)

    assert example.theirs == theirs(dialect, example.template, scope), name
    assert example.ours == ours(dialect, example.template, scope), name


def test_the_readme_lists_the_same_deviations():
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    listed = re.findall(r"^\| `([a-z0-9-]+)` \|", readme, re.MULTILINE)

    assert sorted(EXAMPLES) == sorted(listed)


FACTS = [
    # Operators.
    "7 / 2", "8 / 2", "7 // 2", "-7 // 2", "7 // -2", "-7 % 2", "7 % -2", "-5 % 3.0", "-5 // 2.0",
    "2 ** 10", "2 ** -1", "2 ** 200", "2.0 ** 3", "1 / 0", "1 // 0", "1 % 0", "1.0 // 0",
    "5 % 0.0", "1 ~ 2.0 ~ true ~ none ~ nope ~ [1]", "'a' + 'b'", "'a' + 1", "[1] + [2]",
    "'ab' * 3", "3 * 'ab'", "'x' * -1", "[1] * 2", "true + true", "-true", "--5", "none + 1",
    "nope + 1", "9223372036854775807 + 1", "170141183460469231731687303715884105727 + 1",
    "1e300 * 1e300", "0.1 + 0.2", "0 * -1.5", "2 ** 3 ** 2", "-2 ** 2", "1 + 2 ~ 3",
    # Comparisons.
    "1 < 2 < 1", "0 < 5 < 3", "1 == 1 == 1", "'3' > 2", "none < 1", "nope < 1", "nope < none",
    "nope > 2", "nope <= 1", "true < 0", "true >= 1", "true == 1", "1 == 1.0", "'1' == 1",
    "{'a': 1} == {'a': 1.0}", "[1, 2] < [1, 3]", "[1] > 'a'", "none == nope", "nope == nope",
    "nope != 1", "1 in nope", "nope in [1]", "1 in '1'", "1 in 5", "'a' in {'a': 1}",
    "1.0 in [1]", "none in 'none'", "not 'a' in 'abc'", "2 > 1 and 'y' or 'n'",
    # Look-ups.
    "a.b.c.d", "a[0]['x'].y", "none.x", "'abc'[0]", "'abc'[-1]", "'abc'[1:2]", "'abc'[::-1]",
    "[1, 2, 3][5]", "[1, 2, 3][-1]", "[1, 2, 3][1.0]", "[1, 2, 3]['1']", "[1, 2, 3][3:1]",
    "{'a': 1}[nope]", "{1: 'x'}[1]", "{'1': 'x'}[1]", "nope[1:2]", "{'a': 1}[0:1]", "[5, 6].1",
    "{'items': 1}.items", "{'a': 1}['items']", "self", "loop.index",
    # Literals.
    "(1, 2)", "()", "[1, 2,]", "'a\\qb'", "'\\u00e9\\x41'", "'\\ud83d\\ude00'", "'\\123'",
    "'a\\/b'", "1_000", "0x1F", "0b11", "0o17", "1e400", "1E5", "True", "TRUE", "'it''s'",
    # Printing.
    "[1.5, 2.0, \"a'b\\\"c\", true, none, nope, 'é\\u0007\\n\\t\\0']", "1e20", "1e-7", "1e16",
    "-0.0", "123456789.123456789", "100000000000000000000",
    # Tests.
    "1 is number", "true is number", "true is integer", "1.0 is float", "'abc' is iterable",
    "none is iterable", "1 is iterable", "'abc' is sequence", "{'a': 1} is mapping",
    "3 is odd", "'3' is odd", "nope is odd", "1 is divisibleby 2", "5 is startingwith '5'",
    "1 is sameas 1", "[1] is sameas [1]", "2 is not in [1]", "none is none", "nope is none",
    "nope is defined", "none is defined", "1 is lower", "'abc' is lower", "'1' is lower",
    "'int' is filter", "'odd' is test", "'x' is foo", "'x' is escaped",
    # Filters.
    "5 | foo", "-1 | abs", "'5' | abs", "1.5 | round", "2.5 | round", "-2.5 | round",
    "1.234 | round(2)", "15 | round(-1)", "'abc def' | title", "'hELLO world' | capitalize",
    "true | capitalize", "'a b' | replace(' ', '_')", "'a.b' | replace('.')",
    "[1, 2, 1, 'a', 'A'] | unique", "[1, 2, 3, 4, 5] | batch(2, 0)", "[1, 2, 3, 4, 5] | slice(2)",
    "[1, 2, 3, 4, 5] | slice(2, 0)", "{'a': 1, 'b': 2} | dictsort(by='value')",
    "[{'a': 1}, {}] | map(attribute='a', default=9)", "[1, '2'] | map('string')",
    "[1, 2] | map('foo')", "[1, 2] | select('foo')", "[1, 2, 3] | select('odd')",
    "[{'a': 1}, {'a': 3}] | selectattr('a', '>', 2)", "[{'a': {'b': 1}}] | map(attribute='a.b')",
    "[{'g': 'B'}, {'g': 'a'}, {'g': 'b'}] | groupby('g')",
    "[{'a': 2}, {'a': 1}] | groupby('a') | map(attribute='grouper')",
    "[{'a': 2}, {'b': 1}] | groupby('a', default=9)",
    "[{'a': 2, 'b': 1}, {'a': 1, 'b': 2}] | sort(attribute='a,b')",
    "['a', 'B', 'c'] | sort(reverse=true)", "['a', 'B'] | sort(case_sensitive=true)",
    "[3, 'a', none, true, 1.5] | sort", "['B', 'a'] | max", "[] | max", "[] | sum", "['a'] | sum",
    "'a\\nb' | indent(2)", "'a\\n\\nb\\n' | indent(2, true)", "'a\\nb\\n' | lines", "5 | list",
    "'%s-%5.2f|%x|%-5s|%05d|%%' | format('a', 1.234, 255, 'b', 3)", "'%q' | format(1)",
    "'%(a)s' | format(a=1)", "'<a href=\"/\">\\'' | e", "5 | count", "'é' | count", "nope | count",
    "nope | d('x')", "[1, [2, 'a'], nope] | join(',')", "'abc' | reverse", "nope | reverse",
    "[1, 2] | upper", "'x' | bool", "'' | bool", "{'a': [1, 'x']} | pprint", "nope | lines",
]  # fmt: skip


@pytest.mark.parametrize("dialect", DIALECTS)
def test_each_fact_holds(dialect: str):
    found, compared = differences([(dialect, f"{{{{ ({fact}) }}}}", {}) for fact in FACTS])

    assert [one for one in found if kind_of(one) != "numbers-not-finite"] == []
    assert compared > 0.9 * len(FACTS)


STATEMENTS = [
    "{% for c in 'ab' %}[{{ c }}]{% endfor %}",
    "{% for c in 5 %}x{% endfor %}",
    "{% for k, v in {'a': 1, 'b': 2} | dictsort %}[{{ k }}={{ v }}]{% endfor %}",
    "{% for a, b in [[1, 2], [3]] %}{{ a }}{% endfor %}",
    "{% for i in range(2, 4) %}{{ i }}{% endfor %}",
    "{% for g in [{'a': 2}, {'a': 1}] | groupby('a') %}{{ g.grouper }}{{ g.list }}{% endfor %}",
    "{{ [{'a': 1, 'b': 2}, {'a': 1}] | unique(attribute='a') }}",
    "{{ [[1, {'x': 2}], [1, {'x': 2}]] | unique }}",
    "{{ [1, 2] | batch(0) }}",
    "{{ [1, 2] | slice(0) }}",
    "{{ 'x'['y'] }}{{ 'x'() }}",
    "{{ {'a': 2, 'b': 1} | dictsort(reverse=true) }}",
    "{{ 1 | dictsort }}",
    "{{ [1, 2][1:nope] }}{{ [1, 2]['a':] }}",
    "{{ [1, 2][::0] }}",
    "{{ 'a' | indent('x') }}",
    "{{ '%s %s' | format(1) }}",
    "{{ '%d' | format('x') }}",
    "{{ [1] | map }}",
    "{{ (-1) ** 0.5 }}{{ 0.0 ** -1 }}{{ 0 / 0 }}",
    "{{ 'x' is divisibleby 2 }}",
    "{{ 'ab' | indent(1, blank=true, foo=1) }}",
    "{% for c in nope %}x{% else %}E{% endfor %}",
    "{% for c in none %}x{% else %}E{% endfor %}",
    "{% for k in {'a': 1, 'b': 2} %}[{{ k }}]{% endfor %}",
    "{% for x in [1, 2, 3] if x > 1 %}{{ loop.index }}/{{ loop.length }}:{{ x }},{% endfor %}",
    "{% for x in [1, 2, 3] %}{{ loop.index0 }}{{ loop.revindex }}{{ loop.first }}{% endfor %}",
    "{% for x in [1, 2, 3] %}{{ loop.previtem }}{{ loop.nextitem }}{{ loop.last }}{% endfor %}",
    "{% for x in [1, 2] %}{{ loop.cycle('a', 'b') }}{{ loop.changed(1) }},{% endfor %}",
    "{% for x in [[1, [2]]] recursive %}{{ loop(x) if x is sequence else x }}{% endfor %}",
    "{% for x in [[1]] recursive %}{{ loop.depth }}{{ loop(x) if x != 1 }}{% endfor %}",
    "{% set x = 5 %}{% for i in [1] %}{% set x = 6 %}{% endfor %}{{ x }}",
    "{% set o = namespace(n=0) %}{% for i in [1, 2] %}{% set o.n = o.n + i %}{% endfor %}{{ o.n }}",
    "{% set x %}abc{% endset %}{{ x }}",
    "{% set x | upper %}abc{% endset %}{{ x }}",
    "{% macro m(a, b=2) %}{{ a }}-{{ b }}{% endmacro %}{{ m(1) }} {{ m(b=3) }}",
    "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}",
    "{% macro m(a) %}{{ a }}{{ caller() }}{% endmacro %}{% call m(1) %}X{% endcall %}",
    "{% with a=1, b=2 %}{{ a }}{{ b }}{% endwith %}",
    "{% filter upper %}abc{% endfilter %}",
    "{% raw %}{{ x }}{% endraw %}",
    "a {# c #} b{{ 1 }}",
    "{%- if true -%} x {%- endif -%} y",
    "{% if 1 %}a{% elif 2 %}b{% else %}c{% endif %}",
    "{% if false %}{{ 1 | unknown }}{% endif %}ok",
    "{% include 'x' %}",
    "{% import 'x' as y %}",
    "{% extends 'x' %}",
    "{% foo %}",
    "{% if %}",
    "{{ 5 5 }}",
    "{{ nope() }}",
    "{{ a.b() }}",
    "{{ range(5, 1, -2) }}",
    "{{ range(-3) }}",
    "{{ range(1, 5, 0) }}",
    "{{ range(100001) }}",
    "{{ dict(a=1) }}",
    "{{ dict(5) }}",
    "a\r\n{{ 1 }}\r\n",
    "{{ 1 }}\n\n",
    "{{ 1 }}\n",
    "{% if 1 %}\nx\n{% endif %}\n",
    "  {{ 'x' }}  ",
    "'{{ 'it' }}'",
]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_each_statement_behaves_alike(dialect: str):
    found, compared = differences([(dialect, text, {}) for text in STATEMENTS])

    assert found == []
    assert compared == len(STATEMENTS)


def test_the_oracle_is_the_version_the_reference_pins():
    assert ORACLES["server"].text("{{ true }} {{ none }} {{ 4 / 2 }}", {}) == "true none 2.0"
