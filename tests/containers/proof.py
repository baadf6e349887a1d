"""Containers of steps on a real engine: ``make container-tool``, for minutes.

Takes the engine whose socket ``--socket`` names, or brings a Docker engine up (root on Debian). The
image is made of a static busybox, so no registry is needed. A stack runs playbooks whose containers
end in every way there is; the calls to the engine's API are counted by the worker's own metric.
Without an engine it says so and ends with 0.
"""

import argparse
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
from engine import CommandFailedError, Engine, NoEngineError, install, run, started
from noetl_contract.json import JsonObject
from noetl_testkit.stack import Stack, events, execute, finish, register, running_stack
from noetl_testkit.waiting import wait_until

IMAGE = "noetl-proof:1"
_APPLETS = ("sh", "echo", "sleep", "cat", "tail", "true", "false")
_LABEL = "label=noetl.tool-kind=container"
_CALLS = re.compile(
    r'^noetl_worker_container_api_calls_total\{operation="(\w+)"\} ([0-9.e+]+)', re.MULTILINE
)
_SECONDS = 120.0


def say(line: str) -> None:
    """Tell the reader, at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def expect(holds: object, what: str) -> None:
    """End the proof when something does not hold.

    Raises:
        AssertionError: it does not.
    """
    if not holds:
        raise AssertionError(what)


def playbook(name: str, script: str, **more: object) -> str:
    """Return a playbook of one container and a step after it."""
    extra = "".join(f"      {key}: {value}\n" for key, value in more.items())
    return f"""apiVersion: noetl.io/v2
kind: Playbook
metadata: {{name: {name}, path: proof/{name}}}
workload: {{text: plain}}
workflow:
  - step: start
    tool:
      kind: container
      image: {IMAGE}
      image_pull_policy: Never
      command: [/bin/sh, -c, {script!r}]
      env:
        - {{name: TEXT, value: "{{{{ workload.text }}}}"}}
        - {{name: API_TOKEN, value: geheim1234}}
      ttl_seconds: 1
{extra}    next: {{arcs: [{{step: end}}]}}
  - step: end
    tool: {{kind: noop, result: "{{{{ start }}}}"}}
"""


PLAYBOOKS = {
    "happy": playbook("happy", "echo $TEXT $API_TOKEN"),
    "exits": playbook("exits", "echo bad; exit 3"),
    "oom": playbook("oom", "tail /dev/zero", resources="{limits: {memory: 16Mi}}"),
    "late": playbook("late", "sleep 600", timeout_seconds=3),
    "program": playbook("program", "").replace("/bin/sh", "/bin/nothing"),
    "image": playbook("image", "").replace(IMAGE, "registry.invalid/nothing:1"),
    "pull": playbook("pull", "")
    .replace(IMAGE, "registry.invalid/nothing:1")
    .replace("Never", "IfNotPresent"),
    "long": playbook("long", "sleep 600"),
    "short": playbook("short", "sleep 20; echo over"),
    "many": """apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: many, path: proof/many}
workload: {numbers: []}
workflow:
  - step: start
    loop:
      in: "{{ workload.numbers }}"
      iterator: number
      spec: {mode: parallel}
    tool:
      kind: container
      image: noetl-proof:1
      command: [/bin/sh, -c, "sleep 5; echo $NUMBER"]
      env: [{name: NUMBER, value: "{{ iter.number }}"}]
      resources: {limits: {memory: 16Mi, cpu: 100m}}
      ttl_seconds: 0
    next: {arcs: [{step: end}]}
  - step: end
    tool: {kind: noop, result: "{{ start }}"}
