"""Results and errors of executions that have ended."""

from noetl_contract.http.executions.reads import ExecutionDetail, ExecutionStatusAnswer
from noetl_contract.json import Json

from noetl_client.errors import ExecutionFailed, NotEnded
from noetl_client.transport import TERMINAL_STATUSES


def is_over(standing: ExecutionStatusAnswer) -> bool:
    """Return whether an execution has ended."""
    return standing.status in TERMINAL_STATUSES


def result_of(detail: ExecutionDetail) -> Json:
    """Return the result of an execution that has completed.

    Raises:
        ExecutionFailed: it has failed, or was cancelled.
        NotEnded: it runs.
    """
    execution_id, status = str(detail.execution_id), detail.status
    if status not in TERMINAL_STATUSES:
        raise NotEnded(f"execution {execution_id} is {status}: it has no result yet")
    if status != "COMPLETED":
        cause = detail.cause
        reason = detail.error or (cause.sentence() if cause is not None else "no reason is known")
        raise ExecutionFailed(execution_id, status, reason, cause)
    return detail.result
