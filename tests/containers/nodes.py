"""Several nodes in a proof's cluster: one that exists in name only, one that is lost, and GPUs."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import orjson
from clusters import FOLDER, JOBS
from control_plane import NODE, ControlPlane
from lightkube import Client
from lightkube.models.coordination_v1 import LeaseSpec
from lightkube.models.core_v1 import NodeCondition, NodeSpec, NodeStatus, Taint
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.coordination_v1 import Lease
from lightkube.resources.core_v1 import Node, Pod
from lightkube.resources.core_v1 import NodeStatus as Status
from lightkube.types import PatchType
from noetl_testkit.stack import events, execute
from noetl_testkit.waiting import wait_until
from world import SECONDS, World, expect

SPARE = "proof-spare"
GPU = "nvidia.com/gpu"
_LEASES = "kube-node-lease"
_RENEW_SECONDS = 2.0
_RUNS = Path(FOLDER) / "runs"


@contextmanager
def spare_node(client: Client, *, takes_pods: bool) -> Iterator[None]:
    """Have a second node that answers and runs nothing, so that not all of them may be silent."""
    taint = Taint(key="proof", value="spare", effect="NoSchedule")
    labels = {"kubernetes.io/hostname": SPARE}
    client.create(
        Node(
            metadata=ObjectMeta(name=SPARE, labels=labels),
            spec=NodeSpec(taints=[] if takes_pods else [taint]),
        )
    )
    over = threading.Event()
    renewing = threading.Thread(target=_answer, args=(client, over), daemon=True)
    renewing.start()
    try:
        wait_until(
            lambda: (
                not any(
                    "node.kubernetes.io" in str(one.key)
                    for one in client.get(Node, SPARE).spec.taints or []
                )
            ),
            what="the spare node is ready",
            timeout_seconds=SECONDS,
            every_seconds=0.5,
        )
        yield
    finally:
        over.set()
        renewing.join(SECONDS)
        client.delete(Node, SPARE)


def _answer(client: Client, over: threading.Event) -> None:
    """Renew lease and status of the spare node, as its kubelet would."""
    while True:
        now = datetime.now(UTC)
        ready = NodeCondition(
            type="Ready",
            status="True",
            reason="Proof",
            message="",
            lastHeartbeatTime=now,
            lastTransitionTime=now,
        )
        room = {"cpu": "64", "memory": "64Gi", "pods": "100"}
        status = NodeStatus(capacity=room, allocatable=room, conditions=[ready])
        client.patch(Status, SPARE, {"status": status.to_dict()}, patch_type=PatchType.STRATEGIC)
        spec = LeaseSpec(holderIdentity=SPARE, leaseDurationSeconds=40, renewTime=now)
        client.apply(
            Lease(metadata=ObjectMeta(name=SPARE, namespace=_LEASES), spec=spec),
            field_manager="proof",
            force=True,
        )
        if over.wait(_RENEW_SECONDS):
            return


def _pods_made(plane: ControlPlane) -> int:
    """Return how many pods were made for Jobs, by the audit log."""
    found = 0
    for line in plane.audit_log.read_bytes().splitlines():
        event = orjson.loads(line)
        what = event.get("objectRef", {})
        found += (
            event["verb"] == "create"
            and event["stage"] == "ResponseComplete"
            and (what.get("resource"), what.get("namespace")) == ("pods", JOBS)
            and "subresource" not in what
        )
    return found


def ends_of(world: World, number: int) -> int:
    """Return how many ends of an execution's container were reported."""
    done = [one for one in events(world.client, number) if one["event_type"] == "call.done"]
    return len([one for one in done if one["node_name"] == "start"])


def begin_counted(world: World) -> int:
    """Start a container that notes each of its runs."""
    _RUNS.unlink(missing_ok=True)
    number = world.begin("counted")
    wait_until(_RUNS.exists, what="its run is noted", timeout_seconds=SECONDS, every_seconds=0.2)
    return number


def ran_once() -> None:
    """Check that the image of a counted container has run once."""
    runs = _RUNS.read_text().count("run")
    expect(runs == 1, f"the image ran {runs} times")


def node_lost(world: World, plane: ControlPlane, client: Client) -> str:
    """Kill a node's kubelet for good while a container runs: its step ends once, by name."""
    with spare_node(client, takes_pods=False):
        before, began = _pods_made(plane), time.monotonic()
        number = begin_counted(world)
        plane.stop("kubelet", signal.SIGKILL)
        try:
            found = world.result(number)
            took = time.monotonic() - began
            expect(found["terminal_state"] == "failed_node_lost", str(found))
            expect(f"node '{NODE}'" in str(found["reason"]), str(found))
        finally:
            plane.start_kubelet()
        # What the lost node was told meanwhile it does when it is back.
        world.is_gone(number)
    ran_once()
    made = _pods_made(plane) - before
    expect(made == 1, f"{made} pods for one command")
    expect(ends_of(world, number) == 1, "more than one end")
    return f"{found['error']} ({took:.0f} s after the start; one pod, one run, one end)"


def pod_removed(world: World, plane: ControlPlane, client: Client) -> str:
    """Take a pod away from under its Job: its step ends, and the image doesn't run again."""
    before = _pods_made(plane)
    number = begin_counted(world)
    (pod,) = client.list(Pod, namespace=JOBS, labels={"noetl.execution-id": str(number)})
    client.delete(Pod, str(pod.metadata.name), namespace=JOBS)
    found = world.result(number)
    expect(found["terminal_state"] == "failed_node_lost", str(found))
    expect(f"node '{NODE}'" in str(found["reason"]), str(found))
    world.is_gone(number)
    ran_once()
    expect(ends_of(world, number) == 1, "more than one end")
    return f"{found['error']} ({_pods_made(plane) - before} pods made, one run, one end)"


def gpus(world: World, client: Client) -> str:
    """Have GPUs on one of two nodes: a container that asks for them runs there, or not at all."""
    with spare_node(client, takes_pods=True):
        number = execute(world.client, "proof/gpu")
        wait_until(
            lambda: "Insufficient" in _why_idle(client, number),
            what="no node has what the container asks for",
            timeout_seconds=SECONDS,
            every_seconds=0.5,
        )
        path = f"/status/capacity/{GPU.replace('/', '~1')}"
        client.patch(
            Status,
            NODE,
            [{"op": "add", "path": path, "value": "2"}],
            patch_type=PatchType.JSON,
        )
        wait_until(
            lambda: _node_of(client, number),
            what="the container has a node",
            timeout_seconds=SECONDS,
            every_seconds=0.2,
        )
        node = _node_of(client, number)
        expect(node == NODE, f"it runs on {node}")
        expect(world.result(number)["terminal_state"] == "succeeded", "it has not run")
        found = world.result(execute(world.client, "proof/gpus"))
        expect(found["terminal_state"] == "failed_timeout", str(found))
        expect(f"Insufficient {GPU}" in str(found["reason"]), str(found))
        return (
            f"one that asks for 2 waits, and runs on {NODE} once it has them; 5: {found['error']}"
        )


def _pod_of(client: Client, number: int) -> Pod | None:
    labels = {"noetl.execution-id": str(number)}
    return next(iter(client.list(Pod, namespace=JOBS, labels=labels)), None)


def _node_of(client: Client, number: int) -> str:
    pod = _pod_of(client, number)
    return (pod.spec.nodeName if pod is not None else None) or ""


def _why_idle(client: Client, number: int) -> str:
    pod = _pod_of(client, number)
    marks = (pod.status.conditions if pod is not None else None) or []
    return next((str(one.message) for one in marks if one.type == "PodScheduled"), "")
