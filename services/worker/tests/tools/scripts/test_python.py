"""The python tool: configuration in, result out."""

import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from noetl_testkit.waiting import PATIENCE_SECONDS
from noetl_worker.bounded_http import open_tool_client
from noetl_worker.interpreters.pool import InterpreterPool
from noetl_worker.settings import Settings
from noetl_worker.tools.google_tokens import GoogleTokens
from noetl_worker.tools.registry import ToolRegistry
from noetl_worker.tools.scripts.python import Python
from noetl_worker.tools.scripts.source import ScriptSource
from noetl_worker.tools.tool import ToolContext, ToolError
from tool_server import Asked, Said, ToolServer, tool_server


def make_context(toolbox: ToolRegistry, **changes: Any) -> ToolContext:
    values: dict[str, Any] = {
        "variables": {"message": "hi", "n": 5, "workload": {"message": "hi"}},
        "execution_id": 7,
        "step": "start",
        "server_url": "http://edge",
        "toolbox": toolbox,
    }
    return ToolContext(**(values | changes))


async def test_arguments_are_rendered_and_become_globals(toolbox: ToolRegistry) -> None:
    config = {
        "input": {"message": "{{ message }}", "number": "{{ n }}"},
        "code": "print(f'said {message}')\nresult = {'n': number, 'same': input_data == args}",
    }

    result = (await toolbox.run("python", config, make_context(toolbox))).to_json()

    assert result.pop("duration_ms") >= 0
    assert result == {
        "status": "success",
        "data": {"n": 5, "same": True},
        "stdout": "said hi\n",
        "stderr": "",
        "exit_code": 0,
    }


async def test_code_is_rendered_a_second_time(toolbox: ToolRegistry) -> None:
    result = await toolbox.run(
        "python", {"code": "result = '{{ message }}'"}, make_context(toolbox)
    )

    assert result.data == "hi"


@pytest.mark.parametrize(
    ("code", "data"),
    [
        ("result = context['variables']['message']", "hi"),
        ("result = variables['n']", 5),
        ("result = globals()['vari' + 'ables']['n']", 5),
        ("exec('result = vari' + 'ables[\"n\"]')", 5),
        ("result = vars()['con' + 'text']['vari' + 'ables']['n']", 5),
        (
            "result = [context['server_url'], context['step'], execution_id]",
            ["http://edge", "start", 7],
        ),
    ],
)
async def test_scripts_see_the_variables(toolbox: ToolRegistry, code: str, data: Any) -> None:
    assert data == (await toolbox.run("python", {"code": code}, make_context(toolbox))).data


async def test_without_a_result_the_output_is_the_data(toolbox: ToolRegistry) -> None:
    result = await toolbox.run("python", {"code": "print('{\"a\": 1}')"}, make_context(toolbox))

    assert result.data == {"stdout": '{"a": 1}\n', "stderr": ""}


async def test_a_script_cut_short_gives_the_json_it_printed(toolbox: ToolRegistry) -> None:
    code = "print('{\"a\": 1}')\nsys.exit(2)"

    result = await toolbox.run("python", {"code": code}, make_context(toolbox))

    assert (result.status, result.data, result.exit_code) == ("error", {"a": 1}, 2)
    assert result.error == "Python script exited with code 2"


async def test_an_exception_is_an_error_result_with_its_traceback(toolbox: ToolRegistry) -> None:
    result = await toolbox.run("python", {"code": "x = {}\nx['k']"}, make_context(toolbox))

    assert (result.status, result.exit_code) == ("error", 1)
    assert result.stderr is not None
    assert "KeyError: 'k'" in result.stderr
    assert {"stdout": "", "stderr": result.stderr} == result.data


async def test_a_killed_script_has_exit_code_minus_one(toolbox: ToolRegistry) -> None:
    code = "import os; os.kill(os.getpid(), 9)"

    result = await toolbox.run("python", {"code": code}, make_context(toolbox))

    assert (result.status, result.exit_code) == ("error", -1)
    assert result.error == "Python script exited with code -1"


@pytest.mark.parametrize("place", ["config", "lifted"])
async def test_a_timeout_is_a_status_without_data(toolbox: ToolRegistry, place: str) -> None:
    config: dict[str, Any] = {"code": "while True: pass"}
    if place == "config":
        config["timeout_seconds"] = 1
    context = make_context(toolbox, timeout=1 if place == "lifted" else None)

    result = (await toolbox.run("python", config, context)).to_json()

    assert result.pop("duration_ms") >= 1000
    assert result == {"status": "timeout", "error": "Execution timed out after 1 seconds"}


