"""Containers of steps as Jobs of a real cluster: ``make cluster-tool``, for minutes.

``--kubeconfig`` names the login of an administrator of a cluster for tests, as kind has one, whose
nodes can have ``--image``. Without it a cluster of one node is brought up on this machine from the
programs of Kubernetes 1.20 to 1.23 in the folder `NOETL_KUBE_BINARIES` (root, Docker, etcd); then
the API server's audit log shows the calls, API server and kubelet are killed, a second node is
played, and scripts run, in an image whose python is a shell. The worker has the rights that the
chart gives. Without a cluster it says so and ends with 0.
"""

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import orjson
import parts
import yaml
from clusters import ACCOUNT, FOLDER, JOBS, SECRET, ClusterPlace, forget, prepare, token_of
from control_plane import ControlPlane, control_plane, make_pause
from engine import NoEngineError
from engines import engine_at, make_image
from lightkube import Client, KubeConfig
from lightkube.resources.core_v1 import Node
from nodes import gpus, node_lost, pod_removed
from noetl_testkit.stack import execute, register, running_stack
from noetl_testkit.waiting import wait_until
from pressure import evicted, waiting
from rendering import NAMESPACE
from texts import IMAGE, PLAYBOOKS, VOLUME, loop, playbook, script
from world import SECONDS, World, expect, say, show

_TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount/token"
_REFERENCE = f"{{name: DSN, value_from: {{secret_name: {SECRET}, secret_key: dsn}}}}"
_MORE = {
    "references": playbook("references", f"echo $DSN; test ! -e {_TOKEN} && echo no token").replace(
        "      ttl_seconds", f"        - {_REFERENCE}\n      ttl_seconds"
    ),
    "account": playbook("account", f"test -s {_TOKEN} && echo a token", service_account=ACCOUNT),
    "counted": playbook(
        "counted",
        "echo run >> /gate/runs; sleep 600",
        volumes=f"[{{path: /gate, source: {VOLUME}}}]",
    ),
    "gpu": playbook("gpu", "true", gpu=2),
    "gpus": playbook("gpus", "true", gpu=5, timeout_seconds=6),
    "queue": loop(
        "queue",
        "command: [/bin/sh, -c, 'sleep 2; echo $NUMBER']",
        "resources: {limits: {memory: 16Mi, cpu: 1}, requests: {memory: 1Mi, cpu: 900m}}",
    ),
    "script": script("script", "echo $1 $WHO"),
    "script_bad": script("script_bad", "echo bad; exit 3"),
    "script_short": script("script_short", "sleep 20; echo over"),
    "script_long": script("script_long", "sleep 600"),
    "nowhere": playbook("nowhere", "true", node_selector="{no: such}", timeout_seconds=6),
}
_QUEUE = 12
_CLUSTER_ENDS = {"nowhere": "failed_timeout"}


def references(world: World) -> str:
    """Take a variable from a Secret of the cluster, and a token by the name of an account."""
    number = execute(world.client, "proof/references")
    found = world.result(number)
    expect(found["logs"] == "pg://of-the-cluster\nno token\n", str(found))
    found = world.result(execute(world.client, "proof/account"))
    expect(found["logs"] == "a token\n", str(found))
    return "a Secret's key; a token for a pod that names an account, else none"


def scripts(world: World) -> str:
    """Run scripts to their ends."""
    found = world.result(execute(world.client, "proof/script"))
    expect(found["status"] == "completed", str(found))
    expect(found["output"] == '{"n":21} me\n', str(found))
    found = world.result(execute(world.client, "proof/script_bad"))
    told = (found["status"], found["exit_code"], found["output"])
    expect(told == ("failed", 3, "bad\n"), str(found))
    number = world.begin("script_long")
    world.client.post(f"/api/executions/{number}/cancel").raise_for_status()
    world.is_gone(number)
    return "argument, environment and output; a failure; gone after a cancel"


def script_left(world: World) -> str:
    """Kill the worker while a script runs: the next one reports it."""
    number = world.begin("script_short")
    parts.kill_worker(world)
    found = world.result(number)
    expect((found["status"], found["output"]) == ("completed", "over\n"), str(found))
    return "reported by the worker that came after it"


