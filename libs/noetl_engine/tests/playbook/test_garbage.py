"""Whatever the text is, the answer is a playbook or a PlaybookError."""

import json

import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from noetl_engine.playbook import Playbook, PlaybookError, YamlLimits, parse_playbook
from playbook_texts import end, start, workflow

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


def outcome(text: str) -> Playbook | PlaybookError:
    try:
        return parse_playbook(text, limits=YamlLimits(max_nodes=20_000))
    except PlaybookError as error:
        refusal = error
    assert refusal.problems
    assert str(refusal) == refusal.problems[0].message
    assert refusal.status in {400, 422}
    return refusal


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


@given(st.text())
@example("\x00")
@example("\ufeff")
@example("%YAML 9.9\n---\n")
@example("a: &a [*a, *a]")
@example("!!python/object/apply:os.system ['true']")
@example("? ? ? ?")
@example("- " * 3000)
@example("{" * 3000)
def test_any_text(text: str):
    outcome(text)


@given(st.text(alphabet="[]{}:,-?&*!|>'\"%#@` \n\tab1.~<", max_size=200))
@settings(max_examples=200)
def test_any_punctuation(text: str):
    outcome(text)
    outcome(workflow(start(), end()) + text)


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes):
    outcome(data.decode("utf-8", "surrogateescape"))
    outcome(data.decode("latin-1"))


@given(st.sampled_from(places(VALID)), JSON)
@settings(max_examples=300)
def test_any_value_in_any_place(path: tuple, value: object):
    outcome(yaml.safe_dump(with_value(VALID, path, value), allow_unicode=True))


@given(st.sampled_from([path for path in places(VALID) if path]))
def test_any_key_missing(path: tuple):
    document = json.loads(json.dumps(VALID))
    node = document
    for key in path[:-1]:
        node = node[key]
    del node[path[-1]]

    outcome(json.dumps(document))


@given(st.integers(0, 400), st.text(alphabet=" \t\n:-[]{}'\"&*#|x", max_size=3))
@settings(max_examples=150)
def test_any_edit_of_a_valid_text(position: int, inserted: str):
    text = yaml.safe_dump(VALID)

    outcome(text[:position] + inserted + text[position:])
    outcome(text[:position] + text[position + 3 :])


def test_the_document_that_is_changed_is_valid():
    assert isinstance(outcome(yaml.safe_dump(VALID)), Playbook)
