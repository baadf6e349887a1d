"""Virtual time: processes are event loops of one thread, and time leaps to what is next.

Within a process callbacks run in the order that asyncio promises. Between processes chance decides
who goes on; so do the times that messages, statements and iterations of a loop take.
"""

import asyncio
import heapq
import random
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from itertools import count
from typing import Any
from weakref import ref

from tests.simulation import clocks

_ORDER = count()
_LONGEST_ITERATION = 0.002


class Universe:
    """Time, chance and all processes of one simulated world."""

    def __init__(self, seed: int) -> None:
        self.now = 0.0
        self.random = random.Random(seed)
        self.processes: list[Process] = []
        self.trace: list[tuple[float, str]] = []
        self.steps = 0
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []

    def note(self, text: str) -> None:
        """Add a line to the trace."""
        self.trace.append((self.now, text))

    def at(self, when: float, act: Callable[[], None]) -> None:
        """Do something of the world itself at a moment."""
        heapq.heappush(self._agenda, (when, next(_ORDER), act))

    def after(self, seconds: float, act: Callable[[], None]) -> None:
        """Do something of the world itself after a while."""
        self.at(self.now + seconds, act)

    def run(self, until: float, is_done: Callable[[], bool] = lambda: False) -> bool:
        """Let time pass up to a moment, or until something is the case; return whether it is."""
        while not is_done():
            while self._agenda and self._agenda[0][0] <= self.now:
                heapq.heappop(self._agenda)[2]()
            now, able = self.now, []
            moment = self._agenda[0][0] if self._agenda else float("inf")
            for one in self.processes:
                wakes = one.wakes_at()
                if wakes <= now:
                    able.append(one)
                elif wakes < moment:
                    moment = wakes
            if able:
                chosen = able[0] if len(able) == 1 else self.random.choice(able)
                chosen.iterate()
                self.steps += 1
                continue
            if moment > until:
                self.now = until
                return is_done()
            self.now = max(self.now, moment)
        return True

    def close(self) -> None:
        """End all processes without a word."""
        for process in self.processes:
            process.bury()
        self.processes.clear()
        self._agenda.clear()


class Process(asyncio.BaseEventLoop):
    """A simulated process: an event loop with clocks of its own.

    Attributes:
        is_alive: False after a crash; then nothing of it runs any more.
        frozen_until: until then it does not run, while its timers and sockets go on.
        wall_offset: seconds by which its wall clock is ahead.
        slowness: the longest time that one iteration of the loop takes, in seconds.
        network: opens connections; see `network.Network`.
    """

    def __init__(self, universe: Universe, name: str) -> None:
        super().__init__()
        self.universe = universe
        self.name = name
        self.is_alive = True
        self.frozen_until = self.wall_offset = self.used_seconds = self._busy_until = 0.0
        self.reads = 0
        self.slowness = _LONGEST_ITERATION
        self.network: Any = None
        self.endpoints: dict[Any, None] = {}
        self.on_end: Callable[[BaseException | None], None] = lambda _error: None
        self._incoming: deque[Callable[[], None]] = deque()
        self.main_task: asyncio.Task[None] | None = None
        self._tasks: list[ref[asyncio.Task[Any]]] = []
        self.set_task_factory(self._make_task)
        universe.processes.append(self)

    # -- the clocks ----------------------------------------------------------------------

    def time(self) -> float:
        """Return the monotonic clock."""
        return self.universe.now

    def wall_clock(self) -> float:
        """Return the wall clock in Unix seconds."""
        return clocks.BEGAN + self.universe.now + self.wall_offset

    # -- the world's side ----------------------------------------------------------------

    def start(self, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Begin with a coroutine; its end is the end of the process."""
        self.call_soon(self._begin, main)

    def arrives(self, act: Callable[[], None]) -> None:
        """Let something come in from outside, which the next iteration takes first."""
        if self.is_alive:
            self._incoming.append(act)

    def wakes_at(self) -> float:
        """Return when it has something to do and may do it."""
        if not self.is_alive:
            return float("inf")
        while self._scheduled and self._scheduled[0]._cancelled:
            heapq.heappop(self._scheduled)._scheduled = False
        if self._ready or self._incoming:
            due = 0.0
        elif self._scheduled:
            due = self._scheduled[0]._when
        else:
            return float("inf")
        return max(due, self.frozen_until, self._busy_until)

    def iterate(self) -> None:
        """Run one iteration: what came in, what is due, what is ready."""
        asyncio._set_running_loop(self)
        self.reads = 0
        try:
            while self._incoming:
                self.call_soon(self._incoming.popleft())
            while self._scheduled and self._scheduled[0]._when <= self.universe.now:
                timer = heapq.heappop(self._scheduled)
                timer._scheduled = False
                if not timer._cancelled:
                    self._ready.append(timer)
            for _ in range(len(self._ready)):
                handle = self._ready.popleft()
                if not handle._cancelled:
                    try:
                        handle._run()
                    except clocks.Livelock as error:
                        self._stand_still(error)
                if not self.is_alive:
                    return
        finally:
            asyncio._set_running_loop(None)
        if self.slowness:
            seconds = self.universe.random.random() ** 4 * self.slowness
            self.used_seconds += seconds
            self._busy_until = self.universe.now + seconds

    def _stand_still(self, error: clocks.Livelock) -> None:
        """End what would have hung for good."""
        self.universe.note(str(error))
        self.kill()
        self.on_end(error)

    def kill(self) -> None:
        """End it as SIGKILL does: nothing of it runs any more, and its connections are reset."""
        self.is_alive = False
        for endpoint in list(self.endpoints):
            endpoint.reset()

    def bury(self) -> None:
        """Throw away what is left of it, without letting any of it act."""
        self.is_alive = False
        self._ready.clear()
        self._scheduled.clear()
        self._incoming.clear()
        asyncio._set_running_loop(self)
        try:
            for known in self._tasks:
                task = known()
                if task is None or task.done():
                    continue
                task._log_destroy_pending = False  # type: ignore[attr-defined]
                coroutine = task.get_coro()
                for _ in range(20):
                    with suppress(BaseException):
                        coroutine.close()  # type: ignore[union-attr]
                        break
        finally:
            asyncio._set_running_loop(None)
        self._ready.clear()
        self._scheduled.clear()
        self._closed = True

    def _begin(self, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self.main_task = self.create_task(self._main(main), name=self.name)

    async def _main(self, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        error: BaseException | None = None
        try:
            await main()
        except BaseException as raised:  # noqa: BLE001 -- the process ends with whatever it is
            error = raised
        self.universe.note(f"{self.name} ended: {error!r}")
        self.kill()
        self.on_end(error)

    # -- what asyncio asks of a loop -----------------------------------------------------

    def _make_task(self, loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> Any:
        task = asyncio.Task(coro, loop=loop, **options)
        self._tasks.append(ref(task))
        if len(self._tasks) > 2000:
            self._tasks = [one for one in self._tasks if (t := one()) is not None and not t.done()]
        return task

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def call_soon_threadsafe(self, callback: Any, *args: Any, context: Any = None) -> Any:
        return self.call_soon(callback, *args, context=context)

    def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:
        """Run a function of a thread pool here; there are no threads."""
        del executor
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 -- whatever it is, it goes to whoever waits
            future.set_exception(error)
        return future

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        error = context.get("exception")
        self.universe.note(f"{self.name}: {context.get('message')}: {error!r}")

    async def create_connection(
        self, protocol_factory: Any, host: Any = None, port: Any = None, **_options: Any
    ) -> Any:
        protocol = protocol_factory()
        transport = await self.network.connect(self, protocol, host, port)
        return transport, protocol