""",
}


class World:
    """A stack with an engine."""

    def __init__(self, stack: Stack, client: httpx.Client, engine: Engine) -> None:
        self.stack = stack
        self.client = client
        self.engine = engine

    def containers(self, *, every: bool = True) -> list[str]:
        """Return the names of the containers of steps."""
        words = ("ps", "--format", "{{.Names}}", "--filter", _LABEL, *(("--all",) if every else ()))
        return self.engine.docker(*words).split()

    def begin(self, name: str) -> int:
        """Start an execution and wait until its container runs."""
        number = execute(self.client, f"proof/{name}")
        wait_until(
            lambda: any(str(number) in one for one in self.containers(every=False)),
            what=f"the container of {name} runs",
            timeout_seconds=_SECONDS,
        )
        return number

    def result(self, number: int) -> JsonObject:
        """Wait for the end of an execution, and return what the container's step has left."""
        status = finish(self.client, number, seconds=_SECONDS, poll_seconds=0.1)
        log = events(self.client, number)
        expect(status == "COMPLETED", f"{number} ended as {status}: {log[-3:]}")
        found = [one for one in log if one["event_type"] == "call.done"]
        first = next(one for one in found if one["node_name"] == "start")
        context = first["result"]["context"]
        inner = context.get("result", {}).get("context", {}).get("data")
        return inner if isinstance(inner, dict) else context

    def calls(self) -> dict[str, int]:
        """Return the calls to the engine that the stack's worker has made, by operation."""
        port = next(
            one["port"] for name, one in self.stack.services().items() if name.startswith("worker")
        )
        text = httpx.get(f"http://127.0.0.1:{port}/metrics").text
        return {name: int(float(count)) for name, count in _CALLS.findall(text) if float(count)}

    def is_gone(self, number: int) -> None:
        """Wait until no container of an execution is left."""
        wait_until(
            lambda: not any(str(number) in one for one in self.containers()),
            what="the container is gone",
            timeout_seconds=_SECONDS,
        )


def ends(world: World) -> str:
    """Show every way in which a container ends."""
    wanted = {
        "happy": "succeeded",
        "exits": "failed",
        "oom": "failed_oom",
        "late": "failed_timeout",
        "program": "failed",
        "image": "failed_image_pull",
        "pull": "failed_image_pull",
    }
    numbers = {name: execute(world.client, f"proof/{name}") for name in wanted}
    found = {name: world.result(number) for name, number in numbers.items()}
    for name, state in wanted.items():
        expect(found[name]["terminal_state"] == state, f"{name}: {found[name]}")
    expect(found["happy"]["logs"] == "plain [REDACTED]\n", str(found["happy"]))
    expect(found["exits"]["exit_code"] == 3, str(found["exits"]))
    for number in numbers.values():
        world.is_gone(number)
    return ", ".join(f"{name} {state}" for name, state in wanted.items())


def cancel(world: World) -> str:
    """Cancel an execution: its container goes."""
    number = world.begin("long")
    began = time.monotonic()
    world.client.post(f"/api/executions/{number}/cancel").raise_for_status()
    world.is_gone(number)
    return f"gone {time.monotonic() - began:.1f} s after the cancel"


def lost(world: World) -> str:
    """Remove a running container by hand: its step hears of it."""
    number = world.begin("long")
    (name,) = [one for one in world.containers() if str(number) in one]
    world.engine.docker("rm", "--force", name)
    found = world.result(number)
    expect(found["terminal_state"] in {"failed_node_lost", "failed"}, str(found))
    return f"{found['terminal_state']}: {found['reason']}"


def worker_killed(world: World) -> str:
    """Kill the worker while a container runs: the next one reports it."""
    number = world.begin("short")
    os.kill(_worker_of(world.stack), signal.SIGKILL)
    expect(world.result(number)["terminal_state"] == "succeeded", "not reported")
    expect(_runs_of(world, number) == 1, "more than one container for one command")
    return "reported by the worker that came after it"


def _worker_of(stack: Stack) -> int:
    """Return the process id of the stack's worker."""
    found = [one["pid"] for name, one in stack.services().items() if name.startswith("worker")]
    return next(pid for pid in found if pid)


def _runs_of(world: World, number: int) -> int:
    return len([one for one in world.containers() if str(number) in one]) or 1


def everything_killed(world: World) -> str:
    """Kill the whole stack while a container runs and ends; start it again."""
    number = world.begin("short")
    world.stack.kill_everything()
    wait_until(lambda: not world.containers(every=False), what="it ends", timeout_seconds=_SECONDS)
    world.stack.up()
    expect(world.result(number)["terminal_state"] == "succeeded", "not reported")
    return "ended while nothing ran, reported after the start"


def quiet(world: World, seconds: float) -> str:
    """Count the calls to the engine while a container just runs."""
    number = world.begin("long")
    wait_until(lambda: world.calls().get("start", 0) > 0, timeout_seconds=_SECONDS)
    before = world.calls()
    time.sleep(seconds)
    after = world.calls()
    more = {name: count - before.get(name, 0) for name, count in after.items()}
    more = {name: count for name, count in more.items() if count}
    world.client.post(f"/api/executions/{number}/cancel").raise_for_status()
    world.is_gone(number)
    expect(not more, f"calls while nothing happened: {more}")
    return f"no call in {seconds:g} s of a running container"


