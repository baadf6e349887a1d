"""A stack whose containers run somewhere, and a proof's requests to it."""

import re
import sys
from collections.abc import Callable, Iterable
from typing import Protocol

import httpx
from noetl_contract.json import JsonObject
from noetl_testkit.stack import Stack, events, execute, finish
from noetl_testkit.waiting import wait_until

_CALLS = re.compile(
    r'^noetl_worker_container_api_calls_total\{operation="(\w+)"\} ([0-9.e+]+)', re.MULTILINE
)
SECONDS = 240.0


def say(line: str) -> None:
    """Print a line, at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def expect(holds: object, what: str) -> None:
    """End the proof when something does not hold.

    Raises:
        AssertionError: it does not.
    """
    if not holds:
        raise AssertionError(what)


def show(shown: Iterable[tuple[str, Callable[[], str]]], only: str) -> None:
    """Go through parts whose name has one of some texts in it, and print the result of each."""
    for name, part in shown:
        if any(text in name for text in only.split(",")):
            say(f"{name}: {part()}")


class Place(Protocol):
    """Place where containers run, as its operator sees it."""

    def names(self, *, every: bool) -> list[str]:
        """Return the names of the containers of steps: all, or those that run."""

    def remove(self, name: str) -> None:
        """Remove a container as an operator who doesn't know of us."""

    def in_gate(self, script: str) -> None:
        """Run a script with the volume that containers of steps mount, at ``/gate``."""


class World:
    """A stack with a place where its containers run."""

    def __init__(self, stack: Stack, client: httpx.Client, place: Place) -> None:
        self.stack = stack
        self.client = client
        self.place = place

    def containers(self, *, every: bool = True) -> list[str]:
        """Return the names of the containers of steps: all, or those that run."""
        return self.place.names(every=every)

    def begin(self, name: str) -> int:
        """Start an execution and wait until its container runs."""
        number = execute(self.client, f"proof/{name}")
        wait_until(
            lambda: any(str(number) in one for one in self.containers(every=False)),
            what=f"the container of {name} runs",
            timeout_seconds=SECONDS,
            every_seconds=0.5,
        )
        return number

    def result(self, number: int) -> JsonObject:
        """Wait for the end of an execution, and return the result of the container's step."""
        status = finish(self.client, number, seconds=SECONDS, poll_seconds=0.2)
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
            timeout_seconds=SECONDS,
            every_seconds=0.5,
        )
