"""Every YAML and shell block of the documents is read, and run where nothing speaks against it.

All blocks are run at once, before the first test looks at one of them. Those that need logins are
run by `test_with_logins`.
"""

import importlib.util
from collections.abc import Iterator

import pytest
import yaml
from check import find_with
from fenced import ROOT, Block, all_blocks
from noetl_testkit.stack import Stack, register
from reading import Session, session_of
from spoken import strangers
from wholes import document_of, problems_of

# The first test waits for all executions and commands, which are some twenty processes of ours.
# What a block that isn't even parsed may not have.
_OURS = "noetl-server"
BLOCKS = all_blocks()
YAML = [one for one in BLOCKS if one.language == "yaml"]
DOCUMENTS = [one for one in YAML if one.is_document]
PARTS = [one for one in YAML if one.is_part]
VALUES = [one for one in YAML if one.marks.get("inside") == "helm values"]
SCRAPED = [one for one in YAML if one.marks.get("inside") == "prometheus"]
PLAYBOOKS = [one for one in DOCUMENTS if one.is_run and "kind: Playbook" in one.text]
REGISTERED = [one for one in DOCUMENTS if "registered" in one.marks]
PLUGINS = [one for one in DOCUMENTS if one.is_run and "kind: Plugin" in one.text]
COMMANDS = [one for one in BLOCKS if one.language == "sh"]
HERE = [one for one in BLOCKS if one.stack == "nats"]
RUN = [one for one in COMMANDS if one in HERE and one.is_run]


@pytest.fixture(scope="module")
def session(nats_stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    folder = tmp_path_factory.mktemp("readers")
    with nats_stack.client() as client:
        for block in PLUGINS:
            register(client, block.text)
    with session_of(nats_stack, [*PLAYBOOKS, *REGISTERED], HERE, folder) as session:
        yield session


def test_every_yaml_block_is_a_document_or_says_what_it_is_part_of() -> None:
    known = {one.place for one in [*DOCUMENTS, *PARTS, *VALUES, *SCRAPED]}
    loose = {one.place for one in YAML} - known

    assert not loose, "these need `<!-- inside: PLACE -->`"


def test_marks_say_of_each_block_how_it_is_proven() -> None:
    weaker = ("not run", "parsed", "registered", "read")
    strange = {
        one.place: one.marks
        for one in BLOCKS
        if len(one.marks.keys() & set(weaker)) > 1
        or ("parsed" in one.marks and one.language != "sh")
        or ("registered" in one.marks and one not in DOCUMENTS)
        or ("not run" in one.marks and (one.language != "sh" or _OURS in one.text))
    }

    assert strange == {}


@pytest.mark.parametrize("block", [*DOCUMENTS, *PARTS], ids=lambda block: block.place)
def test_a_document_has_nothing_wrong_and_nothing_without_effect(block: Block) -> None:
    text = document_of(block) if block in PARTS else block.text

    found = problems_of(text, is_part=block in PARTS)

    expected = {word for word in block.marks.get("told", "").split() if word}
    assert {one.rule for one in found} == expected, [one.told for one in found]


@pytest.mark.skipif(
    importlib.util.find_spec("helm_python") is None, reason="Helm has no build for this machine"
)
@pytest.mark.parametrize("block", VALUES, ids=lambda block: block.place)
def test_nothing_is_wrong_with_the_chart_for_the_values_of_a_page(block: Block) -> None:
    assert list(find_with(yaml.safe_load(block.text))) == []


@pytest.mark.parametrize("block", SCRAPED, ids=lambda block: block.place)
def test_a_file_of_prometheus_scrapes_what_is_there(block: Block) -> None:
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    for job in yaml.safe_load(block.text)["scrape_configs"]:
        fixed = [one for each in job.get("static_configs", []) for one in each["targets"]]
        asked = [one for each in job.get("dns_sd_configs", []) for one in each["names"]]
        hosts = {one.partition(":")[0] for one in [*fixed, *asked]}

        assert hosts <= services.keys()
        assert hosts or job["kubernetes_sd_configs"]
        assert not hosts or job["job_name"] == f"noetl-{hosts.pop()}"


@pytest.mark.parametrize("block", REGISTERED, ids=lambda block: block.place)
def test_a_playbook_that_is_not_started_is_taken_without_a_problem(
    session: Session, block: Block
) -> None:
    assert block.place not in session.refusals, session.refusals
    assert session.problems[block.place] == []


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
