"""Any text at all gives a playbook or a PlaybookError."""

import json

import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from noetl_engine.playbook import Playbook, PlaybookError, YamlLimits, parse_playbook
from playbook_texts import end, start, workflow
from random_documents import JSON, VALID, places, with_value


def outcome(text: str) -> Playbook | PlaybookError:
    try:
        return parse_playbook(text, limits=YamlLimits(max_nodes=20_000))
    except PlaybookError as error:
        refusal = error
    assert refusal.problems
    assert str(refusal) == refusal.problems[0].message
    assert refusal.status in {400, 422}
    return refusal


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
@example(("keychain", 0), {"name": "k", "kind": [None], "credential": "c"})
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
