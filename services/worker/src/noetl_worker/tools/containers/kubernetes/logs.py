"""Output of pods: its end afterwards, and each line at once for watchers."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

from lightkube.models.core_v1 import PodStatus
from lightkube.resources.core_v1 import Pod

from noetl_worker.interpreters.run import Listener
from noetl_worker.tools.containers.backend import BackendError

_MOST_FOLLOWED = 32
_LAST_LINES_SECONDS = 1.0

type Follow = Callable[[str, str], AsyncIterator[str]]
"""Takes a pod and its namespace, and returns its lines, also those to come."""


async def end_of_lines(lines: AsyncIterable[str], most: int) -> tuple[str, bool]:
    """Return the end of lines, at most so many characters, and whether some were left out."""
    kept: deque[str] = deque()
    size, is_cut = 0, False
    async for line in lines:
        kept.append(line)
        size += len(line)
        while size > most and len(kept) > 1:
            size -= len(kept.popleft())
            is_cut = True
    text = "".join(kept)
    return text[-most:], is_cut or len(text) > most


@dataclass(slots=True)
class _Heard:
    listener: Listener
    close: Callable[[], Awaitable[None]] | None
    tasks: dict[str, "asyncio.Task[None]"] = field(default_factory=dict)
    """By pod."""


class Followers:
    """Pass on the output of the pods of Jobs while they run.

    It costs one open request for each pod that has begun, and is for looking on: above a number
    of pods at once the others are not followed.
    """

    def __init__(self, follow: Follow) -> None:
        self._follow = follow
        self._heard: dict[str, _Heard] = {}
        self._ending: set[asyncio.Task[None]] = set()

    def add(
        self, name: str, listener: Listener, close: Callable[[], Awaitable[None]] | None
    ) -> None:
        """Follow the pods of a Job from now on.

        Args:
            name: of the Job.
            listener: gets the lines; both streams are one here.
            close: is called once, when the Job is over, if anything is to be.
        """
        self._heard[name] = _Heard(listener, close)

    def see(self, name: str, pod: Pod) -> None:
        """Take a pod of a Job as it is seen; one that has begun is followed."""
        heard = self._heard.get(name)
        meta = pod.metadata
        if heard is None or meta is None or meta.name is None or meta.name in heard.tasks:
            return
        if not _has_begun(pod) or self._followed() >= _MOST_FOLLOWED:
            return
        lines = self._pass_on(heard.listener, meta.name, meta.namespace or "")
        heard.tasks[meta.name] = asyncio.create_task(lines)

    def _followed(self) -> int:
        return sum(
            not task.done() for heard in self._heard.values() for task in heard.tasks.values()
        )

    async def _pass_on(self, listener: Listener, pod: str, namespace: str) -> None:
        with contextlib.suppress(BackendError):
            async for line in self._follow(pod, namespace):
                listener("stdout", line.encode())

    async def end(self, name: str) -> None:
        """Pass on the last lines of an ended Job for a moment, and follow it no more."""
        heard = self._heard.pop(name, None)
        if heard is None:
            return
        tasks = set(heard.tasks.values())
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=_LAST_LINES_SECONDS)
            for task in late:
                task.cancel()
        if heard.close is not None:
            await heard.close()

    def end_soon(self, name: str) -> None:
        """Do the same, and wait for nothing."""
        if name in self._heard:
            task = asyncio.create_task(self.end(name))
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)

    async def close(self) -> None:
        """Follow nothing any more."""
        for heard in self._heard.values():
            for task in heard.tasks.values():
                task.cancel()
        for name in list(self._heard):
            await self.end(name)


def _has_begun(pod: Pod) -> bool:
    states = [one.state for one in (pod.status or PodStatus()).containerStatuses or []]
    return any(one is not None and (one.running or one.terminated) for one in states)
