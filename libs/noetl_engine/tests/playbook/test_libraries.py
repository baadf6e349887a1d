"""What steps ask for, found in any notation, and what the linter says to it."""

from noetl_engine.playbook.libraries import libraries_of
from noetl_engine.playbook.lint import Severity, lint
from noetl_engine.playbook.yaml import compose

TEXT = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: libraries, path: tests/libraries}
workbook:
- name: shared
  tool: {kind: python, code: pass, requirements: [attrs]}
workflow:
- step: start
  tool:
    kind: python
    requirements: [pandas==2.3.3]
    code: pass
  next: {arcs: [{step: list}]}
- step: list
  tool:
  - name: first
    kind: python
    code: |
      # /// script
      # dependencies = ["six"]
      # ///
      import six
  - second: {kind: python, code: pass, requirements: [{a: b}]}
  - third: {kind: noop, requirements: [six]}
  next: {arcs: [{step: end}]}
- step: end
  tool: {kind: python, code: pass, libs: {json: json, pg: {from: psycopg.rows, import: x}, odd: 5}}
"""


def test_every_tool_is_looked_at() -> None:
    found = libraries_of(compose(TEXT))

    assert [(one.named, str(one.requirements)) for one in found if one.problem is None] == [
        ("step 'start'", "pandas==2.3.3"),
        ("step 'list', task 'first'", "six"),
        ("workbook action 'shared'", "attrs"),
    ]
    assert [one.named for one in found if one.problem is not None] == ["step 'list', task 'second'"]


def test_the_linter_names_what_has_no_sense() -> None:
    found = [finding for finding in lint(TEXT) if finding.rule == "libraries"]

    assert [(one.severity, one.path, one.line) for one in found] == [
        (Severity.ERROR, "workflow[1].tool[1].second", 24),
        (Severity.WARNING, "workflow[2].tool.libs", 28),
    ]
    assert "{'a': 'b'}" in found[0].message
    assert found[1].message == "'libs' brings no package for 'psycopg'"


def test_another_interpreter_has_no_libraries_of_ours() -> None:
    text = TEXT.replace("requirements: [pandas==2.3.3]", "requirements: [six]\n    python: python3")

    (first, *_) = libraries_of(compose(text))

    assert first.problem is not None
    assert "another interpreter" in first.problem


def test_what_is_no_playbook_asks_for_nothing() -> None:
    assert libraries_of(compose("- 1")) == []
