"""`noetl-server validate` and `schema`."""

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from noetl.main import app
from typer.testing import CliRunner

GOOD = """\
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: t, path: p/t}
workflow:
  - step: start
    tool: {kind: noop}
"""
DOUBTFUL = GOOD + "    nxt: end\n"
BROKEN = DOUBTFUL + "    next: nowhere\n"

runner = CliRunner()


def write(folder: Path, **texts: str) -> list[str]:
    paths = []
    for name, text in texts.items():
        path = folder / f"{name}.yaml"
        path.write_text(text)
        paths.append(str(path))
    return paths


def test_errors_name_file_line_and_column_and_the_code_is_1(tmp_path: Path) -> None:
    good, broken = write(tmp_path, good=GOOD, broken=BROKEN)
    result = runner.invoke(app, ["validate", good, broken])

    assert result.exit_code == 1
    assert f"{good}: ok\n" in result.output
    assert f"{broken}:7:5: warning: unknown key 'nxt' has no effect" in result.output
    assert f"{broken}:8:11: error: Step 'start' references unknown step" in result.output
    assert f"{broken}: 1 error, 1 warning\n" in result.output


def test_warnings_alone_leave_the_code_at_0(tmp_path: Path) -> None:
    result = runner.invoke(app, ["validate", *write(tmp_path, doubtful=DOUBTFUL)])

    assert result.exit_code == 0
    assert "1 warning" in result.output


def test_json_holds_every_finding(tmp_path: Path) -> None:
    result = runner.invoke(app, ["validate", "--json", *write(tmp_path, good=GOOD, bad=BROKEN)])
    good, bad = json.loads(result.output)

    assert result.exit_code == 1
    assert good["valid"]
    assert good["problems"] == []
    assert not bad["valid"]
    assert bad["problems"][1] == {
        "severity": "error",
        "rule": "rule",
        "message": "Step 'start' references unknown step 'nowhere' in next",
        "line": 8,
        "column": 11,
        "path": "workflow[0]",
        "hint": None,
    }


def test_standard_input_can_be_checked() -> None:
    assert runner.invoke(app, ["validate", "-"], input=GOOD).exit_code == 0
    assert runner.invoke(app, ["validate", "-"], input=BROKEN).exit_code == 1


@pytest.mark.parametrize("data", [None, b"\xff\xfe\x00"])
def test_what_cannot_be_read_is_named_beside_the_rest(tmp_path: Path, data: bytes | None) -> None:
    path = tmp_path / "file.yaml"
    if data is not None:
        path.write_bytes(data)
    (good,) = write(tmp_path, good=GOOD)
    result = runner.invoke(app, ["validate", str(path), good])

    assert result.exit_code == 1
    assert result.stdout == f"{good}: ok\n"
    assert str(path) in result.stderr


def test_the_schema_is_printed() -> None:
    result = runner.invoke(app, ["schema"])

    assert result.exit_code == 0
    Draft202012Validator.check_schema(json.loads(result.output))


def test_kinds_of_the_setting_are_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = write(tmp_path, other=GOOD.replace("noop", "wordcount"))
    assert runner.invoke(app, ["validate", *paths]).exit_code == 1

    monkeypatch.setenv("NOETL_EXTRA_TOOL_KINDS", "wordcount")
    assert runner.invoke(app, ["validate", *paths]).exit_code == 0
    assert "wordcount" in runner.invoke(app, ["schema"]).output