def quiet(
    world: World, plane: ControlPlane, user: str, seconds: float, *, name: str = "long"
) -> str:
    """Count the calls of the workers' account while a container just runs, by the audit log."""
    number = world.begin(name)
    time.sleep(2)
    before = plane.calls_of(user)
    time.sleep(seconds)
    more = _more(before, plane.calls_of(user))
    world.client.post(f"/api/executions/{number}/cancel").raise_for_status()
    world.is_gone(number)
    expect(not more, f"calls while nothing happened: {more}")
    return f"no call of {user} in {seconds:g} s of a running container"


def kubelet_restarted(world: World, plane: ControlPlane) -> str:
    """Kill the kubelet while a container runs and ends: its end is reported after its return."""
    number = world.begin("short")
    plane.stop("kubelet", signal.SIGKILL)
    time.sleep(20)
    plane.start_kubelet()
    expect(world.result(number)["terminal_state"] == "succeeded", "not reported")
    return "the end of its container was reported after its return"


def server_restarted(world: World, plane: ControlPlane) -> str:
    """Kill the API server while a container runs: its end is reported after it has come back."""
    number = world.begin("short")
    words = plane.running["kube-apiserver"].args
    plane.stop("kube-apiserver", signal.SIGKILL)
    time.sleep(3)
    plane.start("kube-apiserver", *list(words)[1:])
    plane.wait("kube-apiserver", f"{plane.url}/readyz")
    expect(world.result(number)["terminal_state"] == "succeeded", "not reported")
    return "the end of its container was reported after its return"


def audited(plane: ControlPlane | None, user: str, part: Callable[[], str]) -> str:
    """Go through a part, and count its calls by the audit log."""
    before = plane.calls_of(user) if plane is not None else {}
    told = part()
    if plane is None:
        return told
    more = _more(before, plane.calls_of(user))
    return f"{told}; audit log: {', '.join(f'{name} {more[name]}' for name in sorted(more))}"


