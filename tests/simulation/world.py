"""One simulated world: the processes, their work and their troubles, from one seed."""

import gc
import hashlib
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from noetl_worker.commands import Command

from tests.simulation import clocks, parts
from tests.simulation.broker import Broker
from tests.simulation.database import Server
from tests.simulation.network import Network
from tests.simulation.plan import Ingress
from tests.simulation.universe import Process, Universe

_START_SECONDS = 30.0


class World:
    """A running world."""

    closed = 0

    def __init__(self, server: Server, seed: int) -> None:
        gc.disable()
        clocks.seed(seed)
        parts.reset()
        self.universe = Universe(seed)
        self.random = self.universe.random
        self.database = server
        server.reset()
        server.universe = self.universe
        self.broker = Broker(self.universe)
        self.network = Network(self.universe, self.broker)
        self.edge = parts.Edge()
        self.alive: dict[str, Process] = {}
        self.makers: dict[str, Callable[[Callable[[], None]], Any]] = {}
        self.started: dict[str, int] = {}
        self.offsets: dict[str, float] = {}
        self.slowness = 0.002
        self.buried: list[Process] = []
        self.crashes: list[tuple[float, str, BaseException | None]] = []
        self.begun: list[tuple[float, str, Command]] = []
        self.ended: list[tuple[float, str, Command]] = []
        self.tool_seconds: Callable[[Command], float] = lambda _command: 0.01
        parts.TOOLS.begin = self._begin
        parts.TOOLS.end = lambda process, command: self.ended.append(
            (self.universe.now, process, command)
        )

    # -- processes -----------------------------------------------------------------------

    def add(self, name: str, maker: Callable[[Callable[[], None]], Any]) -> None:
        """Start a process, and know how to start it again."""
        self.makers[name] = maker
        self.start(name)

    def start(self, name: str) -> None:
        """Start a process that is not there."""
        process = Process(self.universe, name)
        process.network = self.network
        process.slowness = self.slowness
        process.wall_offset = self.offsets.get(name, 0.0)
        process.on_end = lambda error: self._ended(name, error)
        self.alive[name] = process

        def started() -> None:
            self.started[name] = self.started.get(name, 0) + 1
            self.universe.note(f"{name} started")

        process.start(self.makers[name](started))

    def kill(self, name: str, *, back_after: float) -> None:
        """Kill a process; its supervisor starts it again."""
        self.universe.note(f"{name} killed")
        process = self.alive[name]
        process.kill()
        self.database.release_dead()
        self.universe.processes.remove(process)
        self.buried.append(process)
        self.universe.after(back_after, lambda: self.start(name))

    def _ended(self, name: str, error: BaseException | None) -> None:
        """A process has ended by itself; its supervisor starts it again."""
        self.crashes.append((self.universe.now, name, error))
        process = self.alive[name]
        self.database.release_dead()
        self.universe.after(0.0, lambda: self._bury(process))
        self.universe.after(1.0, lambda: self.start(name))

    def _bury(self, process: Process) -> None:
        self.universe.processes.remove(process)
        self.buried.append(process)

    def all_started(self) -> bool:
        """Return whether all processes have started."""
        return self.started.keys() >= self.makers.keys()

    def all_alive(self) -> bool:
        """Return whether every process is there."""
        return all(process.is_alive for process in self.alive.values())

    def begin(
        self,
        *,
        orchestrators: int = 1,
        workers: int = 1,
        slots: int = 4,
        projector: bool = True,
        ingress: Ingress = "direct",
    ) -> bool:
        """Start the processes; return whether all have started."""
        self.add("catalog", lambda started: parts.catalog(started, ingress=ingress))
        self.add("outbox", parts.outbox)
        if projector:
            self.add("projector", parts.projector)
        for number in range(orchestrators):
            self.add(
                f"orchestrator-{number}",
                lambda started: parts.orchestrator(started, replicas_active_min=orchestrators),
            )
        for number in range(workers):
            name = f"worker-{number}"
            self.add(
                name,
                lambda started, name=name: parts.worker(
                    started, name, worker_max_concurrent=slots, ingress=ingress
                ),
            )
        self.add("edge", lambda started: self.edge.main(started, ingress=ingress))
        return self.universe.run(_START_SECONDS, self.all_started)

    def in_edge(self, work: Callable[[], Any], then: Callable[[Any], None]) -> None:
        """Do something in the edge's process; `then` gets what it returns."""
        process = self.alive["edge"]

        async def run() -> None:
            then(await work())

        process.arrives(lambda: process.create_task(run()) and None)

    def _begin(self, process: str, command: Command) -> float:
        self.begun.append((self.universe.now, process, command))
        return self.tool_seconds(command)

    # -- the end -------------------------------------------------------------------------

    def fingerprint(self) -> str:
        """Return a digest of all that happened, by which two runs of a seed are compared."""
        lines = [f"{at:.9f} {text}" for at, text in self.universe.trace]
        lines += [f"{at:.9f} {p} {c.execution_id} {c.step} {c.attempts}" for at, p, c in self.begun]
        lines.append(f"{self.universe.now:.9f} {self.universe.steps}")
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]

    def close(self) -> None:
        """End everything."""
        with suppress(Exception):
            self.database.release_all()
        for process in self.buried:
            process.bury()
        self.universe.close()
        World.closed += 1
        if World.closed % 8 == 0:
            gc.collect()
