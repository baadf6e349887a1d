"""The container tool: start a container and leave its end to the watcher."""

from noetl_contract.json import JsonObject

from noetl_worker.settings import Settings
from noetl_worker.tools.containers.allowed import Allowed
from noetl_worker.tools.containers.backend import Backend, NotStarted
from noetl_worker.tools.containers.callback import Callbacks, error_of
from noetl_worker.tools.containers.parked import Parked
from noetl_worker.tools.containers.places import BACKENDS
from noetl_worker.tools.containers.plan import KIND, Plan
from noetl_worker.tools.containers.reading import read_plan
from noetl_worker.tools.tool import Failure, ToolContext, ToolError, ToolParts, ToolResult

_NONE = "this worker runs no containers: NOETL_CONTAINER_BACKEND is not set"


class Container(Parked):
    """The container tool.

    Args:
        settings: the worker's.
        backend: where containers run; None: nowhere, and the tool refuses.
        callbacks: report ends to the control plane.
    """

    def __init__(self, settings: Settings, backend: Backend | None, callbacks: Callbacks) -> None:
        super().__init__(settings, KIND, backend, callbacks.report)
        self._allowed = Allowed(settings)

    async def run(self, config: JsonObject, context: ToolContext) -> ToolResult:
        """Start a container; its end comes as a callback."""
        if self._backend is None:
            raise ToolError("Tool not found", f"container: {_NONE}")
        plan = read_plan(
            context.render(config),
            config,
            self.origin(context),
            self._allowed,
            timeout=context.timeout,
        )
        try:
            started = await self.start(self._backend, plan)
        except NotStarted as problem:
            return _not_started(plan, problem)
        self.leave(plan)
        data: JsonObject = {
            "job_name": started.name,
            "job_uid": started.uid,
            "namespace": started.namespace,
            "labels": dict(plan.labels()),
        }
        return ToolResult(data=data, pending_callback=True)


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


def create(parts: ToolParts) -> Container:
    """Make the tool; once per worker."""
    settings = parts.settings
    make = BACKENDS.get(settings.container_backend)
    backend = None if make is None else make(settings)
    return Container(settings, backend, Callbacks(parts.edge))
