"""A tool kind from a package of its own, installed beside the worker."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import orjson
import pytest
from noetl_engine.commands import build_command
from noetl_engine.playbook import PlaybookError, parse_playbook
from noetl_testkit.waiting import PATIENCE_SECONDS

ROOT = next(folder for folder in Path(__file__).resolve().parents if (folder / "Makefile").exists())
EXAMPLE = ROOT / "examples" / "third_party_tool"

# A worker's own way to its tools, in a process that has the package on its path.
PROGRAM = """
import asyncio, json, sys
from noetl_worker.interpreters.nursery import InterpreterLimits
from noetl_worker.interpreters.pool import InterpreterPool
from noetl_worker.settings import Settings
from noetl_worker.bounded_http import open_tool_client
from noetl_worker.tools.registry import load_tools
from noetl_worker.tools.tool import ToolContext, ToolParts
from noetl_worker.control_plane.edge import open_edge


async def main():
    settings = Settings()
    limits = InterpreterLimits(memory_bytes=0, file_bytes=0, output_bytes=0, result_bytes=0)
    pool = InterpreterPool(executable=None, limits=limits, size=1, keeping=None)
    async with open_tool_client(seconds=600) as http, open_edge(settings) as edge:
        parts = ToolParts(settings=settings, http=http, interpreters=pool, edge=edge)
        toolbox = load_tools(parts)
        action, variables, config = json.load(sys.stdin)
        context = ToolContext(
            variables=variables, execution_id=1, step="start", server_url="", toolbox=toolbox
        )
        result = await toolbox.run(action, config, context)
        print(json.dumps({"kinds": toolbox.kinds, "result": result.to_json()}))


asyncio.run(main())
"""


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the built and installed package."""
    found = ROOT / ".uv" / "bin" / "uv"
    uv = str(found) if found.exists() else shutil.which("uv")
    assert uv is not None, "uv is needed to install the example; make setup brings it"
    target = tmp_path_factory.mktemp("installed")
    # A copy: building leaves traces in the source.
    source = target.parent / "third_party_tool"
    shutil.copytree(EXAMPLE, source, dirs_exist_ok=True)
    command = [uv, "pip", "install", "--quiet", "--offline", "--no-deps", "--target", str(target)]
    done = subprocess.run(
        [*command, "--python", sys.executable, str(source)],
        capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return target


def test_a_playbook_runs_a_tool_from_another_package(installed: Path) -> None:
    text = (EXAMPLE / "wordcount.yaml").read_text()
    playbook = parse_playbook(text, more_kinds={"wordcount"})
    command = build_command(playbook.start, dict(playbook.workload))
    job = [command.tool_kind, command.context["render_context"], command.context["tool_config"]]
    environment = {"PYTHONPATH": str(installed), "PATH": os.environ["PATH"]}

    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input=orjson.dumps(job),
        env=environment,
        capture_output=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )

    assert done.returncode == 0, done.stderr.decode()
    answer = orjson.loads(done.stdout)
    assert {"python", "wordcount"} <= set(answer["kinds"])
    assert answer["result"] == {
        "status": "success",
        "data": {
            "words": 8,
            "unique": 5,
            "top": [{"word": "the", "count": 3}, {"word": "and", "count": 2}],
        },
    }


def test_the_control_plane_refuses_the_kind_until_it_is_named() -> None:
    with pytest.raises(PlaybookError) as raised:
        parse_playbook((EXAMPLE / "wordcount.yaml").read_text())

    assert raised.value.problems[0].hint == "unknown tool kind 'wordcount'"
