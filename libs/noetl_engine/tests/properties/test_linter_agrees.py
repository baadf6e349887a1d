"""For any text the parser refuses exactly the errors that the linter finds."""

import contextlib
import json
from pathlib import Path

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from noetl_engine.documents import kind_of
from noetl_engine.playbook import PlaybookError, parse_playbook
from noetl_engine.playbook.lint import PARSER_RULES, Finding, Severity, lint
from noetl_engine.playbook.yaml import YamlLimits
from random_documents import JSON, VALID, places, with_value

EXAMPLES = sorted((Path(__file__).parents[4] / "examples").glob("*.yaml"))
TEXTS = [
    yaml.safe_dump(VALID),
    *(text for path in EXAMPLES if kind_of(text := path.read_text()) == "playbook"),
]
LIMITS = YamlLimits(max_nodes=20_000)
LINES = st.sampled_from([line for text in TEXTS for line in text.splitlines()])
NOISE = st.text(alphabet=" \t\n:-[]{}'\"&*#|x%", max_size=3)


def refusals(text: str) -> list[str]:
    """The parser's messages, without the place that each of the linter's findings has."""
    try:
        parse_playbook(text, limits=LIMITS)
    except PlaybookError as error:
        return [problem.message.partition(" at line ")[0] for problem in error.problems]
    return []


def errors(text: str) -> list[Finding]:
    found = lint(text, limits=LIMITS)
    assert all(one.line >= 1 and one.column >= 1 and one.message for one in found)
    return [one for one in found if one.severity is Severity.ERROR and one.rule in PARSER_RULES]


def assert_agreement(text: str) -> None:
    refused = refusals(text)
    told = {one.message.partition(" at line ")[0] for one in errors(text)}

    assert bool(refused) == bool(told), text
    assert set(refused) <= told, text


@settings(max_examples=250)
@given(st.sampled_from(places(VALID)), JSON, st.sampled_from(places(VALID)), JSON)
def test_any_values_in_any_two_places(first: tuple, one: object, second: tuple, two: object):
    document = with_value(VALID, first, one)
    with contextlib.suppress(KeyError, IndexError, TypeError):
        # The first change may have taken the second place away.
        document = with_value(document, second, two)
    assert_agreement(yaml.safe_dump(document, allow_unicode=True))


@settings(max_examples=100)
@given(st.lists(st.sampled_from([path for path in places(VALID) if path]), max_size=4))
def test_any_keys_missing(paths: list[tuple]):
    document = json.loads(json.dumps(VALID))
    for path in paths:
        node = document
        try:
            for key in path[:-1]:
                node = node[key]
            del node[path[-1]]
        except (KeyError, IndexError, TypeError):
            continue
    assert_agreement(json.dumps(document))


@settings(max_examples=250)
@given(st.data())
def test_any_lines_moved_repeated_or_indented_otherwise(data: st.DataObject):
    lines = data.draw(st.sampled_from(TEXTS)).splitlines()
    for _ in range(data.draw(st.integers(1, 3))):
        position = data.draw(st.integers(0, len(lines) - 1))
        match data.draw(st.integers(0, 4)):
            case 0:
                lines.insert(position, data.draw(LINES))
            case 1:
                lines[position] = "  " + lines[position]
            case 2:
                lines[position] = lines[position].removeprefix("  ")
            case 3 if len(lines) > 1:
                del lines[position]
            case _:
                cut = data.draw(st.integers(0, len(lines[position])))
                lines[position] = lines[position][:cut] + data.draw(NOISE) + lines[position][cut:]
    assert_agreement("\n".join(lines))


@settings(max_examples=100)
@given(st.text() | st.text(alphabet="[]{}:,-?&*!|>'\"%#@` \n\tab1.~<", max_size=200))
def test_any_text(text: str):
    assert_agreement(text)


def test_the_texts_that_are_changed_are_valid():
    for text in TEXTS:
        assert refusals(text) == []
