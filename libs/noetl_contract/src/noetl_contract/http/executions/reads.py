"""`/api/executions*`."""

from typing import Annotated, Any, Literal

from pydantic import Field, PlainValidator

from noetl_contract.failures.cause import Cause
from noetl_contract.http.scalars import I32, Flag, IfTrue
from noetl_contract.model import Model, example


class ExecutionEntry(Model):
    """One execution in a list; `cause`, `soft_error` and `paused` are there only with a value."""

    execution_id: int | str
    catalog_id: int | str
    path: str | None
    version: int
    status: str
    started_at: str
    completed_at: str | None
    event_count: int
    start_time: str
    end_time: str | None
    duration_seconds: float
    duration_human: str
    progress: int
    parent_execution_id: int | str | None
    error: str | None
    soft_errors: int
    cause: Cause | None = None
    soft_error: Cause | None = None
    paused: Literal[True] | None = None


class DetailEvent(Model):
    """One event, secrets masked; `truncated` says that context or result were left out.

    `cause` is in the event that ends a failed execution.
    """

    event_id: int
    event_type: str | None
    node_id: str | None
    node_name: str | None
    status: str
    created_at: str
    context: Any
    result: Any
    error: str | None
    catalog_id: int | str
    parent_execution_id: int | str | None
    parent_event_id: int | str | None
    duration: float | None
    execution_id: int | str
    timestamp: str
    truncated: Literal[True] | None = None
    cause: Cause | None = None


class Pagination(Model):
    """Position of a page among all."""

    page: int
    page_size: int
    total_events: int
    total_pages: int
    has_next: bool
    has_prev: bool


class EventsAnswer(Model):
    """A page of events, newest first."""

    execution_id: int | str
    path: str | None
    status: str
    events: list[DetailEvent]
    pagination: Pagination


class ExecutionDetail(Model):
    """An execution with its events: ascending, or a descending page when one was asked for.

    `cause`, `soft_error` and `paused` are there only with a value.
    """

    execution_id: int | str
    catalog_id: int | str
    path: str | None
    version: int
    status: str
    started_at: str
    completed_at: str | None
    parent_execution_id: int | str | None
    workload: Any
    events: list[DetailEvent]
    start_time: str
    end_time: str | None
    duration_seconds: float
    duration_human: str
    progress: int
    result: Any
    error: str | None
    soft_errors: int
    cause: Cause | None = None
    soft_error: Cause | None = None
    paused: Literal[True] | None = None
    events_included: bool
    events_endpoint: str
    pagination: Pagination


class ExecutionProgress(Model):
    """Steps entered, done, running now, failed."""

    total_steps: int
    completed_steps: int
    running_steps: int
    failed_steps: int


class ExecutionStatusAnswer(Model):
    """Status of an execution; the last four fields are there only with a value."""

    execution_id: int | str
    status: str
    current_step: str | None
    progress: ExecutionProgress
    is_cancelled: bool
    completed: bool
    failed: bool
    completed_steps: list[str]
    start_time: str
    end_time: str | None
    duration_seconds: float
    duration_human: str
    soft_errors: int
    error: str | None = None
    cause: Cause | None = None
    soft_error: Cause | None = None
    paused: Literal[True] | None = None


Reason = Annotated[
    str | None,
    PlainValidator(
        lambda value: value if isinstance(value, str) else None, json_schema_input_type=str | None
    ),
]
"""A text; any other value counts as absent."""


class CancelRequest(Model):
    """Reason of a cancel, and whether all descendants end too."""

    model_config = example(reason="not needed any more", cascade=True)

    reason: Reason = None
    cascade: IfTrue = False


class CancelAnswer(Model):
    """The execution is cancelled; it and the others that ended with it, as strings."""

    execution_id: int | str
    message: str
    status: str
    cancelled_executions: list[str] = Field(default_factory=list)


class CancellationCheck(Model):
    """Cancellation state of an execution; an unknown one was not cancelled."""

    execution_id: int | str
    is_cancelled: bool
    cancelled: bool
    completed: bool
    failed: bool
    status: str | None


class FinalizeRequest(Model):
    """The status to end with, and why."""

    model_config = example(status="FAILED", error="forced by operator")

    status: Literal["COMPLETED", "FAILED"]
    error: str | None = None


class FinalizeAnswer(Model):
    """The current status of the execution: another one if it had ended before."""

    model_config = example(
        execution_id=325077236512452608,
        status="FAILED",
        message="Execution finalized with status: FAILED",
    )

    execution_id: int | str
    status: str
    message: str


class PauseRequest(Model):
    """Reason of a pause or resume; the log shows it."""

    model_config = example(reason="the supplier is down")

    reason: str | None = None


class PauseAnswer(Model):
    """Pause state of the execution."""

    model_config = example(execution_id=325077236512452608, status="paused")

    execution_id: int
    status: Literal["paused", "running"]


class CleanupRequest(Model):
    """Greatest age, in minutes, of a running execution; `dry_run` changes nothing."""

    model_config = example(older_than_minutes=5, dry_run=True)

    older_than_minutes: I32 | None = Field(default=5, json_schema_extra={"minimum": 1})
    dry_run: Flag = False


class CleanupAnswer(Model):
    """Executions that were, or would be, cancelled."""

    model_config = example(
        cancelled_count=1,
        execution_ids=[325077236512452608],
        message="[DRY RUN] Would cancel 1 stuck executions older than 5 minutes",
    )

    cancelled_count: int
    execution_ids: list[int | str]
    message: str


class EhdbExecution(Model):
    """Short form of an execution."""

    execution_id: int | str
    status: str
    path: str | None
    events: int
    event_count: int
    started_at: str


class EhdbExecutions(Model):
    """Executions, newest first."""

    executions: list[EhdbExecution]
    count: int


class EhdbState(Model):
    """Short form of an execution's status."""

    execution_id: int | str
    status: str
    terminal: bool
    current_node: str | None
    path: str | None
    catalog_id: int | str
    parent_execution_id: int | str | None
    event_count: int
    started_at: str
    completed_at: str | None


class EhdbExecutionDetail(ExecutionDetail):
    """An execution with its events and its status."""

    exists: Literal[True]
    state: EhdbState


class EhdbEvents(Model):
    """Events in the order of the log."""

    execution_id: int | str
    events: list[DetailEvent]
    count: int
