"""Kinds of tools in playbooks, and the parts of a tool that travel unrendered."""

import pytest
from noetl_engine.commands.build import build_command
from noetl_engine.playbook import PlaybookError, parse_playbook
from playbook_texts import HEADER, end, start, workflow

FOREIGN = workflow(start(tool="tool: {kind: wordcount}"), end())
FOREIGN_TASK = workflow(start(tool="tool: [{a: {kind: wordcount}}, {name: b, kind: wordcount}]"))
FOREIGN_WORKBOOK = workflow(
    start(tool="tool: {kind: workbook, name: w}"),
    tail="workbook: [{name: w, tool: {kind: wordcount}}]\n",
)
RULES = "[{when: '{{ response.more }}', then: {next_call: {params: {page: '{{ 1 / }}'}}}}]"


@pytest.mark.parametrize("kind", ["mcp", "result_fetch"])
def test_kinds_that_only_the_worker_of_the_reference_knows_are_accepted(kind: str) -> None:
    playbook = parse_playbook(workflow(start(tool=f"tool: {{kind: {kind}}}")))

    assert playbook.start.tool.kind == kind


@pytest.mark.parametrize("text", [FOREIGN, FOREIGN_TASK, FOREIGN_WORKBOOK])
def test_other_kinds_are_accepted_only_when_they_are_named(text: str) -> None:
    with pytest.raises(PlaybookError):
        parse_playbook(text, more_kinds={"other"})

    assert "wordcount" in repr(parse_playbook(text, more_kinds={"wordcount"}))


def test_a_list_of_retry_rules_travels_unrendered() -> None:
    tool = f"tool: {{kind: http, url: '{{{{ u }}}}', retry: {RULES}}}"
    step = parse_playbook(workflow(start(tool=tool))).start
    task = f"tool: [{{a: {{kind: http, url: '{{{{ u }}}}', retry: {RULES}}}}}]"
    pipeline = parse_playbook(workflow(start(tool=task))).start

    single = build_command(step, {"u": "x"}).context["tool_config"]
    (entry,) = build_command(pipeline, {"u": "x"}).context["tool_config"]

    for config in (single, entry["a"]):
        assert config["url"] == "x"
        assert config["retry"][0]["when"] == "{{ response.more }}"


def test_another_retry_is_rendered() -> None:
    text = HEADER + "workflow: [{step: start, tool: {kind: noop, retry: {max_retries: '{{ n }}'}}}]"
    step = parse_playbook(text).start

    assert build_command(step, {"n": 2}).context["tool_config"]["retry"] == {"max_retries": 2}
