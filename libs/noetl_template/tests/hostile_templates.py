"""Templates that are small and would take for ever, or all memory, if nothing was counted."""

from typing import Final

_GROW = "{% set ns = namespace(x=[1], y=[1]) %}{% for i in range(60) %}"


def _growing(step: str, use: str = "{{ ns.x }}") -> str:
    """Return a template that makes a value of sixty small lists that hold one another."""
    return f"{_GROW}{{% set ns.x = {step} %}}{{% endfor %}}{use}"


_TALL = (
    "{% set ns = namespace(x=[1], y=[1]) %}{% for i in range(15) %}"
    "{% set ns.x = [ns.x, ns.x] %}{% set ns.y = [ns.y, ns.y] %}{% endfor %}"
)
_OFTEN = "{% for i in range(99999) %}"
_LONG = "{% set a = 'a' * 15000000 ~ 'x' %}{% set b = 'a' * 15000000 ~ 'y' %}"

SHARED: Final = {
    "length of the text": _growing("[ns.x, ns.x]", "{{ ns.x | string | length }}"),
    "tojson": _growing("{'a': ns.x, 'b': ns.x}", "{{ ns.x | tojson }}"),
    "pprint": _growing("[ns.x, ns.x]", "{{ ns.x | pprint }}"),
    "equality": _growing("[ns.x, ns.x]", "{{ ns.x == [ns.x] }}"),
    "tuples": _growing("(ns.x, ns.x)"),
    "sum of lists": _growing("[ns.x + ns.x]"),
    "product": _growing("[ns.x * 2]"),
    "chain": _growing("[ns.x | chain(ns.x)]"),
    "zip": _growing("ns.x | zip(ns.x)"),
    "dict": _growing("dict(a=ns.x, b=ns.x)"),
    "groupby": _growing("[{'a': ns.x}, {'a': ns.x}] | groupby('a')"),
    "default of map": _growing("[0, 0] | map(attribute='q', default=ns.x) | list"),
    "filler of batch": _growing("[1] | batch(3, ns.x)"),
    "filler of slice": _growing("[1] | slice(3, ns.x)"),
    "items": _growing("{'a': ns.x, 'b': ns.x} | items"),
    "values": _growing("{'a': ns.x, 'b': ns.x} | values"),
    "slices": _growing("[ns.x, ns.x][0:2]"),
    "arguments of a macro": (
        "{% set ns = namespace(x=[1]) %}{% macro m() %}{% set ns.x = varargs %}{% endmacro %}"
        "{% for i in range(60) %}{{ m(ns.x, ns.x) }}{% endfor %}{{ ns.x }}"
    ),
    "named arguments of a macro": (
        "{% set ns = namespace(x=[1]) %}{% macro m() %}{% set ns.x = kwargs %}{% endmacro %}"
        "{% for i in range(60) %}{{ m(a=ns.x, b=ns.x) }}{% endfor %}{{ ns.x }}"
    ),
}
"""Values of a few lists that stand for more values than can be walked over."""

