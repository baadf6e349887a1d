"""Parts of stored results, read by their paths."""

from typing import Any

import pytest
from noetl_contract.json import encode, parse
from noetl_contract.tools.results import (
    Outline,
    Part,
    merge_labels,
    part_of,
    with_bodies_once,
    with_bodies_repeated,
)

DATA = {"before": 3, "rows": [{"id": 1}, [2, None]], "text": 'a"b', "none": None, "map": {"é": {}}}
LABELLED = {"one": {"n": 1, "same": "a"}, "two": {"m": [2], "same": "b"}}


def read(data: Any, *path: Any, most: int = 1 << 30) -> Part:
    """Return a part as it comes out of an answer."""
    return Part.from_json(part_of(encode({"data": data}), path, most=most).to_json())


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ((), DATA),
        (("before",), 3),
        (("none",), None),
        (("rows", 0, "id"), 1),
        (("rows", -1, 1), None),
        (("map", "é"), {}),
        ((None,), DATA),
        ((None, "text"), 'a"b'),
    ],
)
def test_a_path_leads_to_its_value(path: Any, value: Any) -> None:
    assert read(DATA, *path).value == value


@pytest.mark.parametrize(
    "path",
    [("absent",), ("rows", 2), ("rows", -3), ("before", "x"), ("none", 0), ("map", "é", "x")],
)
def test_a_part_that_is_not_there_has_neither_value_nor_outline(path: Any) -> None:
    assert read(DATA, *path) == Part(depth=len(path) - 1)


@pytest.mark.parametrize("data", [[1, 2], "text", 7, None, {}])
def test_data_of_any_kind_has_a_copy_of_itself_only_if_it_is_a_map(data: Any) -> None:
    assert read(data).value == data
    assert read(data, None) == (read(data) if data == {} else Part(depth=0)).but(
        depth=int(data == {})
    )


def test_labels_are_merged_as_in_a_result_that_travels_with_its_event() -> None:
    assert read(LABELLED).value == merge_labels(LABELLED)
    assert [read(LABELLED, name).value for name in ("n", "same", "one")] == [
        1, "b", LABELLED["one"]
    ]  # fmt: skip


def test_a_document_without_data_is_its_own_data() -> None:
    assert part_of(b'{"n": 1}', ("n",), most=9).bytes == 1


def test_a_large_part_is_outlined() -> None:
    data = {"n": 1, "rows": list(range(100)), "long": "x" * 5000, "few": {"a": 1}}

    assert read(data, most=100).outline == Outline(
        kind="map",
        bytes=len(encode(data)),
        length=4,
        entries={"n": 1, "few": {"a": 1}},
        keys=["n", "rows", "long", "few"],
    )
    assert read(data, "rows", most=100).outline == Outline(kind="list", bytes=291, length=100)
    assert read(data, "long", most=100).outline == Outline(kind="text", bytes=5002)
    many = read({str(number): number for number in range(2000)}, most=100).outline
    assert many is not None
    assert (many.length, many.keys) == (2000, None)
    assert 0 < len(many.entries) < 50


def test_a_name_behind_a_list_or_a_text_leads_to_its_outline() -> None:
    found = read(DATA, "rows", "results", "x")
    assert (found.depth, found.outline) == (1, Outline(kind="list", bytes=19, length=2))


@pytest.mark.parametrize("megabytes", [1, 15, 200])
def test_what_is_beside_a_part_is_never_parsed(megabytes: int) -> None:
    long = b"x" * (megabytes << 20)
    document = b'{"data": {"before": 1, "long": "%b", "behind": {"n": 2}}}' % long

    assert parse(part_of(document, ("behind", "n"), most=9).value) == 2
    assert part_of(document, ("absent",), most=9) == Part(depth=0)
    outline = part_of(document, (), most=1 << 20).outline
    assert outline is not None
    assert outline.keys == ["before", "long", "behind"]
    assert [*outline.entries] == ["before", "behind"]
    assert part_of(document, ("before",), most=9).bytes == 1


LONG = "x" * 90


def answer(body: Any) -> dict[str, Any]:
    return {"status_code": 200, "headers": {"a": "b"}, "body": body, "data": body}


@pytest.mark.parametrize(
    ("data", "stdout"),
    [
        (answer([LONG, 'é"']), f'["{LONG}","é\\""]'),
        (answer(LONG), LONG),
        (answer([1.5, None]), "[1.5,null]"),
        (answer({"base64": LONG}), None),
        ({"one": answer(LONG), "two": {"n": 1}}, None),
        ({"one": answer({"n": LONG}), "two": answer({"m": 3})}, None),
        ({"n": answer([LONG]), "m": 2}, None),
    ],
)
def test_a_body_is_stored_once_and_read_in_all_its_places(data: Any, stdout: Any) -> None:
    result = {"status": "success", "data": data, "exit_code": 0}
    result |= {} if stdout is None else {"stdout": stdout}

    once = with_bodies_once(result)
    document = encode(once)

    assert document.count(b"x" * 90) == encode(result).count(b"x" * 90) // (3 if stdout else 2)
    assert parse(with_bodies_repeated(document)) == result
    assert parse(part_of(document, (), most=1 << 20).value) == merge_labels(data)
    for label in [key for key, value in data.items() if isinstance(value, dict)]:
        assert parse(part_of(document, (label,), most=1 << 20).value) == data[label]


@pytest.mark.parametrize(
    "data",
    [[1], {"body": 1, "data": 1}, {**answer(1), "data": 2}, {"_copies": [None]}, "_copies"],
)
def test_other_results_stay_as_they_are(data: Any) -> None:
    result = {"status": "success", "data": data, "stdout": "_copies"}

    assert with_bodies_once(result) is result
    assert with_bodies_repeated(encode(result)) == encode(result)


def test_another_text_in_stdout_stays() -> None:
    result = {"status": "success", "data": answer([1]), "stdout": "printed"}

    assert parse(with_bodies_repeated(encode(with_bodies_once(result)))) == result