INVALID = "Configuration error: Invalid python config: "
SCRIPT = "Configuration error: python script `source.type: "
MISSING_FILE = "No such file or directory"
SPAWN = "Process error: Failed to spawn Python process: "


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"code": 5}, INVALID + "invalid type: integer `5`, expected a string"),
        ({"code": "", "args": {}, "input": {}}, INVALID + "duplicate field `args`"),
        ({"code": "", "args": None}, INVALID + "invalid type: null, expected a map"),
        (
            {"code": "", "env": {"A": 1}},
            INVALID + "invalid type: integer `1`, expected a string",
        ),
        (
            {"code": "", "timeout_seconds": -1},
            INVALID + "invalid value: integer `-1`, expected u64",
        ),
        ({}, SCRIPT + "inline` has no `code`"),
        (
            {"script": {"source": {"type": "ftp"}}},
            SCRIPT + "ftp` is unknown; expected one of inline | file | gcs | http",
        ),
        ({"script": None}, SCRIPT + "inline` has no `code`"),
        (
            {"script": {"uri": "gs://bucket", "source": {"type": "gcs"}}},
            SCRIPT + "gcs` needs a `uri` like gs://bucket/object, got 'gs://bucket'",
        ),
        (
            {"script": {"uri": "http://x", "source": {"type": "http", "auth": "alias"}}},
            INVALID + "`script.source.auth` is not an `auth` object with a `type`",
        ),
        (
            {"script": {"uri": "/missing", "source": {"type": "file"}}},
            ("I/O error: python script file `/missing` could not be read: "
            f"[Errno 2] {MISSING_FILE}: '/missing'"),
        ),
        ({"code": "", "python": "/missing"}, SPAWN + MISSING_FILE + " (os error 2)"),
        ({"code": "", "cwd": "/missing"}, SPAWN + MISSING_FILE + " (os error 2)"),
        ({"code": "{{ 1 / }}"}, None),
    ],
)  # fmt: skip
async def test_a_wrong_configuration_raises(
    toolbox: ToolRegistry, config: dict[str, Any], message: str | None
) -> None:
    with pytest.raises(ToolError) as raised:
        await toolbox.run("python", config, make_context(toolbox))

    if message is None:
        assert str(raised.value).startswith("Template error: ")
    else:
        assert message == str(raised.value)


async def test_a_script_from_a_file_is_not_rendered(toolbox: ToolRegistry, tmp_path: Path) -> None:
    path = tmp_path / "script.py"
    path.write_text("result = '{{ message }}'")
    config = {"script": {"uri": str(path), "source": {"type": "file"}}}

    result = await toolbox.run("python", config, make_context(toolbox))

    assert result.data == "{{ message }}"


async def test_a_result_that_cannot_be_decoded_is_an_error(toolbox: ToolRegistry) -> None:
    code = "result = 1\nfor _ in range(5000): result = [result]"

    with pytest.raises(ToolError, match=r"^Result error: .* nested too deeply"):
        await toolbox.run("python", {"code": code}, make_context(toolbox))


@pytest.mark.parametrize("uri", ["/dev/zero", "/", "/missing/file.py", ""])
async def test_a_script_file_that_is_none_raises(toolbox: ToolRegistry, uri: str) -> None:
    config = {"script": {"uri": uri, "source": {"type": "file"}}}

    with pytest.raises(ToolError, match=r"^I/O error: python script file `.*` could not be read: "):
        await toolbox.run("python", config, make_context(toolbox))


