"""The container tool: start a container and leave its end to the watcher."""

import asyncio
import contextlib
from collections.abc import Callable
from hashlib import blake2b

from lightkube import KubeConfig
from noetl_contract.http.workers.runtimes import RunningCommand
from noetl_contract.json import JsonObject

from noetl_worker import metrics
from noetl_worker.settings import Settings
from noetl_worker.tools.containers.allowed import Allowed
from noetl_worker.tools.containers.backend import (
    Backend,
    BackendError,
    NotStarted,
    Started,
)
from noetl_worker.tools.containers.callback import Callbacks, error_of
from noetl_worker.tools.containers.engine.api import EngineApi
from noetl_worker.tools.containers.engine.backend import EngineBackend
from noetl_worker.tools.containers.engine.body import Ceilings
from noetl_worker.tools.containers.kubernetes.backend import KubernetesBackend
from noetl_worker.tools.containers.plan import Origin, Plan
from noetl_worker.tools.containers.reading import read_plan
from noetl_worker.tools.containers.watcher import Watcher
from noetl_worker.tools.tool import Failure, ToolContext, ToolError, ToolParts, ToolResult

_CLEANING_SECONDS = 10.0
_NONE = "this worker runs no containers: NOETL_CONTAINER_BACKEND is not set"

type MakeBackend = Callable[[Settings], Backend]


class Container:
    """The container tool.

    Args:
        settings: the worker's.
        backend: where containers run; None: nowhere, and the tool refuses.
        callbacks: tell the control plane of ends.
    """

    def __init__(self, settings: Settings, backend: Backend | None, callbacks: Callbacks) -> None:
        self._allowed = Allowed(settings)
        self._backend = backend
        self._mark = _mark_of(settings.worker_id)
        self._pool = settings.pool()
        self._watcher = (
            None
            if backend is None
            else Watcher(
                backend,
                callbacks.report,
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

    async def run(self, config: JsonObject, context: ToolContext) -> ToolResult:
        """Start a container; its end comes as a callback."""
        if self._backend is None or self._watcher is None:
            raise ToolError("Tool not found", f"container: {_NONE}")
        plan = read_plan(
            context.render(config),
            config,
            self._origin(context),
            self._allowed,
            timeout=context.timeout,
        )
        try:
            started = await self._start(self._backend, plan)
        except NotStarted as problem:
            return _not_started(plan, problem)
        self._watcher.expect(plan.name, plan.origin)
        metrics.CONTAINERS_STARTED.inc()
        data: JsonObject = {
            "job_name": started.name,
            "job_uid": started.uid,
            "namespace": started.namespace,
            "labels": dict(plan.labels()),
        }
        return ToolResult(data=data, pending_callback=True)

    async def _start(self, backend: Backend, plan: Plan) -> Started:
        try:
            return await backend.start(plan)
        except BackendError as error:
            raise ToolError(
                "Execution failed",
                f"container: {error}",
                failure=Failure(kind="connection", retryable=True),
            ) from error
        except asyncio.CancelledError:
            # The command is over, or its time is: nobody waits for what was begun.
            with contextlib.suppress(BackendError, TimeoutError):
                async with asyncio.timeout(_CLEANING_SECONDS):
                    await asyncio.shield(backend.discard(plan))
            raise

    def _origin(self, context: ToolContext) -> Origin:
        return Origin(
            execution_id=context.execution_id,
            event_id=context.event_id,
            command_id=str(context.variables.get("command_id", "")),
            step=context.step,
            callback=context.server_url,
            pool=self._pool,
            worker=self._mark,
            shard=context.shard,
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


def _not_started(plan: Plan, problem: NotStarted) -> ToolResult:
    """Return the result of a container that can't run, in the form of a callback's."""
    reason = str(problem)
    return ToolResult(
        status="error",
        data={
            "terminal_state": problem.state,
            "job_name": plan.name,
            "exit_code": None,
            "reason": reason,
            "error": error_of(problem.state, reason),
        },
        error=error_of(problem.state, reason),
        failure=Failure(kind=problem.state, retryable=problem.state == "failed_image_pull"),
    )


def _mark_of(worker_id: str) -> str:
    """Return a worker's mark: its id may have characters that labels can't."""
    return blake2b(worker_id.encode(), digest_size=10).hexdigest()


def _engine(settings: Settings) -> Backend:
    return EngineBackend(
        EngineApi(settings.container_engine_url),
        pool=settings.pool(),
        ceilings=Ceilings(
            network=settings.container_network,
            pids=settings.container_pids_max,
            user=settings.container_user,
        ),
        pull_seconds=settings.container_pull_seconds,
        log_bytes=settings.container_log_bytes,
    )


def _kubernetes(settings: Settings) -> Backend:
    file = settings.container_kubeconfig
    spaces = dict.fromkeys((settings.container_namespace, *settings.container_namespaces))
    return KubernetesBackend(
        (lambda: KubeConfig.from_file(file)) if file else KubeConfig.from_env,
        pool=settings.pool(),
        namespaces=tuple(spaces),
        log_bytes=settings.container_log_bytes,
        user=settings.container_user,
    )


_BACKENDS: dict[str, MakeBackend] = {"engine": _engine, "kubernetes": _kubernetes}


def create(parts: ToolParts) -> Container:
    """Make the tool; once per worker."""
    settings = parts.settings
    make = _BACKENDS.get(settings.container_backend)
    backend = None if make is None else make(settings)
    return Container(settings, backend, Callbacks(parts.edge))
