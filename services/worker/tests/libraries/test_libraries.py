"""Scripts with libraries: real wheels, the real uv, real interpreters."""

import asyncio
import dataclasses
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from noetl_contract.libraries.lock import LibraryLock
from noetl_contract.libraries.requirements import requirements_of
from noetl_testkit.waiting import PATIENCE_SECONDS
from noetl_testkit.wheels import make_wheel
from noetl_worker.bounded_http import open_tool_client
from noetl_worker.control_plane.edge import open_edge
from noetl_worker.hosting.host.box import landlock_version
from noetl_worker.interpreters.nursery import InterpreterLimits, ScriptBox
from noetl_worker.interpreters.pool import InterpreterPool
from noetl_worker.libraries.errors import LibrariesFailed
from noetl_worker.libraries.made import folder_of, library_pools
from noetl_worker.libraries.pools import LibraryPools
from noetl_worker.settings import Settings
from noetl_worker.tools.registry import ToolRegistry, load_tools
from noetl_worker.tools.tool import ToolContext, ToolError, ToolParts
from pydantic import SecretStr
from tool_server import Asked, Said, tool_server

SAID = "import noetlone, os\nresult = [noetlone.VERSION, noetlone.__file__, os.getpid()]"


@dataclasses.dataclass
class Index:
    """Wheels with their locks, and a folder of environments that the tests share."""

    wheels: Path
    made: Path
    locks: dict[str, LibraryLock]

    def settings(self, **changes: Any) -> Settings:
        values = {
            "libraries_index_url": SecretStr("none"),
            "libraries_find_links": (str(self.wheels),),
            "worker_libraries_directory": str(self.made),
            "worker_script_write_paths": (),
        }
        return Settings(**(values | changes))


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    place = tmp_path_factory.mktemp("index")
    index = Index(place / "wheels", place / "made", {})
    for version in ("1.0", "2.0"):
        wheel = make_wheel(index.wheels, "noetlone", version)
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        lock = f"noetlone=={version} --hash=sha256:{digest}\n"
        index.locks[version] = LibraryLock(lock=lock, python="3.13")
    return index


@asynccontextmanager
async def open_pools(settings: Settings, limits: InterpreterLimits) -> AsyncIterator[LibraryPools]:
    async with open_edge(settings) as edge:
        pools = library_pools(settings, edge, limits=limits)
        try:
            yield pools
        finally:
            await pools.close()


async def run(pools: LibraryPools, lock: LibraryLock, code: str, *, execution: int = 7) -> Any:
    job = {
        "code": code, "name": "<start>", "args": {}, "execution_id": execution, "step": "start",
        "server_url": "",
    }  # fmt: skip
    async with pools.interpreters(lock) as interpreters:
        ended = await interpreters.run(
            orjson.dumps(job), timeout=PATIENCE_SECONDS, execution=execution
        )
    return ended.value if ended.has_value else ended.stderr


async def test_two_versions_run_side_by_side(
    index: Index, interpreter_limits: InterpreterLimits
) -> None:
    async with open_pools(index.settings(), interpreter_limits) as pools:
        ran = await asyncio.gather(
            *(run(pools, lock, SAID, execution=n) for lock in index.locks.values() for n in (1, 2))
        )
        again = [await run(pools, index.locks["1.0"], SAID, execution=3) for _ in range(2)]

    assert [version for version, _, _ in ran] == ["1.0", "1.0", "2.0", "2.0"]
    assert len({file for _, file, _ in ran}) == 2
    assert len({pid for _, _, pid in ran}) == 4, "a process of two executions"
    assert again[0] == again[1], "the process of the execution's last script was kept"


@pytest.mark.skipif(not landlock_version(), reason="the kernel has no Landlock")
async def test_scripts_read_their_environment_and_change_nothing_in_it(
    index: Index, interpreter_limits: InterpreterLimits
) -> None:
    limits = dataclasses.replace(interpreter_limits, box=ScriptBox())
    code = (
        "import noetlone, os, subprocess, sys\n"
        "place = os.path.dirname(noetlone.__file__)\n"
        "def tried(what):\n"
        "    try:\n        return what() is not None\n"
        "    except OSError as error:\n        return type(error).__name__\n"
        "child = [sys.executable, '-c', 'import noetlone']\n"
        "result = [tried(lambda: open(noetlone.__file__, 'a')),\n"
        " tried(lambda: open(place + '/more.py', 'w')), tried(lambda: os.listdir(place + '/..')),\n"
        " subprocess.run(child, capture_output=True).returncode]"
    )

    async with open_pools(index.settings(), limits) as pools:
        found = await run(pools, index.locks["1.0"], code)

    assert found == ["PermissionError", "PermissionError", "PermissionError", 0]


