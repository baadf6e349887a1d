"""Refuse inputs that can never be decided or stored, and fail their executions (W2)."""

import re

from noetl_common.errors import Conflict, NoetlError
from noetl_common.logging import get_logger
from noetl_contract.hints import EVERY_RUN
from noetl_contract.ingress import ExecuteMessage
from noetl_engine.inputs import Claimed
from noetl_engine.outputs import Answer

from noetl_orchestrator import metrics
from noetl_orchestrator.log.store import Store
from noetl_orchestrator.log.stored_rows import UnfoldedEnd
from noetl_orchestrator.memory.cache import ExecutionCache
from noetl_orchestrator.publishing.after_commit import AfterCommit
from noetl_orchestrator.publishing.outbox_rows import OutboxRows
from noetl_orchestrator.turn.child_cancels import ChildCancels
from noetl_orchestrator.turn.inputs import TurnInput
from noetl_orchestrator.turn.prepare import FINISHED, BadDecision

_log = get_logger()

_PAUSE_SECONDS = 2.0
# After so many moved positions the failure waits for another delivery.
_TRIES = 5
# The driver quotes the whole argument between these two.
_QUOTED_VALUES = re.compile(r"(invalid input for query argument \$\d+):.*?( \([^()]*\))?$")


class Refusals:
    """Refuse inputs and fail their executions."""

    def __init__(
        self,
        store: Store,
        cache: ExecutionCache,
        rows: OutboxRows,
        child_cancels: ChildCancels,
        after_commit: AfterCommit,
    ) -> None:
        self._store = store
        self._cache = cache
        self._rows = rows
        self._child_cancels = child_cancels
        self._after_commit = after_commit

    async def refuse(self, turn_input: TurnInput, error: Exception) -> None:
        """Refuse a bad input, and fail its execution without the fold."""
        is_data = not isinstance(error, BadDecision) or error.reason == "data"
        cause = error.error if isinstance(error, BadDecision) else error
        kind = "data" if is_data else "decision"
        metrics.DEAD_LETTERS.labels(kind).inc()
        what = type(turn_input.message).__name__
        _log.error(
            "input_refused",
            execution_id=turn_input.execution_id,
            input=what,
            kind=kind,
            error=_brief(cause),
            # The place matters for an error of a decision; data errors are in the data.
            exc_info=None if is_data else cause,
        )
        text = f"{what} could not be {'stored' if is_data else 'decided'}: {_brief(cause)}"
        is_claim = isinstance(turn_input.message, Claimed)
        # For a claim that can't be stored only the claimer is to blame.
        if not isinstance(turn_input.message, ExecuteMessage) and not (is_claim and is_data):
            try:
                await self._fail_execution(turn_input.execution_id, text, kind)
            except NoetlError as failure:
                # The input comes again, and then its execution fails.
                _log.warning(
                    "execution_not_failed",
                    execution_id=turn_input.execution_id,
                    error=failure.message,
                )
                await turn_input.caller.given_back(_PAUSE_SECONDS)
                return
        if is_claim and not is_data:
            await turn_input.caller.answered(FINISHED)
            return
        status = 422 if is_data else 500
        await turn_input.caller.refused(text, Answer(status=status, error=text))

    async def _fail_execution(self, execution_id: int, error: str, kind: str) -> None:
        end = await self._end(execution_id, error, f"{kind}_error")
        self._cache.forget(execution_id)
        if end is None:
            return
        metrics.EXECUTIONS_FAILED.inc()
        _log.error("execution_failed_unfolded", execution_id=execution_id, error=error)
        if end.pool is not None:
            over = [(event_id, EVERY_RUN) for event_id in end.held]
            await self._after_commit.stop_runs(execution_id, end.pool, over, ended=True)

    async def _end(self, execution_id: int, error: str, reason: str) -> UnfoldedEnd | None:
        """Append the failure; return what is over, or None if the execution is not running."""
        new_id = self._rows.new_id
        event_id = new_id()
        tried: int | None = None
        for _ in range(_TRIES):
            found = (await self._store.load_executions([execution_id])).get(execution_id)
            if found is None or found.position == tried:
                return None
            tried = found.position
            end = await self._store.fail_execution(
                execution_id,
                expected=tried,
                event_id=event_id,
                error=error,
                reason=reason,
                outbox_id=new_id(),
                subject=self._rows.event_subject(execution_id),
                messages=await self._child_cancels.of_failed(execution_id, event_id),
            )
            if end is not None:
                return end
        raise Conflict(what=f"execution {execution_id}")


def _brief(error: BaseException) -> str:
    """Describe an error for its sender and the log: one line, without the values it quotes."""
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    return _QUOTED_VALUES.sub(r"\1\2", text)[:300]