def _more(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    found = {name: count - before.get(name, 0) for name, count in after.items()}
    return {name: count for name, count in found.items() if count}


def wait_for_node(client: Client) -> None:
    """Wait until a node takes pods."""

    def is_ready() -> bool:
        return any(
            one.type == "Ready" and one.status == "True"
            for node in client.list(Node)
            if not node.spec.taints
            for one in node.status.conditions or []
        )

    wait_until(is_ready, what="a node is ready", timeout_seconds=SECONDS, every_seconds=0.5)


@contextmanager
def cluster(
    arguments: argparse.Namespace, scratch: Path
) -> Iterator[tuple[dict[str, object], ControlPlane | None]]:
    """Return the login of a cluster's administrator, and the cluster if it is our own.

    Raises:
        NoEngineError: there is none.
    """
    if arguments.kubeconfig:
        yield yaml.safe_load(Path(arguments.kubeconfig).read_text()), None
        return
    with ExitStack() as stack:
        engine, _ = stack.enter_context(engine_at(arguments.socket, scratch))
        make_image(engine, scratch)
        make_pause(engine, IMAGE)
        binaries = os.environ.get("NOETL_KUBE_BINARIES", "")
        plane = stack.enter_context(control_plane(scratch / "cluster", binaries, engine))
        stack.callback(shutil.rmtree, FOLDER, ignore_errors=True)
        yield plane.kubeconfig(plane.token), plane


def login_file(admin: dict[str, object], token: str, scratch: Path) -> Path:
    """Write the login of the workers' account."""
    users = admin["users"]
    expect(isinstance(users, list), "a kubeconfig has users")
    names = [one["name"] for one in users if isinstance(one, dict)]
    config = {**admin, "users": [{"name": name, "user": {"token": token}} for name in names]}
    path = scratch / "worker.kubeconfig"
    path.write_bytes(orjson.dumps(config))
    return path


def prove(arguments: argparse.Namespace, scratch: Path) -> None:
    """Go through all parts, and print the result of each."""
    with ExitStack() as stack:
        admin, plane = stack.enter_context(cluster(arguments, scratch))
        client = Client(config=KubeConfig.from_dict(admin), trust_env=False)
        stack.callback(forget, client)
        account = prepare(client)
        wait_for_node(client)
        user = f"system:serviceaccount:{NAMESPACE}:{account}"
        settings = {
            "NOETL_CONTAINER_BACKEND": "kubernetes",
            "NOETL_CONTAINER_KUBECONFIG": str(
                login_file(admin, token_of(client, account), scratch)
            ),
            "NOETL_CONTAINER_NAMESPACE": JOBS,
            "NOETL_CONTAINER_SECRETS": SECRET,
            "NOETL_CONTAINER_SERVICE_ACCOUNTS": ACCOUNT,
            "NOETL_CONTAINER_VOLUMES": VOLUME,
            "NOETL_CONTAINER_PULL_SECONDS": "5",
            "NOETL_CONTAINER_TAKEOVER_SECONDS": "2",
            "NOETL_CONTAINER_NODE_LOST_SECONDS": "5",
            "NOETL_CONTAINER_GPU_MAX": "8",
        }
        place = ClusterPlace(client, arguments.image)
        running = stack.enter_context(running_stack(environment=settings))
        edge = stack.enter_context(running.client())
        world = World(running, edge, place)
        for text in (PLAYBOOKS | _MORE).values():
            register(edge, text.replace(IMAGE, arguments.image))
        queued = partial(waiting, world, client, _QUEUE)
        shown: list[tuple[str, Callable[[], str]]] = [
            ("every end", lambda: parts.ends(world, parts.ENDS | _CLUSTER_ENDS)),
            ("volumes", lambda: parts.volumes(world)),
            ("references", lambda: references(world)),
            ("cancel", lambda: parts.cancel(world)),
            ("removed by hand", lambda: parts.lost(world)),
            ("worker killed", lambda: parts.worker_killed(world)),
            ("everything killed", lambda: parts.everything_killed(world)),
        ]
        if plane is None:
            shown.append(("quiet", lambda: parts.quiet(world, arguments.quiet)))
        else:
            shown += [
                ("scripts", lambda: scripts(world)),
                ("script's worker killed", lambda: script_left(world)),
                ("quiet", lambda: quiet(world, plane, user, arguments.quiet)),
                (
                    "quiet script",
                    lambda: quiet(world, plane, user, arguments.quiet, name="script_long"),
                ),
                ("API server killed", lambda: server_restarted(world, plane)),
                ("kubelet killed", lambda: kubelet_restarted(world, plane)),
                ("GPUs", lambda: gpus(world, client)),
                ("pod removed", lambda: pod_removed(world, plane, client)),
                ("pod evicted", lambda: evicted(world, plane, client)),
                ("node lost", lambda: node_lost(world, plane, client)),
                ("more than fit", lambda: audited(plane, user, queued)),
            ]
        at_once = partial(parts.many, world, arguments.many, arguments.quiet)
        shown.append(("many at once", lambda: audited(plane, user, at_once)))
        show(shown, arguments.only)
        if plane is not None:
            refused = {name for name in plane.calls_of(user) if name.endswith("refused")}
            expect(not refused, f"the chart's rights lack something: {refused}")
            say("rights: none of the calls was refused")


def main() -> int:
    """Prove, or say why it can't be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kubeconfig", default="", help="an administrator's login")
    parser.add_argument("--image", default=IMAGE, help="an image with a shell, as busybox")
    parser.add_argument("--socket", default="", help="the socket of an engine for the own cluster")
    parser.add_argument("--many", type=int, default=50, help="containers at once")
    parser.add_argument("--quiet", type=float, default=60.0, help="seconds without a call")
    parser.add_argument(
        "--only", default="", help="parts whose name has one of these in it, by commas"
    )
    arguments = parser.parse_args()
    scratch = Path(tempfile.mkdtemp(prefix="noetl-cluster-"))
    try:
        prove(arguments, scratch)
    except NoEngineError as error:
        say(f"not proven: {error}")
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
