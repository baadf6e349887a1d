"""The shell tool: real shells in real process groups."""

import asyncio
import contextlib
import os
from pathlib import Path
from typing import Any

import pytest
from noetl_testkit.waiting import eventually
from noetl_worker.interpreters.interpreter import Interpreter
from noetl_worker.tools.registry import ToolRegistry
from noetl_worker.tools.tool import ToolContext, ToolError, ToolResult


def make_context(toolbox: ToolRegistry, **changes: Any) -> ToolContext:
    return ToolContext(
        variables={"name": "wörld", "n": 3}, execution_id=7, step="s", server_url="",
        toolbox=toolbox, **changes,
    )  # fmt: skip


async def call(toolbox: ToolRegistry, config: dict[str, Any] | str, **changes: Any) -> ToolResult:
    if isinstance(config, str):
        config = {"command": config}
    return await toolbox.run("shell", config, make_context(toolbox, **changes))


async def test_a_command_gives_its_output_and_its_code(toolbox: ToolRegistry) -> None:
    command = "echo hello {{ name }}; printf 'no\\r\\nend' >&2; exit {{ n }}"

    result = (await call(toolbox, command)).to_json()

    assert result.pop("duration_ms") >= 0
    data = {"exit_code": 3, "stdout": "hello wörld\n", "stderr": "no\nend\n"}
    assert result == {
        "status": "error",
        "data": data,
        "error": "Command exited with code 3",
        **data,
    }


@pytest.mark.parametrize(
    ("config", "stdout"),
    [
        ("true", ""),
        ("printf x", "x\n"),
        ("yes | head -n 1", "y\n"),
        ("cat", ""),
        ({"command": "echo $A $B", "env": {"A": "1", "B": "{{ name }}"}}, "1 wörld\n"),
        ({"command": "pwd", "cwd": "/"}, "/\n"),
        ({"command": "echo ${BASH_VERSION:+is bash}", "shell": "bash"}, "is bash\n"),
        ("printf 'a\\377b'", "a\ufffdb\n"),
        ("echo quiet & sleep 0; wait", "quiet\n"),
        ("ls /dev/fd | wc -l", "4\n"),
    ],
)
async def test_what_a_command_prints(toolbox: ToolRegistry, config: Any, stdout: str) -> None:
    result = await call(toolbox, config)

    assert (result.status, result.stdout, result.stderr) == ("success", stdout, "")


