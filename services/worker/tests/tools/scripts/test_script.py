"""The script tool against a server that speaks the few calls of a cluster it needs.

The server is no cluster, but it runs the job's command with the script and the environment that
were uploaded, so that what a container would see is really tried.
"""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from lightkube import KubeConfig
from noetl_testkit.waiting import eventually
from noetl_worker.bounded_http import open_tool_client
from noetl_worker.settings import Settings
from noetl_worker.tools.google_tokens import GoogleTokens
from noetl_worker.tools.registry import ToolRegistry
from noetl_worker.tools.scripts.script import Script
from noetl_worker.tools.scripts.source import ScriptSource
from noetl_worker.tools.tool import ToolContext, ToolError
from tool_server import Asked, Said, ToolServer, tool_server


def failure(status: int, message: str) -> Said:
    return Said({"kind": "Status", "code": status, "message": message}, status)


@dataclass
class Cluster:
    """Keeps objects by kind and name; a job runs when it is created."""

    directory: Path
    refused: str = ""
    status: dict[str, Any] | None = None
    objects: dict[str, dict[str, Any]] = field(default_factory=dict)
    output: bytes = b""
    exit_code: int = 0

    def answer(self, asked: Asked) -> Said:
        if asked.path == "/script.py":
            return Said(b"print('from a url')")
        assert asked.headers["authorization"] == "Bearer t0ken"
        return self.api(asked)

    def api(self, asked: Asked) -> Said:
        *_, kind, name = ["", *asked.path.strip("/").split("/")]
        if name == "log":
            return Said(self.output)
        if asked.method == "POST":
            return self.create(name, asked.json)
        if name == "pods":
            return Said({"kind": "PodList", "items": self.pods(asked.query["labelSelector"])})
        key = f"{kind}/{name}"
        if key not in self.objects:
            return failure(404, f"{key} not found")
        if asked.method == "DELETE":
            return Said(self.objects.pop(key))
        if asked.method == "PATCH":
            self.objects[key]["metadata"].update(asked.json["metadata"])
        return Said(self.objects[key])

    def create(self, kind: str, body: dict[str, Any]) -> Said:
        if kind == self.refused:
            return failure(403, f"{kind} is forbidden")
        body["metadata"]["uid"] = f"uid-{kind}"
        self.objects[f"{kind}/{body['metadata']['name']}"] = body
        if kind == "jobs":
            body["status"] = self.status if self.status is not None else self.run(body)
        return Said(body, 201)

    def run(self, job: dict[str, Any]) -> dict[str, Any]:
        pod = job["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        (volume,) = pod["volumes"]
        script = self.objects[f"configmaps/{volume['configMap']['name']}"]["data"]["script.py"]
        (self.directory / "script.py").write_text(script)
        env = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        for source in container.get("envFrom", []):
            env |= self.objects[f"secrets/{source['secretRef']['name']}"]["stringData"]
        command = [word.replace("/scripts/", f"{self.directory}/") for word in container["command"]]
        done = subprocess.run(command, env=env, capture_output=True, check=False)
        self.output, self.exit_code = done.stdout, done.returncode
        if self.exit_code:
            return {"failed": 1, "conditions": [{"type": "Failed", "status": "True"}]}
        return {"succeeded": 1, "conditions": [{"type": "Complete", "status": "True"}]}

    def pods(self, selector: str) -> list[dict[str, Any]]:
        job = selector.removeprefix("job-name=")
        if f"jobs/{job}" not in self.objects:
            return []
        state = {"terminated": {"exitCode": self.exit_code}}
        status = {"name": "script", "state": state, "image": "i", "imageID": "i", "ready": False,
                  "restartCount": 0}  # fmt: skip
        found = []
        for number in (2, 1):
            meta = {"name": f"{job}-{number}", "creationTimestamp": f"2026-01-0{number}T00:00:00Z"}
            found.append({"metadata": meta, "status": {"containerStatuses": [status]}})
        return found

    def left(self, kind: str) -> list[str]:
        return [name for name in self.objects if name.startswith(f"{kind}/")]


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster(tmp_path)


@pytest.fixture
def server(cluster: Cluster) -> Iterator[ToolServer]:
    with tool_server(cluster.answer) as running:
        yield running


def kube_config(url: str) -> KubeConfig:
    """What a kubeconfig file of a cluster with a token holds."""
    return KubeConfig.from_dict(
        {
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
            "clusters": [{"name": "k", "cluster": {"server": url}}],
            "users": [{"name": "u", "user": {"token": "t0ken"}}],
        }
    )


@pytest.fixture
async def script(server: ToolServer) -> AsyncIterator[Script]:
    async with open_tool_client(seconds=5, trust_env=False) as http:
        source = ScriptSource(http, GoogleTokens(http, Settings()), storage="http://127.0.0.1:1")
        yield Script(
            source,
            most_output=1000,
            load_config=lambda: kube_config(server.url),
            poll_seconds=0.01,
        )


@pytest.fixture
def context() -> ToolContext:
    return ToolContext(
        variables={"name": "it's"}, execution_id=7, step="a step!", server_url="",
        toolbox=ToolRegistry({}),
    )  # fmt: skip


CODE = """
import json, os, sys
print(json.loads(sys.argv[1]), os.environ.get("WHO"))
sys.exit(int(os.environ.get("CODE", 0)))
"""


async def test_what_a_job_prints_is_heard(
    script: Script, cluster: Cluster, server: ToolServer, context: ToolContext
) -> None:
    heard: list[tuple[str, bytes]] = []
    context.listener = lambda stream, data: heard.append((stream, data))

    await script.run({"script": {"type": "inline", "content": "print(1); print(2)"}}, context)

    assert heard == [("stdout", b"1\n"), ("stdout", b"2\n")]
    logs = [one for one in server.asked if one.path.endswith("/log")]
    assert [one.query.get("follow") for one in logs] == ["true", "false"]
    assert cluster.output == b"1\n2\n"


async def test_a_script_runs_as_a_job(
    script: Script, cluster: Cluster, server: ToolServer, context: ToolContext
) -> None:
    job = {"env": {"WHO": "me"}, "resources": {"limits": {"memory": "1Gi"}}, "namespace": "jobs"}
    config = {
        "script": {"type": "inline", "content": CODE},
        "job": job,
        "args": {"said": "{{ name }} $HOME"},
    }

    result = await script.run(config, context)

    name = result.data["job_name"]
    assert result.status == "success"
    assert result.data.pop("execution_time") >= 0
    assert result.data == {
        "status": "completed",
        "job_name": name,
        "namespace": "jobs",
        "pod_name": f"{name}-2",
        "output": "{'said': \"it's $HOME\"} me\n",
        "succeeded": 1,
        "failed": 0,
        "exit_code": 0,
    }
    assert name.startswith("noetl-script-7-")
    assert list(cluster.objects) == [f"jobs/{name}"]
    made = next(one.json for one in server.asked if one.path.endswith("/jobs"))
    spec = made["spec"]
    assert (spec["backoffLimit"], spec["ttlSecondsAfterFinished"]) == (3, 300)
    assert spec["activeDeadlineSeconds"] == 600
    (container,) = spec["template"]["spec"]["containers"]
    assert container["image"] == "python:3.11-slim"
    assert container["resources"]["limits"] == {"memory": "1Gi"}
    assert made["metadata"]["labels"] == {
        "noetl.execution-id": "7",
        "noetl.step-name": "a-step",
        "noetl.tool-kind": "script",
    }
    owners = [one.json for one in server.asked if one.method == "PATCH"]
    assert [one["metadata"]["ownerReferences"][0]["uid"] for one in owners] == ["uid-jobs"] * 2


async def test_a_failing_script_is_an_error_result(script: Script, context: ToolContext) -> None:
    config = {"script": {"type": "local", "content": CODE}, "job": {"env": {"CODE": "3"}}}

    result = await script.run(config, context)

    assert (result.status, result.error) == ("error", "Job failed with 1 failures")
    assert (result.data["status"], result.data["exit_code"]) == ("failed", 3)


async def test_a_script_from_a_url(
    script: Script, server: ToolServer, context: ToolContext
) -> None:
    config = {"script": {"type": "http", "uri": f"{server.url}/script.py"}}

    assert (await script.run(config, context)).data["output"] == "from a url\n"


async def test_dependencies_come_first(
    script: Script, cluster: Cluster, server: ToolServer, context: ToolContext
) -> None:
    cluster.status = {"succeeded": 1}
    job = {"install_dependencies": ["a>=1", "b; rm"]}

    await script.run({"script": {"type": "inline", "content": ""}, "job": job}, context)

    made = next(one.json for one in server.asked if one.path.endswith("/jobs"))
    (container,) = made["spec"]["template"]["spec"]["containers"]
    line = "pip install 'a>=1' 'b; rm' && python /scripts/script.py '{}'"
    assert container["command"] == ["/bin/sh", "-c", line]


async def test_long_output_is_cut(script: Script, context: ToolContext) -> None:
    config = {"script": {"type": "inline", "content": "print('x' * 5000)"}}

    output = (await script.run(config, context)).data["output"]

    assert output == "x" * 1000 + "\n[more output was dropped]"


LATE = {"failed": 1, "conditions": [{"type": "Failed", "status": "True",
        "reason": "DeadlineExceeded"}]}  # fmt: skip


@pytest.mark.parametrize(("status", "seconds"), [(LATE, 600), ({"active": 1}, 1)])
async def test_a_job_that_takes_too_long_is_ended(
    script: Script, cluster: Cluster, context: ToolContext, status: Any, seconds: int
) -> None:
    cluster.status = status
    config = {"script": {"type": "inline", "content": ""}, "job": {"timeout": seconds}}

    result = await script.run(config, context)

    assert (result.status, result.data["status"]) == ("error", "timeout")
    assert cluster.objects == {}


async def test_giving_up_ends_the_job(
    script: Script, cluster: Cluster, context: ToolContext
) -> None:
    cluster.status = {"active": 1}
    config = {"script": {"type": "inline", "content": ""}, "job": {"env": {"A": "1"}}}
    running = asyncio.create_task(script.run(config, context))
    await eventually(lambda: cluster.left("jobs"), what="the job")

    running.cancel()
    await asyncio.wait([running])

    assert running.cancelled()
    assert cluster.objects == {}


@pytest.mark.parametrize(
    ("kind", "what"), [("configmaps", "ConfigMap"), ("secrets", "Secret"), ("jobs", "Job")]
)
async def test_a_refusal_of_the_cluster_raises_and_leaves_nothing(
    script: Script, cluster: Cluster, context: ToolContext, kind: str, what: str
) -> None:
    cluster.refused = kind
    config = {"script": {"type": "inline", "content": ""}, "job": {"env": {"A": "1"}}}

    with pytest.raises(ToolError) as raised:
        await script.run(config, context)

    text = f"Configuration error: Failed to create K8s {what}: {kind} is forbidden"
    assert text == str(raised.value)
    assert cluster.objects == {}


async def test_a_job_that_vanishes_raises(
    script: Script, cluster: Cluster, server: ToolServer, context: ToolContext
) -> None:
    cluster.status = {"active": 1}
    config = {"script": {"type": "inline", "content": ""}}
    running = asyncio.create_task(script.run(config, context))
    await eventually(lambda: server.asked[-1:] and server.asked[-1].method == "GET", what="a look")
    cluster.objects.clear()

    with pytest.raises(ToolError, match=r"^Execution failed: script: the job '.*' can't be"):
        await running


async def test_without_a_cluster_it_raises(script: Script, context: ToolContext) -> None:
    script._load_config = lambda: KubeConfig.from_file("/missing")

    with pytest.raises(ToolError, match=r"^Configuration error: Failed to create K8s client: "):
        await script.run({"script": {"type": "inline", "content": ""}}, context)


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
    script: Script, server: ToolServer, context: ToolContext, config: Any, message: str
) -> None:
    with pytest.raises(ToolError) as raised:
        await script.run(config, context)

    assert message == str(raised.value)
    assert server.asked == []
