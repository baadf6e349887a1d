"""Every YAML and shell block of the documents is read, and run where nothing speaks against it.

All blocks are run at once, before the first test looks at one of them.
"""

import json
from collections.abc import Iterator

import pytest
import yaml
from fenced import ROOT, Block, all_blocks
from jsonschema import Draft202012Validator
from noetl_testkit.stack import Stack, register
from readers import strangers
from reading import Session, session_of
from wholes import document_of, problems_of

# The first test waits for all executions and commands, which are some twenty processes of ours.
pytestmark = pytest.mark.timeout(300)

BLOCKS = all_blocks()
YAML = [one for one in BLOCKS if one.language == "yaml"]
DOCUMENTS = [one for one in YAML if one.is_document]
PARTS = [one for one in YAML if one.is_part]
VALUES = [one for one in YAML if one.marks.get("inside") == "helm values"]
PLAYBOOKS = [one for one in DOCUMENTS if one.is_run and "kind: Playbook" in one.text]
PLUGINS = [one for one in DOCUMENTS if one.is_run and "kind: Plugin" in one.text]
COMMANDS = [one for one in BLOCKS if one.language == "sh"]
RUN = [one for one in COMMANDS if one.is_run]


@pytest.fixture(scope="module")
def session(nats_stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    folder = tmp_path_factory.mktemp("readers")
    with nats_stack.client() as client:
        for block in PLUGINS:
            register(client, block.text)
    with session_of(nats_stack, PLAYBOOKS, BLOCKS, folder) as session:
        yield session


def test_every_yaml_block_is_a_document_or_says_what_it_is_part_of() -> None:
    known = {one.place for one in [*DOCUMENTS, *PARTS, *VALUES]}
    loose = {one.place for one in YAML if one.is_run} - known

    assert not loose, "these need `<!-- inside: PLACE -->` or `<!-- not run: REASON -->`"


@pytest.mark.parametrize("block", [*DOCUMENTS, *PARTS], ids=lambda block: block.place)
def test_a_document_has_nothing_wrong_and_nothing_without_effect(block: Block) -> None:
    text = document_of(block) if block in PARTS else block.text

    found = problems_of(text, is_part=block in PARTS)

    expected = {word for word in block.marks.get("told", "").split() if word}
    assert {one.rule for one in found} == expected, [one.told for one in found]


@pytest.mark.parametrize("block", VALUES, ids=lambda block: block.place)
def test_values_are_those_of_the_chart(block: Block) -> None:
    schema = json.loads((ROOT / "helm" / "noetl" / "values.schema.json").read_text())

    Draft202012Validator(schema).validate(yaml.safe_load(block.text))


@pytest.mark.parametrize("block", PLAYBOOKS, ids=lambda block: block.place)
def test_a_playbook_does_what_its_page_says(session: Session, block: Block) -> None:
    wanted = block.marks.get("ends", "COMPLETED")
    if wanted == "REFUSED":
        assert block.place in session.refusals
        return
    assert block.place in session.executions, session.refusals.get(block.place)

    found = session.outcome(block)

    status = "ERRORS" if found["soft_errors"] else found["status"]
    assert status == wanted, found["error"] or found
    if block.has_result:
        assert found["result"] == block.result


@pytest.mark.parametrize("block", RUN, ids=lambda block: block.place)
def test_commands_do_what_their_page_says(session: Session, block: Block) -> None:
    code, output = session.outputs[block.place]

    allowed = {int(one) for one in block.marks.get("exits", "0").split(" or ")}
    assert code in allowed, output


@pytest.mark.parametrize("block", COMMANDS, ids=lambda block: block.place)
def test_commands_and_their_options_exist(block: Block) -> None:
    assert not list(strangers(block.text))
