"""A node that has too little: containers that wait for room, and one that is evicted."""

import signal
from collections.abc import Callable

from clusters import JOBS
from control_plane import NODE, ControlPlane
from lightkube import Client
from lightkube.resources.core_v1 import Node, Pod
from nodes import begin_counted, ends_of, ran_once
from noetl_testkit.stack import events, execute, finish
from noetl_testkit.waiting import wait_until
from world import SECONDS, World, expect

# Of what the node has, so that it is short of memory whatever runs there.
_NEARLY_ALL = "98%"


def evicted(world: World, plane: ControlPlane, client: Client) -> str:
    """Let a node run short of memory while a container runs: its step ends once, by its words."""
    number = begin_counted(world)
    plane.stop("kubelet")
    plane.start_kubelet(free=_NEARLY_ALL)
    try:
        found = world.result(number)
        expect(found["terminal_state"] == "failed_node_lost", str(found))
        for words in (f"node '{NODE}'", "Evicted", "memory"):
            expect(words in str(found["reason"]), str(found))
    finally:
        plane.stop("kubelet", signal.SIGKILL)
        plane.start_kubelet()
    _wait_for(lambda: not client.get(Node, NODE).spec.taints, "the node takes pods again")
    world.is_gone(number)
    ran_once()
    expect(ends_of(world, number) == 1, "more than one end")
    return f"{found['error']} (one run, one end)"


def waiting(world: World, client: Client, count: int) -> str:
    """Start more than the node has room for: those that wait get theirs, and all end well."""
    number = execute(world.client, "proof/queue", numbers=list(range(count)))
    _wait_for(lambda: len(list(client.list(Pod, namespace=JOBS))) == count, "all have a pod")
    pods = client.list(Pod, namespace=JOBS)
    waited = sum(pod.status.phase == "Pending" and not pod.spec.nodeName for pod in pods)
    expect(waited, f"none of {count} had to wait")
    status = finish(world.client, number, seconds=SECONDS, poll_seconds=0.5)
    log = events(world.client, number)
    expect(status == "COMPLETED", f"queue: {status}: {log[-3:]}")
    done = [one for one in log if one["event_type"] == "call.done"]
    states = [
        one["result"]["context"]["terminal_state"] for one in done if one["node_name"] == "start"
    ]
    expect(states == ["succeeded"] * count, str(states))
    world.is_gone(number)
    return f"{waited} of {count} waited for room, all succeeded"


def _wait_for(holds: Callable[[], bool], what: str) -> None:
    wait_until(holds, what=what, timeout_seconds=SECONDS, every_seconds=0.5)
