"""Containers as Jobs, against a server with the calls of a cluster that the tool makes."""

import asyncio
import base64
import json
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from lightkube import KubeConfig
from noetl_contract.hints import EVERY_RUN
from noetl_testkit.waiting import eventually
from noetl_worker.tools.containers.backend import BackendError, Condition, Ending
from noetl_worker.tools.containers.callback import body_of
from noetl_worker.tools.containers.kubernetes.backend import KubernetesBackend
from noetl_worker.tools.containers.kubernetes.objects import job_of
from noetl_worker.tools.containers.plan import GPU, Mount, Origin, Plan
from noetl_worker.tools.containers.watcher import Watcher
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

sys.path.insert(0, str(Path(__file__).parent))
from cluster import MOMENT, Cluster, running_cluster

PLAN = Plan(
    name="noetl-container-train-7-a",
    namespace="jobs",
    image="proof:1",
    origin=Origin(
        execution_id=7,
        event_id=10,
        command_id="7:train:10",
        step="train",
        callback="http://7.10:1.mac@edge",
        pool="gpu",
        worker="me",
    ),
    command=("/bin/run",),
    env={"PASSWORD": "geheim1234", "LEVEL": "high"},
    env_refs={"DSN": ("of-playbooks", "dsn")},
    hidden=("PASSWORD",),
    limits={"cpu": "1", "memory": "64Mi", GPU: "1"},
    mounts=(Mount("volume-0", "/scratch", None), Mount("volume-1", "/d", "data", True)),
    node_selector={"pool": "gpu"},
    timeout_seconds=60,
    ttl_seconds=5,
)
NAME = PLAN.name


@dataclass
class World:
    cluster: Cluster
    stack: AsyncExitStack
    reports: list[Ending] = field(default_factory=list)

    def backend(self) -> KubernetesBackend:
        config = KubeConfig.from_dict(
            {
                "current-context": "c",
                "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
                "clusters": [{"name": "k", "cluster": {"server": self.cluster.url}}],
                "users": [{"name": "u", "user": {"token": "t0ken"}}],
            }
        )
        made = KubernetesBackend(
            lambda: config,
            kind="container",
            pool="gpu",
            namespaces=("jobs",),
            log_bytes=100,
            node_seconds=0.05,
        )
        self.stack.push_async_callback(made.close)
        return made

    async def watch(
        self, backend: KubernetesBackend, *, worker: str = "me", stuck_seconds: float = 0.05
    ) -> Watcher:
        """Run a watcher until the test ends."""

        async def report(ending: Ending) -> bool:
            self.reports.append(ending)
            return True

        watcher = Watcher(
            backend, report, worker=worker, takeover_seconds=0.1, poll_seconds=600,
            stuck_seconds=stuck_seconds,
        )  # fmt: skip
        task = asyncio.create_task(watcher.run())
        self.stack.callback(task.cancel)
        before = len(self.cluster.watches)
        await eventually(lambda: len(self.cluster.watches) >= before + 2)
        return watcher

    async def reported(self) -> Ending:
        await eventually(lambda: bool(self.reports))
        return self.reports[0]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with running_cluster() as cluster, AsyncExitStack() as stack:
        yield World(cluster, stack)