async def test_what_can_t_be_made_says_why(
    index: Index, tmp_path: Path, interpreter_limits: InterpreterLimits
) -> None:
    lock = index.locks["1.0"]
    assert lock.lock is not None
    wrong = lock.model_copy(update={"lock": lock.lock[:-10] + "0" * 9 + "\n"})
    other = lock.model_copy(update={"python": "3.9"})
    small = index.settings(
        worker_libraries_directory=str(tmp_path / "small"), worker_libraries_bytes=10
    )

    async with (
        open_pools(index.settings(), interpreter_limits) as pools,
        open_pools(small, interpreter_limits) as narrow,
    ):
        with pytest.raises(LibrariesFailed, match="Hash mismatch"):
            await run(pools, wrong, SAID)
        with pytest.raises(LibrariesFailed, match=r"resolved for Python 3\.9"):
            await run(pools, other, SAID)
        with pytest.raises(LibrariesFailed, match="more than 10 bytes"):
            await run(narrow, lock, SAID)

    assert list((tmp_path / "small" / "environments").iterdir()) == []


def test_a_folder_that_scripts_may_change_is_refused(index: Index) -> None:
    settings = index.settings(worker_script_write_paths=(str(index.made.parent),))

    with pytest.raises(LibrariesFailed, match=f"is below {index.made.parent}"):
        folder_of(settings).prepare()


async def test_a_step_gets_the_lock_of_its_version(
    index: Index, interpreters: InterpreterPool, interpreter_limits: InterpreterLimits
) -> None:
    config = {"requirements": ["noetlone"], "code": "import noetlone\nresult = noetlone.VERSION"}
    wanted = requirements_of(config)
    assert wanted is not None
    lock = index.locks["2.0"]
    answers = {
        1: (Said(lock.model_dump()), "2.0"),
        2: (Said({"lock": None, "python": None, "reason": None}), "ModuleNotFoundError"),
        3: (Said({"error": "no route"}, status=404), "HTTP 404"),
        4: (Said({"reason": "step 'start': no index"}), "step 'start': no index; register"),
        5: (Said({"error": "x"}, status=500), "HTTP 500"),
    }

    def said(asked: Asked) -> Said:
        _, api, _, number, *rest = asked.path.split("/")
        assert (api, rest) == ("api", ["libraries", wanted.digest])
        return answers[int(number)][0]

    settings = index.settings()
    with tool_server(said) as server:
        async with (
            open_tool_client(seconds=PATIENCE_SECONDS, trust_env=False) as http,
            open_edge(settings) as edge,
            open_pools(settings, interpreter_limits) as pools,
        ):
            toolbox = load_tools(
                ToolParts(
                    settings=settings,
                    http=http,
                    interpreters=interpreters,
                    libraries=pools,
                    edge=edge,
                )
            )
            told = [await outcome_of(toolbox, config, server.url, n) for n in (1, 1, 2, 3, 4, 5)]

    assert told[0] == told[1]
    assert all(text in said for said, (_, text) in zip(told[1:], answers.values(), strict=True))
    assert len(server.asked) == 5, "an execution asks once"


async def outcome_of(
    toolbox: ToolRegistry, config: dict[str, Any], server_url: str, execution: int
) -> str:
    context = ToolContext(
        variables={}, execution_id=execution, step="start", server_url=server_url, toolbox=toolbox
    )
    try:
        result = await toolbox.run("python", config, context)
    except ToolError as error:
        return str(error)
    return str(result.data if result.error is None else result.stderr)


async def test_named_imports_are_there_before_the_script(toolbox: ToolRegistry) -> None:
    config = {
        "libs": {
            "js": "json",
            "now": {"from": "datetime", "import": "datetime"},
            "gone": "noetlgone",
            "taken": "math",
            "odd": 5,
        },
        "input": {"taken": 1},
        "code": "known = [js.dumps(1), now(2026, 1, 1).year, taken, 'odd' in globals()]\n"
        "result = [*known, 'gone' in globals()]",
    }
    context = ToolContext(
        variables={}, execution_id=1, step="start", server_url="", toolbox=toolbox
    )

    named = await toolbox.run("python", config, context)
    listed = await toolbox.run(
        "python", {"libs": ["os.path", 1], "code": "result = os.path.sep"}, context
    )

    assert named.data == ["1", 2026, 1, False, False]
    assert listed.data == "/"
