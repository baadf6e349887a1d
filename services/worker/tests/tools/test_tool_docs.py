"""The playbooks in the pages about tools are playbooks, and use the page's kind."""

import re
from pathlib import Path

import pytest
from noetl_engine.playbook import Pipeline, parse_playbook
from noetl_engine.playbook.lint import lint

PAGES = next(
    folder
    for parent in Path(__file__).resolve().parents
    if (folder := parent / "docs" / "tools").is_dir()
)
KINDS = (
    "artifact", "container", "http", "mcp", "nats", "playbook", "python", "result_fetch", "script",
    "shell", "sleep", "subscription", "wait", "wasm",
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_the_pages_playbook_is_valid(kind: str) -> None:
    text, *_ = re.findall(r"```yaml\n(.*?)```", (PAGES / f"{kind}.md").read_text(), re.DOTALL)

    playbook = parse_playbook(text)

    used = set()
    for step in playbook.steps.values():
        tasks = step.tool.tasks if isinstance(step.tool, Pipeline) else ()
        used |= {task.tool.kind for task in tasks} or {step.tool.kind}  # type: ignore[union-attr]
    assert kind in used
    # A secret may come with the caller's payload.
    assert {one.rule for one in lint(text)} <= {"undefined-name"}


def test_the_index_names_every_page() -> None:
    linked = set(re.findall(r"\(([a-z_]+)\.md\)", (PAGES / "README.md").read_text()))

    assert {page.stem for page in PAGES.glob("*.md")} - {"README"} <= linked
