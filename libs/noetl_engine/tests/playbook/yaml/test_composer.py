"""YAML 1.2 core scalars, unique keys, and limits."""

import pytest
from noetl_engine.playbook.errors import DecodeError
from noetl_engine.playbook.yaml import MapNode, YamlLimits, compose, to_json


def read(text: str) -> object:
    return to_json(compose(text))


def refusal(text: str, limits: YamlLimits | None = None) -> str:
    with pytest.raises(DecodeError) as caught:
        compose(text, limits=limits)
    return caught.value.problem.message


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *((word, word) for word in ("yes", "no", "on", "off", "Yes", "y", "n", "None", "NaN")),
        *((word, True) for word in ("true", "True", "TRUE")),
        *((word, False) for word in ("false", "False", "FALSE")),
        *((word, None) for word in ("~", "null", "Null", "NULL", "", ".inf", "-.INF", ".nan")),
        ("010", "010"),
        ("-010", "-010"),
        ("0", 0),
        ("-0", 0),
        ("0o14", 12),
        ("0x1F", 31),
        ("-0x1F", -31),
        ("0b11", 3),
        ("0x", "0x"),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("2026-06-15", "2026-06-15"),
        ("2026-06-15T10:00:00Z", "2026-06-15T10:00:00Z"),
        ("+5", 5),
        ("-5", -5),
        ("1e5", 1e5),
        ("1.5e3", 1500.0),
        ("1E-2", 0.01),
        (".5", 0.5),
        ("1.", 1.0),
        ("00.5", 0.5),
        ("1e999", "1e999"),
        ("1.2.3", "1.2.3"),
        ("12345678901234567890", 12345678901234567890),
        ("'5'", "5"),
        ('"true"', "true"),
        ("!!str 5", "5"),
        ("!!int '5'", 5),
        ("!!float 5", 5),
        ("!!bool true", True),
        ("!!null ''", None),
        ("! 5", "5"),
        ("|-\n  5", "5"),
    ],
)
def test_scalars(text: str, value: object):
    result = read(f"key: {text}\n")

    assert result == {"key": value}
    assert type(result["key"]) is type(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "a: 18446744073709551616",
            (
                "a: invalid type: integer `18446744073709551616` as u128, expected any YAML value "
                "at line 1 column 4"
            ),
        ),
        (
            "a: -9223372036854775809",
            (
                "a: invalid type: integer `-9223372036854775809` as i128, expected any YAML value "
                "at line 1 column 4"
            ),
        ),
        (
            "workload:\n  a: !foo bar",
            "workload.a: invalid type: enum, expected any valid JSON value at line 2 column 6",
        ),
        (
            "w: [!foo [1]]",
            "w[0]: invalid type: enum, expected any valid JSON value at line 1 column 5",
        ),
        (
            "a: {{ x }}",
            "a: invalid type: map, expected a string key at line 1 column 5",
        ),
        ("? [1]\n: 2", "invalid type: sequence, expected a string key at line 1 column 3"),
        (
            "workload: {a: 1, a: 2}",
            'workload: duplicate entry with key "a" at line 1 column 11',
        ),
        (
            "- {}\n- b:\n    c: 1\n    c: 2",
            '[1].b: duplicate entry with key "c" at line 3 column 5',
        ),
        ("5: a\n5: b", 'duplicate entry with key "5" at line 1 column 1'),
        (
            "a: 1\n---\nb: 2",
            "deserializing from YAML containing more than one document is not supported",
        ),
        ("a: *nothing", "unknown anchor at line 1 column 4"),
        ("a: &self [*self]", "unknown anchor at line 1 column 11"),
        ("a: !!int x", "a: invalid value: string 'x', expected a int at line 1 column 4"),
        ("a: \ud800", "document contains characters that are not Unicode text"),
    ],
)
def test_refused_documents(text: str, message: str):
    assert message == refusal(text)


@pytest.mark.parametrize("text", ["a: [1", "a: b: c", "\t- x", "a: 'x", "a:\n- b\nc", "\x00", "%"])
def test_syntax_errors_say_where(text: str):
    assert refusal(text)


def test_a_syntax_error_names_line_and_column():
    with pytest.raises(DecodeError) as caught:
        compose("a: 1\nb: [1\nc: 2\n")

    assert (caught.value.problem.line, caught.value.problem.column) == (3, 2)


def test_keys_become_text():
    assert read("5: a\ntrue: b\n1.50: c\n'x': d\n~: e") == {
        "5": "a", "true": "b", "1.50": "c", "x": "d", "~": "e",
    }  # fmt: skip


def test_anchors_are_followed_and_merge_keys_are_not():
    assert read("a: &x {p: 1}\nb: *x\nc: {<<: *x}") == {
        "a": {"p": 1},
        "b": {"p": 1},
        "c": {"<<": {"p": 1}},
    }


def test_an_empty_document_is_null():
    assert read("") is None
    assert read("# only a comment\n") is None


def test_nodes_know_their_place():
    root = compose("a: 1\nb:\n  - c: 2\n")
    assert isinstance(root, MapNode)
    item = root.entries["b"].items[0]

    assert (item.line, item.column) == (3, 5)
    assert (item.entries["c"].line, item.entries["c"].column) == (3, 8)


def test_laughs_are_not_multiplied():
    levels = [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    text = "\n".join(["a0: &a0 [lol, lol, lol]", *levels])

    assert "repetition limit exceeded" in refusal(text)


def test_repeated_long_text_is_bounded():
    text = f"a: &a {'x' * 100_000}\nb: [{', '.join(['*a'] * 1000)}]"

    assert "repetition limit exceeded" in refusal(text)


def test_an_alias_is_made_once():
    value = read("a: &x {p: [1, 2]}\nb: *x")

    assert value["a"] is value["b"]


@pytest.mark.parametrize("opening", ["[", "{a: ", "? "])
def test_depth_is_bounded(opening: str):
    assert refusal(opening * 50_000)


def test_depth_of_a_valid_document_is_bounded():
    assert "nested deeper than 100 levels" in refusal("[" * 150 + "]" * 150)
    assert read("[" * 90 + "]" * 90)


def test_length_and_number_of_values_are_bounded():
    assert "longer than 10 characters" in refusal("a: " + "x" * 20, YamlLimits(max_chars=10))
    assert "more than 10 values" in refusal("[" + "1," * 20 + "]", YamlLimits(max_nodes=10))