def many(world: World, count: int) -> str:
    """Run many containers at once, and count the calls for each."""
    before, began = world.calls(), time.monotonic()
    number = execute(world.client, "proof/many", numbers=list(range(count)))
    status = finish(world.client, number, seconds=30 + 10 * count, poll_seconds=0.5)
    took = time.monotonic() - began
    log = events(world.client, number)
    expect(status == "COMPLETED", f"many: {status}: {log[-3:]}")
    done = [one for one in log if one["event_type"] == "call.done"]
    logs = sorted(
        int(one["result"]["context"]["logs"]) for one in done if one["node_name"] == "start"
    )
    expect(logs == list(range(count)), f"not one end for each: {logs}")
    world.is_gone(number)
    more = {name: found - before.get(name, 0) for name, found in world.calls().items()}
    told = ", ".join(f"{name} {more[name]}" for name in sorted(more) if more[name])
    return f"{count} in {took:.0f} s; calls: {told}"


@contextmanager
def engine_at(socket: str, scratch: Path) -> Iterator[tuple[Engine, str]]:
    """Return the engine of a socket, or one of our own, with its address.

    Raises:
        NoEngineError: none can be had.
    """
    if socket:
        address = f"unix://{socket}"
        yield Engine("the engine of the socket", {"DOCKER_HOST": address}), address
        return
    install()
    with started(scratch / "engine") as engine:
        yield engine, engine.environment["DOCKER_HOST"]


def make_image(engine: Engine, scratch: Path) -> None:
    """Make the image of all playbooks, unless it is there.

    Raises:
        NoEngineError: there is no static busybox.
    """
    try:
        engine.docker("image", "inspect", IMAGE)
    except CommandFailedError:
        busybox = shutil.which("busybox")
        if busybox is None:
            run(["apt-get", "install", "-y", "-qq", "busybox-static"], timeout=600)
            busybox = shutil.which("busybox")
        if busybox is None:
            raise NoEngineError("the image needs a busybox, and there is none") from None
        root = scratch / "image"
        (root / "bin").mkdir(parents=True)
        shutil.copy(busybox, root / "bin" / "busybox")
        for name in _APPLETS:
            (root / "bin" / name).symlink_to("busybox")
        packed = run(["tar", "-C", str(root), "-cf", str(scratch / "image.tar"), "."], timeout=60)
        expect(not packed, packed)
        engine.docker("import", str(scratch / "image.tar"), IMAGE)


def prove(arguments: argparse.Namespace, scratch: Path) -> None:
    """Go through all parts, and print what each has shown."""
    with ExitStack() as stack:
        engine, address = stack.enter_context(engine_at(arguments.socket, scratch))
        make_image(engine, scratch)
        settings = {
            "NOETL_CONTAINER_BACKEND": "engine",
            "NOETL_CONTAINER_ENGINE_URL": address,
            "NOETL_CONTAINER_TAKEOVER_SECONDS": "2",
        }
        running = stack.enter_context(running_stack(environment=settings))
        client = stack.enter_context(running.client())
        world = World(running, client, engine)
        for text in PLAYBOOKS.values():
            register(client, text)
        parts: list[tuple[str, Callable[[], str]]] = [
            ("every end", lambda: ends(world)),
            ("cancel", lambda: cancel(world)),
            ("removed by hand", lambda: lost(world)),
            ("worker killed", lambda: worker_killed(world)),
            ("everything killed", lambda: everything_killed(world)),
            ("quiet", lambda: quiet(world, arguments.quiet)),
            ("many at once", lambda: many(world, arguments.many)),
        ]
        for name, part in parts:
            if not arguments.only or arguments.only in name:
                say(f"{name}: {part()}")


def main() -> int:
    """Prove, or say why it can't be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--socket", default="", help="an engine's socket; without it one is started"
    )
    parser.add_argument("--many", type=int, default=50, help="containers at once")
    parser.add_argument("--quiet", type=float, default=60.0, help="seconds without a call")
    parser.add_argument("--only", default="", help="parts whose name has this in it")
    arguments = parser.parse_args()
    scratch = Path(tempfile.mkdtemp(prefix="noetl-ct-"))
    try:
        prove(arguments, scratch)
    except NoEngineError as error:
        say(f"not proven: {error}")
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