WORK: Final = {
    "equal values": _TALL + _OFTEN + "{{ ns.x == ns.y }}{% endfor %}",
    "unequal order": _TALL + _OFTEN + "{{ ns.x < ns.y }}{% endfor %}",
    "element": _TALL + _OFTEN + "{{ ns.x in [ns.y] }}{% endfor %}",
    "changed": _TALL + _OFTEN + "{{ loop.changed(ns.x) }}{{ loop.changed(ns.y) }}{% endfor %}",
    "pprint": _TALL + _OFTEN + "{{ ns.x | pprint | length }}{% endfor %}",
    "unique": _TALL + _OFTEN + "{{ [ns.x, ns.y] | unique | length }}{% endfor %}",
    "sort of numbers": "{% for i in range(10000) %}{{ range(99999) | sort | length }}{% endfor %}",
    "sort of long texts": "{% set a = 'a' * 30000000 %}{{ ([a ~ 'b', a] * 30000) | sort }}",
    "long element": _LONG + "{{ b in [a] * 900000 }}",
    "long equality": _LONG + _OFTEN + "{{ a == b }}{% endfor %}",
    "long sameas": _LONG + _OFTEN + "{{ a is sameas(b) }}{% endfor %}",
    "long test": _LONG + _OFTEN + "{{ a is lower }}{% endfor %}",
    "long slices": _LONG + _OFTEN + "{% set c = a[1:] %}{% endfor %}",
    "list slices": "{% set a = range(99999) %}" + _OFTEN + "{% set c = a[1:] %}{% endfor %}",
    "many statements in a loop": _OFTEN + "{% set a = 1 %}" * 4000 + "{% endfor %}",
    "many statements in a macro": (
        "{% macro m() %}"
        + "{% set a = 1 %}" * 4000
        + "{% endmacro %}"
        + _OFTEN
        + "{{ m() }}{% endfor %}"
    ),
    "long text in a macro": (
        "{% macro m() %}"
        + "x" * 60000
        + "{% endmacro %}"
        + _OFTEN
        + "{% set q = m() %}{% endfor %}"
    ),
    "long block in a macro": (
        "{% macro m() %}{% set q %}"
        + "x" * 60000
        + "{% endset %}{% endmacro %}"
        + _OFTEN
        + "{{ m() }}{% endfor %}"
    ),
    "two calls each": (
        "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}"
        "{{ m(100) }}"
    ),
    "long path": "{{ range(99999) | map(attribute='" + "a." * 30000 + "a') | list | length }}",
    "many attributes": "{{ range(99999) | sort(attribute='" + "a," * 30000 + "a') | length }}",
    "percent signs": "{{ ('%%' * 15000000) | format }}",
    "wide numbers": "{{ ('%(a)9999s' * 200000) | format(a=1) }}",
    "escapes": "{{ ('<' * 30000000) | e | length }}",
    "quoted control characters": "{{ ['\\n' * 30000000] | string | length }}",
    "title": "{{ ('a b' * 10000000) | title | length }}",
    "parsed lists": "{% set s = '[' ~ '[],' * 8000000 ~ '0]' %}{{ s | fromjson | length }}",
    "one text many times": "{% set s = 'a' * 10000000 %}{{ ([s] * 100000) | join(',') | length }}",
    "one text in a list many times": "{{ ['a' * 10000000] * 100000 }}",
    "one text as JSON many times": "{{ (['a' * 10000000] * 100000) | tojson }}",
    "words": "{{ ('ab ' * 10000000) | split | length }}",
    "characters": "{{ ('€' * 30000000) | list | length }}",
    "rounds over characters": "{% for c in '€' * 30000000 %}{% endfor %}",
    "deep printing": (
        "{% set ns = namespace(x=['a' * 30000000]) %}{% for i in range(150) %}"
        "{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x | string | length }}"
    ),
    "many lists": "".join(f"{{% set a{i} = range(99999) %}}" for i in range(2000)),
    "many texts": "".join(f"{{% set a{i} = '€' * 9000000 ~ '{i}' %}}" for i in range(1000)),
    "greatest": "{% set x = range(99999) %}" + _OFTEN + "{{ x | max }}{% endfor %}",
    "selection": "{% set x = range(99999) %}" + _OFTEN + "{{ x | select('odd') }}{% endfor %}",
}
"""Work, text and memory without end."""

SLOW: Final = {
    "digits": "{{ ('1' * 1000000 ~ 'x') | int }}",
    "digits to a number": "{{ ('1' * 30000000) | float }}",
    "huge integers": "{% set a = 0x"
    + "f" * 60000
    + " %}"
    + _OFTEN
    + "{% set b = a * a %}{% endfor %}",
    "open conversions": "{{ ('%(' * 15000000) | format(1) }}",
    "open tags": "{% raw %}\r" + "{{" * 16000 + "{%" * 16000 + "{% endraw %}",
    "powers": _OFTEN + "{{ 2 ** 127 }}{% endfor %}",
    "wide columns": "{{ '%1000000d' | format(3) }}",
    "one loop within itself": (
        "{% for i in [1] recursive %}" + "x" * 60000 + "{% set q = loop([1, 2]) %}{% endfor %}"
    ),
    "numbers with one hash": "{% set ns = namespace(l=[]) %}{% for i in range(3000) %}"
    "{% set ns.l = ns.l + [i * 2305843009213693951] %}{% endfor %}{{ ns.l | unique | length }}",
}
"""Templates that end soon, with a value or an error of their own."""
