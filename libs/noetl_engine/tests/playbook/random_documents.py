"""A valid document, values for it, and changes of it."""

import json

from hypothesis import strategies as st

VALID = {
    "apiVersion": "noetl.io/v2",
    "kind": "Playbook",
    "metadata": {"name": "n", "path": "p", "labels": {"a": "b"}},
    "workload": {"a": 1},
    "keychain": [{"name": "k", "auth": "a", "map": {"a": "b"}}],
    "workbook": [{"name": "w", "tool": {"kind": "noop"}}],
    "workflow": [
        {
            "step": "start",
            "desc": "d",
            "when": "x",
            "tool": {"kind": "http", "url": "u", "headers": {"a": "b"}, "args": {}, "eval": []},
            "loop": {
                "in": "{{ x }}",
                "iterator": "i",
                "cursor": {"claim": "c"},
                "spec": {"mode": "parallel", "max_in_flight": 2, "frame": {"max_rows": 1}},
            },
            "next": {"spec": {"mode": "inclusive"}, "arcs": [{"step": "end", "set": {}}]},
            "set": {"a": 1},
            "spec": {"timeout": "5s", "policy": {"admit": {"rules": [{"else": {}}]}}},
            "input": {},
            "output": {"output_select": ["a"]},
        },
        {"step": "end", "tool": [{"name": "a", "kind": "noop"}, {"b": {"kind": "python"}}]},
    ],
}

WORDS = st.sampled_from(
    ["start", "end", "noop", "http", "sequential", "cursor", "{{ x }}", "a { b", "", "5", "x",
     "kind", "step", "arcs", "tool", "workbook", "next"]
)  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(WORDS | st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=8,
)


def places(value: object, path: tuple = ()) -> list[tuple]:
    """Every place in a document."""
    found = [path]
    entries = value.items() if isinstance(value, dict) else ()
    items = enumerate(value) if isinstance(value, list) else entries
    for key, inner in items:
        found += places(inner, (*path, key))
    return found


def with_value(document: object, path: tuple, value: object) -> object:
    copied = json.loads(json.dumps(document))
    if not path:
        return value
    node = copied
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    return copied
