"""The tables of tool kinds: complete, and true in themselves."""

import pytest
from noetl_contract.tools import TOOL_KINDS, TOOLS, KeyType, ToolKey, ToolKind

TYPES = {
    KeyType.TEXT: str,
    KeyType.UNSIGNED: int,
    KeyType.INTEGER: int,
    KeyType.NUMBER: int | float,
    KeyType.FLAG: bool,
    KeyType.MAPPING: dict,
    KeyType.TEXTS: dict,
    KeyType.LIST: list,
    KeyType.TEXT_LIST: list,
    KeyType.LIST_OR_MAPPING: list | dict,
    KeyType.ANY: object,
}
each = pytest.mark.parametrize("kind", TOOLS.values(), ids=lambda kind: kind.name)


def all_keys(keys: tuple[ToolKey, ...]) -> list[ToolKey]:
    return [*keys, *(inner for key in keys for inner in all_keys(key.keys))]


def test_every_word_of_the_language_has_a_table():
    assert tuple(TOOLS) == TOOL_KINDS


@each
def test_no_name_stands_for_two_keys(kind: ToolKind):
    names = [name for key in kind.keys for name in key.names]

    assert len(names) == len(set(names))


@each
def test_descriptions_are_sentences(kind: ToolKind):
    sentences = [kind.description, *(key.description for key in all_keys(kind.keys))]

    assert [one for one in sentences if not one.endswith(".") or (not one[0].isupper()
            and one[0] != "`")] == []  # fmt: skip


@each
def test_defaults_have_the_type_of_their_key(kind: ToolKind):
    for key in all_keys(kind.keys):
        assert key.default is None or isinstance(key.default, TYPES[key.type]), key
        assert not key.choices or key.default is None or key.default in key.choices, key
        assert not (key.is_required and key.default is not None), key


@each
def test_rules_name_keys_of_the_table(kind: ToolKind):
    named = {name for names in kind.required for name in names} | kind.by_credential
    if kind.variants is not None:
        named |= {kind.variants.key, *(n for ns in kind.variants.required.values() for n in ns)}

    assert named <= kind.names


@pytest.mark.parametrize(
    ("kind", "config", "missing"),
    [
        ("http", {}, [("url",)]),
        ("http", {"url": None}, [("url",)]),
        ("http", {"url": "{{ x }}"}, []),
        ("postgres", {"command": "SELECT 1"}, [("connection_string", "host")]),
        ("postgres", {"query": "SELECT 1", "auth": "db"}, []),
        ("postgres", {"auth": "db"}, [("query", "command")]),
        ("postgres", {"query": "SELECT 1", "credential": "db"}, []),
        ("nats", {"operation": "kv_put", "url": "u", "bucket": "b"}, [("key",), ("value",)]),
        ("nats", {"operation": "{{ x }}", "url": "u"}, []),
        ("playbook", {"version": 1}, [("path", "catalog_id")]),
        ("gcs", {}, []),
    ],
)
def test_missing_keys_are_named(kind: str, config: dict, missing: list):
    assert list(TOOLS[kind].missing(config)) == missing
