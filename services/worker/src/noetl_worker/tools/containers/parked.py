"""Common part of tools that start a container and leave its end to the watcher."""

import asyncio
import contextlib
from hashlib import blake2b

from noetl_contract.http.workers.runtimes import RunningCommand

from noetl_worker import metrics
from noetl_worker.settings import Settings
from noetl_worker.tools.containers.backend import Backend, BackendError, Ending, Started
from noetl_worker.tools.containers.plan import Origin, Plan
from noetl_worker.tools.containers.watcher import Report, Watcher
from noetl_worker.tools.tool import Failure, ToolContext, ToolError

_CLEANING_SECONDS = 10.0


class Parked:
    """A tool whose containers go on after their commands were reported.

    Args:
        settings: the worker's.
        kind: of the tool.
        backend: where containers run; None: nowhere.
        report: reports an end to the control plane.
    """

    def __init__(
        self, settings: Settings, kind: str, backend: Backend | None, report: Report
    ) -> None:
        self._kind = kind
        self._mark = _mark_of(settings.worker_id)
        self._pool = settings.pool()
        self._backend = backend
        self._watcher = (
            None
            if backend is None
            else Watcher(
                backend,
                report,
                worker=self._mark,
                takeover_seconds=settings.container_takeover_seconds,
                poll_seconds=settings.container_poll_seconds,
                stuck_seconds=settings.container_pull_seconds,
            )
        )

    @property
    def is_available(self) -> bool:
        """Whether there is a place where containers can run."""
        return self._backend is not None

    async def start(self, backend: Backend, plan: Plan) -> Started:
        """Start a container, or find that of an earlier run of its command.

        Raises:
            NotStarted: it can't run at all.
            ToolError: the place can't be reached, or refused.
        """
        try:
            return await backend.start(plan)
        except BackendError as error:
            raise ToolError(
                "Execution failed",
                f"{self._kind}: {error}",
                failure=Failure(kind="connection", retryable=True),
            ) from error
        except asyncio.CancelledError:
            # The command is over, or its time is: nobody waits for what was begun.
            await self._discard(backend, plan)
            raise

    def leave(self, plan: Plan) -> None:
        """Leave a started container's end to the watcher, which reports it."""
        if self._watcher is not None:
            self._watcher.expect(plan.name, plan.origin)
        metrics.CONTAINERS_STARTED.inc()

    async def end_of(self, backend: Backend, plan: Plan) -> Ending:
        """Wait for the end of a started container; an interrupted wait removes it."""
        over: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()
        if self._watcher is not None:
            self._watcher.expect(plan.name, plan.origin, over)
        metrics.CONTAINERS_STARTED.inc()
        try:
            return await over
        except asyncio.CancelledError:
            await self._discard(backend, plan)
            raise

    async def _discard(self, backend: Backend, plan: Plan) -> None:
        with contextlib.suppress(BackendError, TimeoutError):
            async with asyncio.timeout(_CLEANING_SECONDS):
                await asyncio.shield(backend.discard(plan))

    def origin(self, context: ToolContext) -> Origin:
        """Return the command that a container is started for."""
        return Origin(
            execution_id=context.execution_id,
            event_id=context.event_id,
            command_id=str(context.variables.get("command_id", "")),
            step=context.step,
            callback=context.server_url,
            pool=self._pool,
            worker=self._mark,
            shard=context.shard,
            kind=self._kind,
        )

    async def watch(self) -> None:
        """Follow the containers of the pool, for as long as the worker runs."""
        if self._watcher is not None:
            await self._watcher.run()

    def stop(self, event_id: int, *, attempts: int) -> None:
        """Remove the container of a command that is over."""
        if self._watcher is not None:
            self._watcher.stop(event_id, attempts=attempts)

    def named(self, shard: int | None = None) -> list[tuple[int, RunningCommand]]:
        """Return the commands that containers run for, with their shards."""
        return [] if self._watcher is None else self._watcher.named(shard)

    async def close(self) -> None:
        """Close the connections; containers go on."""
        if self._backend is not None:
            await self._backend.close()


def _mark_of(worker_id: str) -> str:
    """Return a worker's mark: its id may have characters that labels can't."""
    return blake2b(worker_id.encode(), digest_size=10).hexdigest()
