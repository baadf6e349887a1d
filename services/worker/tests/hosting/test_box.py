"""Rules for scripts: the calls they let through, and the report about a kernel without them."""

import dataclasses
import socket
from pathlib import Path
from typing import Any

import orjson
import pytest
from noetl_testkit.waiting import PATIENCE_SECONDS
from noetl_worker.hosting.host.box import features, landlock_version
from noetl_worker.interpreters.isolation import tell_isolation
from noetl_worker.interpreters.nursery import InterpreterLimits, ScriptBox
from noetl_worker.interpreters.pool import Keeping, interpreter_pool

needs_landlock = pytest.mark.skipif(
    landlock_version() < 4, reason=f"the kernel has Landlock of version {landlock_version()}"
)


async def result_of(limits: InterpreterLimits, box: ScriptBox, code: str, **args: Any) -> Any:
    job = {
        "code": code,
        "name": "<start>",
        "args": args,
        "execution_id": 7,
        "step": "start",
        "server_url": "",
    }
    async with interpreter_pool(
        executable=None,
        limits=dataclasses.replace(limits, box=box),
        size=1,
        warm=1,
        keeping=Keeping(1, 5),
    ) as pool:
        run = await pool.run(orjson.dumps(job), timeout=PATIENCE_SECONDS)
    return run.value if run.has_value else run.stderr


TRY = """
def tried(what):
    try:
        return what()
    except OSError as error:
        return type(error).__name__
"""


@needs_landlock
async def test_named_paths_are_readable_or_writable(
    interpreter_limits: InterpreterLimits, tmp_path: Path
) -> None:
    for name in ("read", "write", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("1")
    box = ScriptBox(read=(str(tmp_path / "read"),), write=(str(tmp_path / "write"),))
    code = TRY + (
        "result = {name: [tried(lambda: open(f'{place}/{name}/file').read()),"
        " tried(lambda: open(f'{place}/{name}/file', 'a').write('2'))]"
        " for name in ('read', 'write', 'other')}"
    )

    found = await result_of(interpreter_limits, box, code, place=str(tmp_path))

    assert found == {
        "read": ["1", "PermissionError"],
        "write": ["1", 1],
        "other": ["PermissionError", "PermissionError"],
    }


@needs_landlock
@pytest.mark.parametrize("allowed", [True, False])
async def test_only_named_ports_are_reached(
    interpreter_limits: InterpreterLimits, *, allowed: bool
) -> None:
    code = TRY + (
        "import socket\n"
        "result = tried(lambda: socket.create_connection(('127.0.0.1', port), 5).close())"
    )
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        box = ScriptBox(ports=(port,) if allowed else ())

        found = await result_of(interpreter_limits, box, code, port=port)

    assert found == (None if allowed else "PermissionError")


def test_older_kernels_enforce_less() -> None:
    assert not any(features(0, limits_network=True).values())
    assert features(3, limits_network=True) == {
        "files": True, "neighbours": True, "network": False, "signals": False,
    }  # fmt: skip
    assert all(features(6, limits_network=True).values())


def test_what_is_switched_off_is_told_so() -> None:
    assert not any(tell_isolation(None).values())