async def test_the_environment_holds_nothing_of_the_workers(
    toolbox: ToolRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOETL_INTERNAL_API_TOKEN", "hidden")

    result = await call(toolbox, "env; cat /proc/$PPID/environ | tr '\\0' '\\n'")

    assert result.stdout is not None
    assert "HOME=" in result.stdout
    assert "hidden" not in result.stdout


async def test_a_signal_is_exit_code_minus_one(toolbox: ToolRegistry) -> None:
    result = await call(toolbox, "kill -9 $$")

    assert (result.status, result.exit_code) == ("error", -1)
    assert result.error == "Command exited with code -1"


def is_alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        os.kill(pid, 0)
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    return False


def pids_in(path: Path) -> list[int]:
    """Process ids that a command has written."""
    return [int(word) for word in path.read_text().split()] if path.exists() else []


async def started(path: Path, *, count: int) -> list[int]:
    await eventually(lambda: len(pids_in(path)) == count, what="the command's children")
    return pids_in(path)


# One child in the group, one in a group and session of its own.
FAMILY = "sleep 60 & echo $! >> {0}; setsid sleep 60 & echo $! >> {0}; "


@pytest.fixture
def pids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the file that a command writes two pids to; its time isn't up before that."""
    on_timeout = Interpreter._on_timeout

    def when_all_is_started(interpreter: Interpreter, run: Any) -> None:
        if len(pids_in(place)) < 2 and not run.done():
            asyncio.get_running_loop().call_later(0.01, when_all_is_started, interpreter, run)
        else:
            on_timeout(interpreter, run)

    place = tmp_path / "pids"
    monkeypatch.setattr(Interpreter, "_on_timeout", when_all_is_started)
    return place


@pytest.mark.parametrize("place", ["config", "lifted"])
async def test_the_timeout_ends_all_that_was_started(
    toolbox: ToolRegistry, pids: Path, place: str
) -> None:
    config: dict[str, Any] = {"command": "echo out; " + FAMILY.format(pids) + "wait"}
    if place == "config":
        config["timeout_seconds"] = 1
    else:
        config["timeout_seconds"] = 50

    result = (await call(toolbox, config, timeout=1 if place == "lifted" else None)).to_json()

    result.pop("duration_ms")
    assert result == {
        "status": "timeout", "error": "Execution timed out after 1 seconds", "stdout": "out\n",
    }  # fmt: skip
    assert [is_alive(pid) for pid in pids_in(pids)] == [False, False]


async def test_giving_up_ends_all_that_was_started(toolbox: ToolRegistry, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    running = asyncio.create_task(call(toolbox, FAMILY.format(pids) + "wait"))
    found = await started(pids, count=2)

    running.cancel()
    await asyncio.wait([running])

    await eventually(lambda: not any(map(is_alive, found)), what="their end")


async def test_what_is_left_behind_ends_with_the_command(
    toolbox: ToolRegistry, tmp_path: Path
) -> None:
    pids = tmp_path / "pids"

    result = await call(toolbox, FAMILY.format(pids) + "echo done")

    assert result.stdout == "done\n"
    assert [is_alive(pid) for pid in await started(pids, count=2)] == [False, False]


async def test_output_is_kept_up_to_a_limit(toolbox: ToolRegistry) -> None:
    result = await call(toolbox, "head -c 1000000 /dev/zero | tr '\\0' x")

    assert result.stdout is not None
    assert result.stdout.startswith("x" * (64 << 10) + "\n[")
    assert result.stdout.endswith(" more bytes were dropped]\n")


async def test_without_capture_the_workers_own_output_gets_it(
    toolbox: ToolRegistry, capsys: pytest.CaptureFixture[str]
) -> None:
    result = await call(toolbox, {"command": "echo one; echo two >&2", "capture": False})

    assert result.data == {"exit_code": 0, "stdout": "", "stderr": ""}
    assert capsys.readouterr() == ("one\n", "two\n")


INVALID = "Configuration error: Invalid shell config: "
SPAWN = "Process error: Failed to spawn process: No such file or directory (os error 2)"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, INVALID + "missing field `command`"),
        ({"command": ["ls"]}, INVALID + "invalid type: sequence, expected a string"),
        (
            {"command": "true", "capture": "no"},
            INVALID + 'invalid type: string "no", expected a boolean',
        ),
        (
            {"command": "true", "env": {"A": 1}},
            INVALID + "invalid type: integer `1`, expected a string",
        ),
        ({"command": "true", "shell": "/missing"}, SPAWN),
        ({"command": "true", "cwd": "/missing"}, SPAWN),
    ],
)
async def test_what_cannot_be_run_raises(
    toolbox: ToolRegistry, config: dict[str, Any], message: str
) -> None:
    with pytest.raises(ToolError) as raised:
        await call(toolbox, config)

    assert message == str(raised.value)


@pytest.mark.parametrize("shell", ["sh", "bash"])
async def test_neither_the_list_of_processes_nor_the_environment_shows_the_command(
    toolbox: ToolRegistry, shell: str
) -> None:
    command = "# password\ntr '\\0' ' ' < /proc/$$/cmdline; env | grep NOETL; exit {{ n }}"

    result = await call(toolbox, {"command": command, "shell": shell})

    assert "password" not in (result.stdout or "")
    assert "eval" in (result.stdout or "")
    assert "COMMAND=" not in (result.stdout or "")
    assert result.exit_code == 3
