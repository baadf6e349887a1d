"""The script tool against a server with the few calls of a cluster that it makes.

The server is no cluster, but tests run the Job's command with the script and the environment that
were uploaded, so that what a container would see is really tried.
"""

import asyncio
import base64
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest
from noetl_contract.hints import EVERY_RUN
from noetl_testkit.waiting import PATIENCE_SECONDS, eventually
from noetl_worker import jsonb
from noetl_worker.bounded_http import open_tool_client
from noetl_worker.commands import Command
from noetl_worker.control_plane.result_stores import NotStored, StoredResult
from noetl_worker.run.results import reported_result
from noetl_worker.settings import Settings
from noetl_worker.tools.containers.callback import Callbacks
from noetl_worker.tools.containers.places import a_cluster
from noetl_worker.tools.containers.plan import SCRIPT_KIND
from noetl_worker.tools.google_tokens import GoogleTokens
from noetl_worker.tools.registry import ToolRegistry
from noetl_worker.tools.scripts.script import Script, ScriptEnds
from noetl_worker.tools.scripts.source import ScriptSource
from noetl_worker.tools.tool import ToolContext, ToolError, ToolResult, whole_result
from tool_server import Asked, Said, ToolServer, tool_server

sys.path.insert(0, str(Path(__file__).parent.parent / "containers"))
from cluster import Cluster, running_cluster

CODE = """
import json, os, sys
print(json.loads(sys.argv[1]), os.environ.get("WHO"))
sys.exit(int(os.environ.get("CODE", 0)))
"""


class Edge:
    """Takes callbacks and keeps them."""

    def __init__(self) -> None:
        self.bodies: list[Any] = []
        self.paths: list[str] = []

    async def call_json(
        self, method: str, path: str, body: Any, *, base: str | None = None
    ) -> tuple[int, Any]:
        assert (method, base) == ("POST", "http://edge")
        self.paths.append(path)
        self.bodies.append(orjson.loads(jsonb.encode(body)))
        return 202, {}


class Store:
    """Keeps large results."""

    inline_limit = 500

    def __init__(self) -> None:
        self.kept: list[bytes] = []
        self.refuses: list[NotStored] = []

    async def put(self, command: Command, document: bytes) -> StoredResult | None:
        assert (command.step, command.server_url) == ("a step!", "http://edge")
        if self.refuses:
            raise self.refuses.pop(0)
        self.kept.append(document)
        return StoredResult(ref="noetl://r/1", store="db", scope="execution")