def test_a_job_has_known_fields_no_privileges_and_no_secret_in_it() -> None:
    job = job_of(PLAN, user="1000:1000", node_seconds=300).to_dict()
    folder = files("kubernetes_validate") / "kubernetes-json-schema" / "v1.36.0-local-strict"
    definitions = json.loads((folder / "_definitions.json").read_text())
    registry = Resource.from_contents(definitions, DRAFT202012) @ Registry()
    schema = json.loads((folder / "job-batch-v1.json").read_text())

    wrong = list(Draft202012Validator(schema, registry=registry).iter_errors(job))
    assert [error.message for error in wrong] == []
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "privileged": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsUser": 1000,
        "runAsGroup": 1000,
    }
    assert pod["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
    assert [set(one) - {"name"} for one in pod["volumes"]] == [
        {"emptyDir"},
        {"persistentVolumeClaim"},
    ]
    text = json.dumps(job)
    assert "geheim1234" not in text
    assert "mac@edge" not in text
    assert "ttlSecondsAfterFinished" not in job["spec"]


def test_a_claim_that_is_mounted_twice_is_one_volume() -> None:
    mounts = (Mount("volume-0", "/a", "data"), Mount("volume-1", "/b", "data", True))
    pod = job_of(replace(PLAN, mounts=mounts), user="", node_seconds=300).to_dict()["spec"][
        "template"
    ]["spec"]

    claim = {"claimName": "data"}
    assert pod["volumes"] == [{"name": "volume-0", "persistentVolumeClaim": claim}]
    assert pod["containers"][0]["volumeMounts"] == [
        {"name": "volume-0", "mountPath": "/a"},
        {"name": "volume-0", "mountPath": "/b", "readOnly": True},
    ]


async def test_a_repeated_start_finds_the_job_and_completes_what_is_missing(world: World) -> None:
    first = await world.backend().start(PLAN)
    del world.cluster.objects["secrets"][NAME]
    again = await world.backend().start(PLAN)

    assert first == again
    assert list(world.cluster.objects["jobs"]) == [NAME]
    secret = world.cluster.objects["secrets"][NAME]
    assert base64.b64decode(secret["data"]["env.PASSWORD"]) == b"geheim1234"
    assert secret["metadata"]["ownerReferences"][0]["uid"] == first.uid


async def test_an_end_costs_few_calls_and_gives_the_job_its_time_to_live(world: World) -> None:
    backend = world.backend()
    await world.watch(backend)
    await backend.start(PLAN)
    await world.cluster.run(NAME, {"running": {}})
    world.cluster.log = b"x" * 150 + b"\nlevel high, password geheim1234\n"
    world.cluster.calls.clear()
    await world.cluster.exit(NAME, 0)
    ending = await world.reported()
    job = world.cluster.objects["jobs"][NAME]
    await eventually(lambda: "noetl.reported" in job["metadata"]["annotations"])

    body = body_of(ending)
    assert (body["state"], body["exit_code"], body["duration_ms"]) == ("succeeded", 0, 0)
    assert body["command_id"] == "7:train:10"
    assert (body["logs"], body["logs_truncated"]) == ("level high, password [REDACTED]\n", True)
    assert job["spec"]["ttlSecondsAfterFinished"] == 5
    assert world.cluster.calls == {"GET pods": 1, "GET secrets": 1, "log": 1, "PATCH jobs": 1}


@pytest.mark.parametrize(
    ("end", "state"),
    [
        (("exit", 3, "Error"), "failed"),
        (("exit", 137, "OOMKilled"), "failed_oom"),
        (("end", "Failed", "DeadlineExceeded"), "failed_timeout"),
        (("end", "Failed", "BackoffLimitExceeded"), "failed_node_lost"),
    ],
)
async def test_ends_have_names(world: World, end: tuple[Any, ...], state: str) -> None:
    backend = world.backend()
    await world.watch(backend)
    await backend.start(PLAN)
    await getattr(world.cluster, end[0])(NAME, *end[1:])

    assert (await world.reported()).state == state


NO_ROOM = "The node was low on resource: memory. Container main was using 4752Ki."
EVICTED = {"phase": "Failed", "reason": "Evicted", "message": f"{NO_ROOM} "}
KILLED = {"exitCode": 137, "reason": "Error", "startedAt": MOMENT, "finishedAt": MOMENT}
BY_KUBELET = {"type": "DisruptionTarget", "status": "True", "reason": "TerminationByKubelet"}


@pytest.mark.parametrize(
    "status",
    [
        {**EVICTED, "containerStatuses": None},  # older kubelets forget the container with it
        {**EVICTED, "conditions": [BY_KUBELET]},
    ],
)
async def test_a_pod_that_its_node_sends_away_says_why(
    world: World, status: dict[str, Any]
) -> None:
    backend = world.backend()
    await world.watch(backend)
    await backend.start(PLAN)
    pod = await place_on(world, "full")
    await world.cluster.put("pods", pod)
    pod["status"]["containerStatuses"][0]["state"] = {"terminated": KILLED}
    pod["status"] |= status
    await world.cluster.put("pods", pod)
    await world.cluster.end(NAME, "Failed", "BackoffLimitExceeded")
    ending = await world.reported()

    assert ending.state == "failed_node_lost"
    assert ending.reason == f"its node 'full' has sent it away: Evicted: {NO_ROOM}"


async def test_a_pod_that_its_node_does_not_take_says_why(world: World) -> None:
    backend = world.backend()
    await world.watch(backend)
    await backend.start(PLAN)
    pod = await place_on(world, "full")
    why = "Pod Node didn't have enough resource: pods, requested: 1, used: 110, capacity: 110"
    pod["status"] = {"phase": "Failed", "reason": "OutOfpods", "message": why}
    await world.cluster.put("pods", pod)
    await world.cluster.end(NAME, "Failed", "BackoffLimitExceeded")
    ending = await world.reported()

    assert (ending.state, ending.reason) == ("failed", f"OutOfpods: {why}")


async def test_an_image_that_does_not_come_ends_the_step_and_the_job(world: World) -> None:
    backend = world.backend()
    await world.watch(backend)
    await backend.start(PLAN)
    await world.cluster.run(NAME, {"waiting": {"reason": "ErrImagePull", "message": "no such"}})
    ending = await world.reported()
    await eventually(lambda: not world.cluster.objects["jobs"])

    assert (ending.state, ending.reason) == ("failed_image_pull", "ErrImagePull: no such")


async def test_a_container_that_no_node_took_says_so_when_its_time_is_over(world: World) -> None:
    backend = world.backend()
    await world.watch(backend)
    await backend.start(PLAN)
    job = world.cluster.objects["jobs"][NAME]
    await world.cluster.put("jobs", {**job, "status": {"startTime": LATER}})
    idle = {"type": "PodScheduled", "status": "False", "message": "0/3 nodes are available"}
    await world.cluster.wait(NAME, idle)
    await eventually(lambda: NAME in backend._seen.troubles)
    pod = world.cluster.objects["pods"].pop(f"{NAME}-x")
    pod["metadata"]["deletionTimestamp"] = "2036-01-01T00:01:30Z"  # its time is over
    await world.cluster.tell("pods", "DELETED", pod)
    await world.cluster.end(NAME, "FailureTarget", "DeadlineExceeded")
    ending = await world.reported()

    assert ending.state == "failed_timeout"
    assert ending.reason is not None
    assert ending.reason.endswith("without a begin: 0/3 nodes are available")


async def test_a_job_that_is_over_its_time_is_brought_to_the_cluster_s_mind_once(
    world: World,
) -> None:
    backend = world.backend()
    await backend.start(PLAN)
    job = world.cluster.objects["jobs"][NAME]
    job["status"] = {"startTime": "2026-01-01T00:00:00Z", "active": 1}
    watcher = await world.watch(backend)
    await eventually(lambda: "noetl.overdue" in job["metadata"]["annotations"])
    await world.cluster.run(NAME, {"running": {}})
    await eventually(lambda: len(watcher) == 1)
    await world.cluster.end(NAME, "Failed", "DeadlineExceeded")

    assert (await world.reported()).state == "failed_timeout"
    await eventually(lambda: "noetl.reported" in job["metadata"]["annotations"])
    assert world.cluster.calls["PATCH jobs"] == 2


async def test_an_image_is_waited_for_since_its_first_trouble_whatever_else_is_seen(
    world: World,
) -> None:
    backend = world.backend()
    await world.watch(backend, stuck_seconds=600)
    await backend.start(PLAN)
    await world.cluster.run(NAME, {"waiting": {"reason": "ErrImagePull"}})
    await eventually(lambda: NAME in backend._seen.troubles)
    (first,) = await backend.found()
    await world.cluster.run(NAME, {"waiting": {"reason": "ImagePullBackOff"}})
    await eventually(lambda: backend._seen.troubles[NAME].startswith("ImagePullBackOff"))

    assert first.condition is Condition.STUCK
    assert await backend.found() == [first]


async def test_waiting_for_what_cannot_come_ends_at_once(world: World) -> None:
    backend = world.backend()
    await world.watch(backend, stuck_seconds=600)
    await backend.start(PLAN)
    await world.cluster.run(NAME, {"waiting": {"reason": "ErrImageNeverPull"}})

    assert (await world.reported()).state == "failed_image_pull"


async def test_the_job_of_a_worker_that_is_gone_is_reported_by_another(world: World) -> None:
    await world.backend().start(replace(PLAN, origin=replace(PLAN.origin, worker="dead")))
    await world.cluster.exit(NAME, 0)
    await world.watch(world.backend(), worker="another")

    assert (await world.reported()).origin.callback == "http://7.10:1.mac@edge"


async def test_after_a_broken_watch_the_list_tells_what_was_missed(world: World) -> None:
    backend = world.backend()
    await world.watch(backend)
    await backend.start(PLAN)
    watches, world.cluster.watches = world.cluster.watches, []
    await world.cluster.exit(NAME, 0)
    world.cluster.watches = watches
    world.cluster.cut()

    assert (await world.reported()).state == "succeeded"


LATER = "2036-01-01T00:00:30Z"
"""Time at which things asked for now are to be gone."""
RUNS: dict[str, Any] = {"running": {"startedAt": MOMENT}}


async def place_on(world: World, node: str, **meta: Any) -> dict[str, Any]:
    """Let the pod of the Job run on a node; return it, which no watch has shown yet."""
    job = world.cluster.objects["jobs"][NAME]
    await world.cluster.put("jobs", {**job, "status": {"startTime": LATER}})
    await world.cluster.run(NAME, RUNS, phase="Running")
    pod = world.cluster.objects["pods"][f"{NAME}-x"]
    pod["spec"] = {"containers": [], "nodeName": node}
    pod["status"]["containerStatuses"][0]["ready"] = True
    pod["metadata"] |= meta
    return pod


def silence(pod: dict[str, Any], ready: str = "False") -> None:
    """Mark a pod as a cluster does that does not hear from its node."""
    pod["status"]["conditions"] = [{"type": "Ready", "status": ready, "lastTransitionTime": MOMENT}]


async def test_a_silent_node_ends_its_container_by_name_and_the_job_with_it(world: World) -> None:
    backend = world.backend()
    await world.watch(backend)
    await backend.start(PLAN)
    pod = await place_on(world, "far")
    silence(pod)
    await world.cluster.put("pods", pod)
    ending = await world.reported()

    assert ending.state == "failed_node_lost"
    assert ending.reason == "its node 'far' does not answer since 2026-01-01T00:00:00+00:00"
    await eventually(lambda: not world.cluster.objects["jobs"])
    assert len(world.reports) == 1


async def test_a_node_that_answers_in_time_has_lost_nothing(world: World) -> None:
    backend = world.backend()
    backend._seen._node_seconds = 3e9  # from the moment that the cluster gives
    watcher = await world.watch(backend)
    await backend.start(PLAN)
    pod = await place_on(world, "far")
    silence(pod)
    await world.cluster.put("pods", pod)
    await eventually(lambda: watcher._watched[NAME].sighting.condition is Condition.STUCK)
    (listed,) = await backend.found()  # its Job knows nothing of it
    assert (listed.condition, listed.patience) == (Condition.STUCK, 3e9)
    silence(pod, "True")
    await world.cluster.put("pods", pod)
    await eventually(lambda: watcher._watched[NAME].sighting.condition is Condition.RUNNING)
    assert [one.condition for one in await backend.found()] == [Condition.RUNNING]
    await world.cluster.exit(NAME, 0)

    assert (await world.reported()).state == "succeeded"


@pytest.mark.parametrize("change", ["MODIFIED", "DELETED"])
async def test_a_pod_that_is_taken_away_ends_the_step_before_another_takes_its_place(
    world: World, change: str
) -> None:
    backend = world.backend()
    await world.watch(backend)
    await backend.start(PLAN)
    meta = {} if change == "DELETED" else {"deletionTimestamp": MOMENT}
    pod = await place_on(world, "far", **meta)
    await world.cluster.tell("pods", change, pod)
    await world.cluster.run(NAME, {"waiting": {}}, phase="Pending")
    ending = await world.reported()

    assert ending.state == "failed_node_lost"
    assert ending.reason == "its pod was taken away from node 'far'"
    await eventually(lambda: not world.cluster.objects["jobs"])
    assert len(world.reports) == 1


async def test_a_job_with_further_tries_goes_on_elsewhere(world: World) -> None:
    backend = world.backend()
    await world.watch(backend)
    await backend.start(replace(PLAN, backoff_limit=1))
    pod = await place_on(world, "far", deletionTimestamp=MOMENT)
    silence(pod)
    await world.cluster.put("pods", pod)
    await world.cluster.exit(NAME, 0)

    assert (await world.reported()).state == "succeeded"


def test_the_cluster_waits_longer_for_a_node_than_the_watcher() -> None:
    pod = job_of(PLAN, user="", node_seconds=5).to_dict()["spec"]["template"]["spec"]

    assert {one["key"] for one in pod["tolerations"]} == {
        "node.kubernetes.io/not-ready",
        "node.kubernetes.io/unreachable",
    }
    assert {one["tolerationSeconds"] for one in pod["tolerations"]} == {65}


async def test_a_command_that_is_over_deletes_its_job(world: World) -> None:
    backend = world.backend()
    watcher = await world.watch(backend)
    await backend.start(PLAN)
    await eventually(lambda: len(watcher) == 1)
    watcher.stop(10, attempts=EVERY_RUN)
    await eventually(lambda: not world.cluster.objects["jobs"])

    assert world.reports == []


async def test_a_refusal_of_the_cluster_is_named(world: World) -> None:
    world.cluster.refuses = "jobs"

    with pytest.raises(BackendError, match=r"Job create failed in namespace 'jobs': .*forbidden"):
        await world.backend().start(PLAN)
