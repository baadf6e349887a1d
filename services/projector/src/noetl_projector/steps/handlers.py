"""Reads of steps, one function per operation."""

from collections.abc import Sequence

from noetl_bus.rpc import Handlers, answers
from noetl_contract.http.executions.steps import Iterations, StepEntry, StepList, StepState
from noetl_contract.http.moments import duration_seconds, rfc3339_or_none
from noetl_contract.http.secret_values import without
from noetl_contract.rpc import Refusal
from noetl_contract.rpc.projector import EXECUTIONS_STEPS, StepsPage

from noetl_projector.known_secrets import KnownSecrets
from noetl_projector.projection.store import FAR_BEHIND, ProjectionStore
from noetl_projector.steps.store import Step, StepsRead, StepStore

_MOST = 1000
# A read moves an execution by 200,000 rows at most, within about a second.
_MOVES = 10
_GOING_ON = frozenset({StepState.RUNNING, StepState.WAITING})


class StepHandlers(Handlers):
    """Answers from the read model and the log behind it."""

    def __init__(
        self, store: StepStore, projection: ProjectionStore, *, secrets: KnownSecrets
    ) -> None:
        self._store = store
        self._projection = projection
        self._secrets = secrets

    @answers(EXECUTIONS_STEPS)
    async def on_steps(self, request: StepsPage) -> StepList | Refusal:
        """List the steps of an execution in the order in which they began."""
        limit = min(max(request.limit, 1), _MOST)
        found = await self._read(request, limit + 1)
        if found is not None and found.behind > FAR_BEHIND:
            await self._projection.approach(request.execution_id, times=_MOVES)
            found = await self._read(request, limit + 1)
        if found is None:
            return Refusal(404, f"Execution not found: {request.execution_id}")
        page = found.steps[:limit]
        has_text = any(step.error for step in page)
        secrets = await self._secrets.of(request.execution_id) if has_text else ()
        return StepList(
            execution_id=request.execution_id,
            path=found.path,
            status=found.status,
            steps=[_entry(step, found, secrets) for step in page],
            next=str(page[-1].first_position) if len(found.steps) > limit else None,
        )

    async def _read(self, request: StepsPage, limit: int) -> StepsRead | None:
        return await self._store.list_steps(
            request.execution_id, after=request.after, state=request.state, limit=limit
        )


def _entry(step: Step, execution: StepsRead, secrets: Sequence[str]) -> StepEntry:
    ended_at = None if step.state in _GOING_ON else step.ended_at
    if step.state == StepState.CANCELLED:
        ended_at = execution.ended_at
    seconds = None
    if step.started_at is not None and ended_at is not None:
        seconds = duration_seconds(step.started_at, ended_at)
    is_loop = step.is_cursor or step.total is not None
    return StepEntry(
        step=step.step,
        state=step.state,
        runs=step.runs,
        first_started_at=rfc3339_or_none(step.first_started_at),
        started_at=rfc3339_or_none(step.started_at),
        ended_at=rfc3339_or_none(ended_at),
        duration_seconds=seconds,
        attempts=step.attempts,
        iterations=Iterations(total=step.total, done=step.done, failed=step.failed)
        if is_loop
        else None,
        error=None if step.error is None else without(step.error, secrets),
        worker_id=step.worker_id,
    )
