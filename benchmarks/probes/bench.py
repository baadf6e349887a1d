"""A stack to measure on, and a loop that lives as long as it."""

import asyncio
import contextlib
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from typing import Any

import uvloop
from noetl_testkit import stack as stacks
from noetl_testkit.stack import Stack

from benchmarks.probes.floor import Floor
from benchmarks.probes.floor import measure as measure_floor
from benchmarks.probes.load import Run, load_of


class Bench:
    """A running stack.

    Attributes:
        dsn: of its database, without what may stand between it and the services.
    """

    def __init__(self, stack: Stack, runner: asyncio.Runner, dsn: str) -> None:
        self.stack = stack
        self.dsn = dsn
        self._runner = runner

    @property
    def nats_url(self) -> str:
        """The address of the bus, with the operator's login."""
        return self.stack.values()["NOETL_NATS_URL"]

    def wait[T](self, work: Coroutine[Any, Any, T]) -> T:
        """Run something in the loop."""
        return self._runner.run(work)

    def register(self, *texts: str) -> None:
        """Register playbooks."""
        with self.stack.client() as client:
            for text in texts:
                stacks.register(client, text)

    def floor(self, at_once: int, rounds: int = 50) -> Floor:
        """Measure the floor on this stack's servers."""
        return self.wait(measure_floor(self.dsn, self.nats_url, at_once=at_once, rounds=rounds))

    def run(self, name: str, *, at_once: int, total: int, **workload: object) -> Run:
        """Run executions of ``bench/NAME`` and wait for all of them."""

        async def all_of_them() -> Run:
            async with load_of(self.stack) as load:
                return await load.run(f"bench/{name}", at_once=at_once, total=total, **workload)

        return self.wait(all_of_them())


@contextlib.contextmanager
def bench(
    transport: str = "nats",
    *,
    arguments: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    dsn: str | None = None,
) -> Iterator[Bench]:
    """Run a stack for the length of the block.

    Args:
        arguments: of ``noetl-server up``.
        dsn: the address of a database of our own, if the environment names one.
    """
    given = {"NOETL_WORKER_TRANSPORT": transport, **(environment or {})}
    with (
        stacks.running_stack(arguments=arguments, environment=given) as stack,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        yield Bench(stack, runner, dsn or stack.dsn())