async def test_a_script_file_is_read_by_the_scripts_process(
    toolbox: ToolRegistry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Ours can read more: its own environment, for one."""
    path = tmp_path / "script.py"
    path.write_text("result = 1")
    read = Path.read_text
    ours: list[Path] = []
    monkeypatch.setattr(
        Path, "read_text", lambda self, **options: (ours.append(self), read(self, **options))[1]
    )
    config = {"script": {"uri": str(path), "source": {"type": "file"}}}

    result = await toolbox.run("python", config, make_context(toolbox))

    assert (result.data, ours) == (1, [])


def answer_script(asked: Asked) -> Said:
    found = {
        "/script.py": b"result = '{{ message }}'",
        "/storage/v1/b/b/o/dir/a b.py": b"result = 4",
        "/header.py": b"# /// script\n# dependencies = ['noetl-none>=1']\n# ///\nimport noetl_none",
    }
    if asked.path not in found:
        return Said(b"x" * 400, 404)
    return Said(found[asked.path])


@pytest.fixture
def files() -> Iterator[ToolServer]:
    with tool_server(answer_script) as server:
        yield server


@pytest.fixture
async def python(interpreters: InterpreterPool, files: ToolServer) -> AsyncIterator[Python]:
    async with open_tool_client(seconds=PATIENCE_SECONDS, trust_env=False) as http:
        google = GoogleTokens(http, Settings())
        yield Python(interpreters, ScriptSource(http, google, storage=files.url))


async def test_a_script_from_a_url_is_not_rendered(
    python: Python, files: ToolServer, toolbox: ToolRegistry
) -> None:
    auth = {"type": "bearer", "token": "t"}
    source = {"type": "http", "endpoint": f"{files.url}/script.py", "method": "POST", "auth": auth}
    config = {"script": {"source": source}}

    assert (await python.run(config, make_context(toolbox))).data == "{{ message }}"

    (asked,) = files.asked
    assert (asked.method, asked.headers["authorization"]) == ("POST", "Bearer t")


async def test_the_header_of_a_script_from_a_url_is_named_where_an_import_fails(
    python: Python, files: ToolServer, toolbox: ToolRegistry
) -> None:
    source = {"type": "http", "endpoint": f"{files.url}/header.py"}

    result = await python.run({"script": {"source": source}}, make_context(toolbox))
    other = await python.run({"code": "import noetl_none"}, make_context(toolbox))

    assert result.error == (
        "Python script exited with code 1: its header asks for noetl-none>=1; "
        "of a fetched script only `requirements` count"
    )
    assert other.error == "Python script exited with code 1"


async def test_a_script_from_googles_storage(
    python: Python, files: ToolServer, toolbox: ToolRegistry
) -> None:
    config = {"script": {"uri": "gs://b/dir/a b.py", "source": {"type": "gcs"}}}

    assert (await python.run(config, make_context(toolbox))).data == 4

    (asked,) = files.asked
    assert asked.query == {"alt": "media"}
    # An emulator gets no token.
    assert "authorization" not in asked.headers


@pytest.mark.parametrize(("kind", "base"), [("http", "{url}"), ("gcs", "gs://b")])
async def test_a_script_that_is_not_there_raises(
    python: Python, files: ToolServer, toolbox: ToolRegistry, kind: str, base: str
) -> None:
    uri = f"{base.replace('{url}', files.url)}/missing"
    config = {"script": {"uri": uri, "source": {"type": kind}}}

    with pytest.raises(ToolError) as raised:
        await python.run(config, make_context(toolbox))

    text = f"{kind} fetch `{uri}` returned HTTP 404: {'x' * 300}"
    assert f"HTTP error: {text}" == str(raised.value)


@pytest.mark.parametrize("url", ["http://me:secret@127.0.0.1:1/x", "not a url", ""])
async def test_a_script_that_cannot_be_asked_for_raises(
    python: Python, toolbox: ToolRegistry, url: str
) -> None:
    config = {"script": {"source": {"type": "http", "endpoint": url}}}

    with pytest.raises(ToolError, match=r"^HTTP error: http fetch `.*` failed: ") as raised:
        await python.run(config, make_context(toolbox))

    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("code", "data"),
    [
        ("def main(a, b=2): return [a, b]", [1, 2]),
        ("def main(a, **rest): return rest", {"c": 3}),
        ("async def main(c): return c", 3),
        ("def main(missing): return 1", None),
        ("return a + c", 4),
        ("result = None\ndef main(): return 'main'", "main"),
        ("import datetime\nresult = {'d': datetime.date(2026, 1, 2)}", {"d": "2026-01-02"}),
    ],
)
async def test_how_a_script_gives_its_result(toolbox: ToolRegistry, code: str, data: Any) -> None:
    config = {"code": code, "args": {"a": 1, "c": 3}}

    result = await toolbox.run("python", config, make_context(toolbox))

    if data is None:
        assert {"stdout": "", "stderr": result.stderr} == result.data
    else:
        assert result.data == data


@pytest.mark.parametrize(
    ("code", "why"),
    [
        (
            "result = {'rows': 3, 'mean': float('nan')}",
            "result.mean is NaN: JSON has no such value",
        ),
        ("result = {'o': object()}", "result.o is a object (<object object at "),
        ("import sys\nprint('{\"a\": [1, NaN]}')\nsys.exit(0)", "result.a[1] is NaN: "),
    ],
)
async def test_a_result_without_json_is_an_error(
    toolbox: ToolRegistry, code: str, why: str
) -> None:
    with pytest.raises(ToolError) as raised:
        await toolbox.run("python", {"code": code}, make_context(toolbox))

    assert str(raised.value).startswith(f"Result error: {why}")


async def test_another_interpreter_is_started_for_its_script(toolbox: ToolRegistry) -> None:
    config = {"code": "result = sys.executable", "python": sys.executable}

    assert sys.executable == (await toolbox.run("python", config, make_context(toolbox))).data
