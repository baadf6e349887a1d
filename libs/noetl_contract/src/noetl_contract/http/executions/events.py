"""`/api/events*`: reports of workers, and events by their ids."""

from typing import Any, Literal

from pydantic import AliasChoices, Field

from noetl_contract.failures.cause import Cause
from noetl_contract.http.aliases import Aliased
from noetl_contract.http.moments import Rfc3339
from noetl_contract.http.scalars import I64, Flag, IntegerOrText, Moment
from noetl_contract.model import Model, example

_EVENT_TYPE: Any = Field(
    validation_alias=AliasChoices("event_type", "name"), description="required here or as `name`"
)
_CONTEXT: Any = Field(default=None, validation_alias=AliasChoices("payload", "context"))


class EventRequest(Aliased):
    """One event of a worker; the first of two names of a field wins."""

    model_config = example(
        execution_id=325077236512452608,
        event_type="command.completed",
        step="start",
        status="success",
        event_id=325077238110482432,
        worker_id="w-1",
        meta={"attempts": 0},
        context={"command_id": "325077236512452608:start:325077236516646912", "status": "success"},
    )

    execution_id: IntegerOrText
    event_type: str = _EVENT_TYPE
    step: str
    context: Any = _CONTEXT
    meta: Any = None
    worker_id: str | None = None
    result_kind: str = Field(default="data", description="`data`, `ref` or `refs`")
    result_uri: str | None = None
    event_ids: list[I64] | None = None
    actionable: Flag = True
    informative: Flag = True
    event_id: IntegerOrText | None = Field(
        default=None, description="the sender's id; the same id again is answered and not repeated"
    )
    status: str | None = None
    created_at: Moment | None = None


class EventAnswer(Model):
    """Answer that the event is in the log; `late` if it was stored, but decides nothing."""

    model_config = example(status="ok", event_id=325077238110482432, commands_generated=0)

    status: Literal["ok", "late"]
    event_id: int
    commands_generated: int = 0


class BatchEvent(Aliased):
    """One event of a batch; ids, times and status are the server's."""

    event_type: str = _EVENT_TYPE
    step: str
    context: Any = _CONTEXT
    actionable: Flag = False
    informative: Flag = True


class EventBatchRequest(Model):
    """Several events of one execution, written together."""

    model_config = example(
        execution_id="325077236512452608",
        worker_id="w1",
        events=[{"step": "start", "name": "call.done", "payload": {"output": 1}}],
    )

    execution_id: IntegerOrText
    worker_id: str | None = None
    events: list[BatchEvent]


class EventBatchAnswer(Model):
    """Ids of the events, in the order of the request."""

    status: Literal["ok"]
    event_ids: list[int]
    commands_generated: int = 0


class StreamEvent(Model):
    """One event in an event stream, secrets masked; a failed end has a `cause`."""

    event_id: int | str
    execution_id: int | str
    event_type: str
    node_name: str | None
    status: str
    created_at: Rfc3339
    result: Any = None
    error: str | None = None
    cause: Cause | None = None


class EventResult(Model):
    """Result of an event, secrets masked."""

    event_id: int
    execution_id: int | str
    event_type: str | None
    node_name: str | None
    status: str
    result: Any
    error: str | None
    created_at: Rfc3339


class BatchStatus(Model):
    """State of a batch, which is completed as soon as it is known."""

    request_id: str
    execution_id: str
    state: Literal["completed"]
    status: str
    error_code: str | None
    message: str | None
    commands_generated: int
    idempotency_key: str | None
    updated_at: Rfc3339
