"""Requirements of steps, found in any notation, and the linter's findings about them."""

import pytest
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


JOB = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: job, path: tests/job}
workflow:
- step: start
  tool:
    kind: script
    script: {type: inline, content: "# /// script\\n# dependencies = ['six']\\n# ///\\nimport six"}
  next: {arcs: [{step: end}]}
- step: end
  tool: {kind: noop}
"""


def test_a_script_in_a_job_has_no_libraries_of_ours() -> None:
    text = JOB.replace("kind: script", "kind: script\n    requirements: [six]")

    (only,) = libraries_of(compose(text))
    finding, _ = lint(text)

    assert only.named == "step 'start'"
    assert only.problem is not None
    assert "`requirements` can't be had by kind `script`: it runs in a Job" in only.problem
    assert (finding.rule, finding.severity) == ("libraries", Severity.ERROR)


def test_a_header_that_nobody_reads_is_a_warning() -> None:
    (finding,) = lint(JOB)

    assert libraries_of(compose(JOB)) == []
    assert (finding.rule, finding.severity) == ("libraries", Severity.WARNING)
    assert finding.message.startswith("nobody installs six, as the script's header asks")


@pytest.mark.parametrize("packages", ["image: of/our-own", "install_dependencies: [six]"])
def test_a_job_may_have_the_packages_of_a_header(packages: str) -> None:
    assert lint(JOB.replace("    script: {", f"    job: {{{packages}}}\n    script: {{")) == []


def test_what_is_no_playbook_asks_for_nothing() -> None:
    assert libraries_of(compose("- 1")) == []
