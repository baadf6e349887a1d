"""Parts of a proof about containers, wherever they run; each returns its result."""

import os
import signal
import time
from collections.abc import Mapping

from noetl_testkit.stack import Stack, events, execute, finish
from noetl_testkit.waiting import wait_until
from world import SECONDS, World, expect

ENDS: dict[str, str] = {
    "happy": "succeeded",
    "exits": "failed",
    "oom": "failed_oom",
    "late": "failed_timeout",
    "program": "failed",
    "image": "failed_image_pull",
    "pull": "failed_image_pull",
}
"""States of playbooks' containers, by name."""


def ends(world: World, wanted: Mapping[str, str]) -> str:
    """Show every way in which a container ends."""
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
    world.place.remove(name)
    found = world.result(number)
    expect(found["terminal_state"] in {"failed_node_lost", "failed"}, str(found))
    return f"{found['terminal_state']}: {found['reason']}"


def worker_killed(world: World) -> str:
    """Kill the worker while a container runs: the next one reports it."""
    number = world.begin("short")
    kill_worker(world)
    expect(world.result(number)["terminal_state"] == "succeeded", "not reported")
    expect(_runs_of(world, number) == 1, "more than one container for one command")
    return "reported by the worker that came after it"


def kill_worker(world: World) -> None:
    """Kill the stack's worker, in whose place another is started."""
    os.kill(_worker_of(world.stack), signal.SIGKILL)


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
    wait_until(
        lambda: not world.containers(every=False),
        what="it ends",
        timeout_seconds=SECONDS,
        every_seconds=0.5,
    )
    world.stack.up()
    expect(world.result(number)["terminal_state"] == "succeeded", "not reported")
    return "ended while nothing ran, reported after the start"


def quiet(world: World, seconds: float) -> str:
    """Count the calls to the engine while a container just runs."""
    number = world.begin("long")
    wait_until(lambda: world.calls().get("start", 0) > 0, timeout_seconds=SECONDS)
    before = world.calls()
    time.sleep(seconds)
    more = _more(before, world.calls())
    world.client.post(f"/api/executions/{number}/cancel").raise_for_status()
    world.is_gone(number)
    expect(not more, f"calls while nothing happened: {more}")
    return f"no call in {seconds:g} s of a running container"


def volumes(world: World) -> str:
    """Write to a named volume and to an empty folder, and not to one that is read only."""
    found = world.result(execute(world.client, "proof/volumes"))
    expect(found["terminal_state"] == "succeeded", str(found))
    logs = str(found["logs"])
    expect(logs.startswith("kept\nhere\n") and logs.endswith("kept\n"), logs)
    return "a named volume, the same one read only, and an empty folder"


def many(world: World, count: int, seconds: float) -> str:
    """Run many containers at once, and count the calls for each, and those while all just run."""
    world.place.in_gate("rm -f /gate/open /gate/wait; mkfifo /gate/wait")
    before, began = world.calls(), time.monotonic()
    number = execute(world.client, "proof/many", numbers=list(range(count)))
    wait_until(
        lambda: len(world.containers(every=False)) == count,
        what=f"{count} containers run at once",
        timeout_seconds=60 + 10 * count,
        every_seconds=2,
    )
    all_run = time.monotonic() - began
    calls = world.calls()
    time.sleep(seconds)
    idle = _more(calls, world.calls())
    world.place.in_gate("touch /gate/open; : > /gate/wait")
    status = finish(world.client, number, seconds=60 + 10 * count, poll_seconds=0.5)
    took = time.monotonic() - began
    log = events(world.client, number)
    expect(status == "COMPLETED", f"many: {status}: {log[-3:]}")
    done = [one for one in log if one["event_type"] == "call.done"]
    logs = sorted(
        int(one["result"]["context"]["logs"]) for one in done if one["node_name"] == "start"
    )
    expect(logs == list(range(count)), f"not one end for each: {logs}")
    world.is_gone(number)
    more = _more(before, world.calls())
    told = ", ".join(f"{name} {more[name]}" for name in sorted(more))
    return (
        f"{count} ran at once after {all_run:.0f} s, all done after {took:.0f} s, of which"
        f" {seconds:.0f} s all just ran with calls: {idle or 'none'}; calls: {told}"
    )


def _more(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    found = {name: count - before.get(name, 0) for name, count in after.items()}
    return {name: count for name, count in found.items() if count}