@dataclass
class World:
    cluster: Cluster
    stack: AsyncExitStack
    directory: Path
    edge: Edge
    store: Store
    settings: Settings

    async def tool(self, *, worker: str = "me", watches: bool = True) -> Script:
        """Make the tool of a worker, which watches until the test ends, or not."""
        settings = self.settings.model_copy(update={"worker_id": worker})
        http = await self.stack.enter_async_context(
            open_tool_client(seconds=PATIENCE_SECONDS, trust_env=False)
        )
        source = ScriptSource(http, GoogleTokens(http, Settings()), storage="http://127.0.0.1:1")
        backend = a_cluster(settings, kind=SCRIPT_KIND, log_bytes=1000)
        ends = ScriptEnds(
            Callbacks(self.edge),  # type: ignore[arg-type]
            partial(reported_result, store=self.store),
        )
        script = Script(settings, source, backend, ends)
        self.stack.push_async_callback(script.close)
        if not watches:
            return script
        task = asyncio.create_task(script.watch())
        self.stack.callback(task.cancel)
        before = len(self.cluster.watches)
        await eventually(lambda: len(self.cluster.watches) >= before + 2)
        return script

    async def job(self) -> dict[str, Any]:
        """Wait for a Job with its Secret."""
        jobs, secrets = self.cluster.objects["jobs"], self.cluster.objects["secrets"]
        await eventually(lambda: bool(jobs) and jobs.keys() == secrets.keys(), what="the Job")
        return next(iter(jobs.values()))

    async def go(self) -> None:
        """Run the command of the Job as its container would."""
        job = await self.job()
        pod = job["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        data = self.cluster.objects["secrets"][job["metadata"]["name"]]["data"]
        texts = {name: base64.b64decode(value).decode() for name, value in data.items()}
        (mount,) = container["volumeMounts"]
        (volume,) = pod["volumes"]
        assert mount == {"name": volume["name"], "mountPath": "/scripts", "readOnly": True}
        (item,) = volume["secret"]["items"]
        (self.directory / item["path"]).write_text(texts[item["key"]])
        env = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        for one in container["env"]:
            env[one["name"]] = texts[one["valueFrom"]["secretKeyRef"]["key"]]
        words = [word.replace("/scripts/", f"{self.directory}/") for word in container["command"]]
        done = await asyncio.create_subprocess_exec(
            *words, env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
        self.cluster.log, _ = await done.communicate()
        await self.cluster.exit(job["metadata"]["name"], done.returncode or 0)

    async def told(self) -> dict[str, Any]:
        """Return the result of the first callback."""
        await eventually(lambda: bool(self.edge.bodies), what="the callback")
        found: dict[str, Any] = self.edge.bodies[0]["result"]
        return found


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with running_cluster() as cluster, AsyncExitStack() as stack:
        config = {
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
            "clusters": [{"name": "k", "cluster": {"server": cluster.url}}],
            "users": [{"name": "u", "user": {"token": "t0ken"}}],
        }
        (tmp_path / "config").write_bytes(orjson.dumps(config))
        settings = Settings(
            container_backend="kubernetes",
            container_kubeconfig=str(tmp_path / "config"),
            container_namespaces=("jobs",),
            container_takeover_seconds=0.1,
            worker_id="me",
        )
        yield World(cluster, stack, tmp_path, Edge(), Store(), settings)


@pytest.fixture
async def script(world: World) -> Script:
    return await world.tool()


@pytest.fixture
def server() -> Iterator[ToolServer]:
    def answer(_asked: Asked) -> Said:
        return Said(b"print('from a url')")

    with tool_server(answer) as running:
        yield running


@pytest.fixture
def context() -> ToolContext:
    return ToolContext(
        variables={"name": "it's", "command_id": "7:a step!:9"},
        execution_id=7,
        event_id=9,
        step="a step!",
        server_url="http://edge",
        toolbox=ToolRegistry({}),
    )


def inline(code: str = "", **job: Any) -> dict[str, Any]:
    return {"script": {"type": "inline", "content": code}, "job": job}


async def test_a_script_is_left_to_its_job_which_tells_the_result(
    script: Script, world: World, context: ToolContext
) -> None:
    job = {"env": {"WHO": "me"}, "resources": {"limits": {"memory": "1Gi"}}, "namespace": "jobs"}
    config = {**inline(CODE, **job), "args": {"said": "{{ name }} $HOME"}}

    result = await script.run(config, context)

    name = result.data["job_name"]
    assert (name, result.pending_callback) == ("noetl-script-7-9", True)
    assert [one.event_id for _, one in script.named()] == [9]
    await world.go()
    told = await world.told()
    assert world.edge.paths == ["/api/internal/container-callback/7/a%20step%21"]
    assert {key: world.edge.bodies[0][key] for key in ("state", "job_name", "command_id")} == {
        "state": "succeeded",
        "job_name": name,
        "command_id": "7:a step!:9",
    }
    assert told == {
        "status": "success",
        "context": {
            "status": "success",
            "data": {
                "status": "completed",
                "terminal_state": "succeeded",
                "job_name": name,
                "namespace": "jobs",
                "pod_name": f"{name}-x",
                "execution_time": 0.0,
                "output": "{'said': \"it's $HOME\"} me\n",
                "succeeded": 1,
                "failed": 0,
                "exit_code": 0,
            },
            "duration_ms": 0,
        },
    }
    made = world.cluster.objects["jobs"][name]
    assert (made["spec"]["backoffLimit"], made["spec"]["activeDeadlineSeconds"]) == (3, 600)
    (container,) = made["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "python:3.11-slim"
    assert container["resources"]["limits"] == {"memory": "1Gi", "cpu": "2.0"}
    assert made["metadata"]["labels"]["noetl.tool-kind"] == "script"
    await eventually(lambda: made["spec"].get("ttlSecondsAfterFinished") == 300)
    await eventually(lambda: script.named() == [])


async def test_no_call_is_made_while_a_script_runs(
    script: Script, world: World, context: ToolContext
) -> None:
    await script.run(inline(), context)
    await world.job()
    before = world.cluster.calls.copy()
    await world.cluster.run("noetl-script-7-9", {"running": {}})
    assert world.cluster.calls == before
    await world.go()
    await world.told()
    made = world.cluster.objects["jobs"]["noetl-script-7-9"]
    await eventually(lambda: "noetl.reported" in made["metadata"]["annotations"])

    assert world.cluster.calls - before == {
        "GET pods": 1,
        "GET secrets": 1,
        "log": 1,
        "PATCH jobs": 1,
    }


async def test_a_failing_script_is_an_error_result(
    script: Script, world: World, context: ToolContext
) -> None:
    await script.run(inline(CODE, env={"CODE": "3"}), context)
    await world.go()
    told = await world.told()

    assert (told["status"], told["context"]["error"]) == ("error", "Job failed with 1 failures")
    data = told["context"]["data"]
    assert (data["status"], data["exit_code"]) == ("failed", 3)


async def test_a_job_that_takes_too_long_says_so(
    script: Script, world: World, context: ToolContext
) -> None:
    await script.run(inline(), context)
    await world.job()
    await world.cluster.end("noetl-script-7-9", "Failed", "DeadlineExceeded")
    told = await world.told()

    assert told["context"]["data"]["status"] == "timeout"
    assert told["context"]["error"].startswith("Job failed with 1 failures: failed_timeout: ")


async def test_the_script_of_a_worker_that_is_gone_is_reported_by_another(
    world: World, context: ToolContext
) -> None:
    dead = await world.tool(worker="dead", watches=False)
    await dead.run(inline(CODE), context)
    await world.tool()
    await world.go()

    assert (await world.told())["status"] == "success"


async def test_a_large_result_goes_to_the_store(
    script: Script, world: World, context: ToolContext
) -> None:
    context.output_select = ["job_name"]
    await script.run(inline("print('x' * 900)"), context)
    await world.go()
    told = await world.told()

    assert told["context"]["data"] == {"_ref": "noetl://r/1", "job_name": "noetl-script-7-9"}
    (kept,) = world.store.kept
    assert orjson.loads(kept)["data"]["output"] == "x" * 900 + "\n"


async def test_a_result_that_the_store_refuses_for_good_is_told_once(
    script: Script, world: World, context: ToolContext
) -> None:
    world.store.refuses = [NotStored("the result store answered 413: too large")]
    await script.run(inline("print('x' * 900)"), context)
    await world.go()

    assert await world.told() == {"status": "success"}
    (body,) = world.edge.bodies
    assert body["error"].startswith("Result not stored: the result of step 'a step!' has ")
    assert body["error"].endswith("is lost: the result store answered 413: too large")
    await eventually(lambda: not script.named(), what="nothing is left to report")
    assert (len(world.edge.bodies), world.store.kept) == (1, [])


async def test_a_store_that_is_away_is_asked_again(
    script: Script, world: World, context: ToolContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("noetl_worker.tools.containers.watcher._AGAIN_SECONDS", 0.01)
    world.store.refuses = [NotStored("no answer from the result store: away", may_pass=True)] * 2
    await script.run(inline("print('x' * 900)"), context)
    await world.go()

    assert (await world.told())["context"]["data"]["_ref"] == "noetl://r/1"
    assert (len(world.store.kept), world.store.refuses) == (1, [])


async def test_what_the_keychain_brings_is_masked(
    script: Script, world: World, context: ToolContext
) -> None:
    context.keychain = {"db": {"dsn": "pg://geheim"}}
    config = {**inline(CODE, env={"WHO": "{{ keychain.db.dsn }}"}), "args": {"n": 1}}
    await script.run(config, context)
    await world.go()

    output = (await world.told())["context"]["data"]["output"]
    assert output == "{'n': 1} [REDACTED]\n"


@pytest.mark.parametrize("change", [{"is_rendered": True}, {"may_park": False}])
async def test_a_run_that_needs_the_end_waits_for_it_alone(
    script: Script, world: World, context: ToolContext, change: dict[str, Any]
) -> None:
    running = asyncio.create_task(script.run(inline(CODE), replace(context, **change)))
    job = await world.job()
    assert job["spec"]["ttlSecondsAfterFinished"] == 300
    assert script.named() == []
    await world.go()
    result: ToolResult = await running

    assert (result.status, result.pending_callback) == ("success", False)
    assert result.data["output"] == "{} None\n"
    assert world.edge.bodies == []


async def test_what_only_a_lost_run_waited_for_is_told_to_nobody(
    world: World, context: ToolContext
) -> None:
    dead = await world.tool(worker="dead", watches=False)
    lost = asyncio.create_task(dead.run(inline(), replace(context, is_rendered=True)))
    await world.job()
    (name,) = world.cluster.objects["jobs"]
    script = await world.tool()
    await world.cluster.exit(name, 0)
    await script.run(inline(), context)
    await world.cluster.exit("noetl-script-7-9", 0)
    await world.told()
    lost.cancel()
    await asyncio.wait([lost])

    assert [one["job_name"] for one in world.edge.bodies] == ["noetl-script-7-9"]


async def test_giving_up_ends_the_job(script: Script, world: World, context: ToolContext) -> None:
    running = asyncio.create_task(script.run(inline(), replace(context, is_rendered=True)))
    await world.job()

    running.cancel()
    await asyncio.wait([running])

    assert running.cancelled()
    assert world.cluster.objects["jobs"] == {}
    assert world.edge.bodies == []


async def test_a_command_that_is_over_takes_its_job_with_it(
    script: Script, world: World, context: ToolContext
) -> None:
    await script.run(inline(), context)
    await world.job()
    script.stop(9, attempts=EVERY_RUN)

    await eventually(lambda: not world.cluster.objects["jobs"])
    assert world.edge.bodies == []


async def test_what_a_job_prints_is_heard_until_its_end(
    script: Script, world: World, context: ToolContext
) -> None:
    heard: list[tuple[str, bytes]] = []
    closed = asyncio.Event()

    async def close() -> None:
        assert not world.edge.bodies, "the end is told after its lines"
        closed.set()

    context.listener = lambda stream, data: heard.append((stream, data))
    context.close_output = close
    world.cluster.log = b"1\n2\n"
    await script.run(inline(), context)
    await world.job()
    await world.cluster.run("noetl-script-7-9", {"running": {}})
    await eventually(lambda: len(heard) == 2, what="its lines")
    assert not closed.is_set()
    await world.cluster.exit("noetl-script-7-9", 0)
    await world.told()

    assert heard == [("stdout", b"1\n"), ("stdout", b"2\n")]
    assert closed.is_set()


async def test_a_script_from_a_url(
    script: Script, world: World, server: ToolServer, context: ToolContext
) -> None:
    config = {"script": {"type": "http", "uri": f"{server.url}/script.py"}}
    await script.run(config, context)
    await world.go()

    assert (await world.told())["context"]["data"]["output"] == "from a url\n"


async def test_dependencies_come_first(script: Script, world: World, context: ToolContext) -> None:
    await script.run(inline(install_dependencies=["a>=1", "b; rm"]), context)

    (container,) = (await world.job())["spec"]["template"]["spec"]["containers"]
    line = "pip install 'a>=1' 'b; rm' && python /scripts/script.py \"$NOETL_SCRIPT_ARGS\""
    assert container["command"] == ["/bin/sh", "-c", line]


async def test_of_a_long_output_the_end_is_kept(
    script: Script, world: World, context: ToolContext
) -> None:
    await script.run(inline("for n in range(1000): print(n)"), context)
    await world.go()
    await world.told()

    (kept,) = world.store.kept
    output = orjson.loads(kept)["data"]["output"]
    assert output.startswith("[earlier output was dropped]\n")
    assert output.endswith("\n998\n999\n")


@pytest.mark.parametrize(("kind", "what"), [("secrets", "Secret of the Job"), ("jobs", "Job")])
async def test_a_refusal_of_the_cluster_raises_and_leaves_nothing(
    script: Script, world: World, context: ToolContext, kind: str, what: str
) -> None:
    world.cluster.refuses = kind

    with pytest.raises(ToolError) as raised:
        await script.run(inline(env={"A": "1"}), context)

    text = f"Execution failed: script: {what} create failed in namespace 'noetl': {kind} is forb"
    assert str(raised.value).startswith(text)
    assert world.cluster.objects["jobs"] == {}


@pytest.mark.parametrize(
    ("job", "message"),
    [
        ({"namespace": "kube-system"}, "namespace 'kube-system' is not in NOETL_CONTAINER_NAM"),
        ({"image": "evil:1"}, "image 'evil:1' is not allowed by NOETL_CONTAINER_IMAGES"),
        (
            {"resources": {"limits": {"cpu": "9"}}},
            "cpu 9 is more than NOETL_CONTAINER_CPU_MAX, 2",
        ),
        ({"timeout": 10**9}, "job.timeout 1000000000 is more than NOETL_CONTAINER_SECONDS_MAX"),
    ],
)
async def test_what_a_worker_does_not_allow_is_refused_by_its_name(
    world: World, context: ToolContext, job: dict[str, Any], message: str
) -> None:
    world.settings = world.settings.model_copy(update={"container_images": ("python:*",)})
    script = await world.tool()

    with pytest.raises(ToolError) as raised:
        await script.run(inline(**job), context)

    assert str(raised.value).startswith(f"Configuration error: script: {message}")


async def test_without_a_cluster_it_raises(world: World, context: ToolContext) -> None:
    source = ScriptSource(None, None, storage="")  # type: ignore[arg-type]
    ends = ScriptEnds(Callbacks(world.edge), whole_result)  # type: ignore[arg-type]
    script = Script(Settings(), source, None, ends)

    assert not script.is_available
    with pytest.raises(ToolError, match=r"^Configuration error: Failed to create K8s client: "):
        await script.run(inline(), context)


CONFIG = "Configuration error: Invalid script config: "


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, CONFIG + "missing field `script`"),
        ({"script": {}}, CONFIG + "missing field `type`"),
        (
            {"script": {"type": "ftp"}},
            CONFIG
            + "unknown variant `ftp`, expected one of `gcs`, `s3`, `http`, `local`, `inline`",
        ),
        (
            {"script": {"type": "s3"}},
            (
                "Configuration error: script type 's3' is not supported: "
                "use type http with a signed URL"
            ),
        ),
        (
            {"script": {"type": "inline"}},
            "Configuration error: script type 'inline' requires `content`",
        ),
        (
            {"script": {"type": "inline", "content": "x" * 1_000_001}},
            "Configuration error: the script has more than 1000000 bytes",
        ),
        (
            {"script": {"type": "inline", "content": ""}, "job": {"install_dependencies": "a"}},
            CONFIG + 'invalid type: string "a", expected a sequence',
        ),
    ],
)
async def test_a_wrong_configuration_raises(
    script: Script, world: World, context: ToolContext, config: Any, message: str
) -> None:
    with pytest.raises(ToolError) as raised:
        await script.run(config, context)

    assert message == str(raised.value)
    assert world.cluster.calls["POST jobs"] == 0
