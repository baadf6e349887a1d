"""`/api/internal/*`: the system pool's and operators' routes."""

from typing import Annotated, Any, Literal

from pydantic import Field, PlainValidator, model_validator

from noetl_contract.http.scalars import (
    F64,
    I32,
    I64,
    Id,
    IfText,
    Moment,
    is_i64,
    loose_integer,
    parse_i64,
)
from noetl_contract.json import Json, JsonObject
from noetl_contract.model import Model, example


def _if_id(value: Json) -> int | None:
    number = parse_i64(value) if isinstance(value, str) else value
    return number if is_i64(number) else None


_IfId = Annotated[int | None, PlainValidator(_if_id, json_schema_input_type=int | str | None)]
"""An id; any other value counts as absent."""


class ClaimRowsRequest(Model):
    """Number of rows to borrow, 1000 at most."""

    model_config = example(limit=100)

    limit: Annotated[int | None, loose_integer(None)] = Field(
        default=None, description="100 if absent"
    )


class ClaimedRow(Model):
    """A row as borrowed; `attempts` counts this time too, `message_id` is for the broker."""

    outbox_id: int
    event_id: int
    execution_id: int
    subject: str
    payload: Any
    payload_codec: str
    attempts: int
    message_id: str


class ClaimedRows(Model):
    """Borrowed rows by id."""

    model_config = example(
        rows=[
            {
                "outbox_id": 41,
                "event_id": 325077236516646911,
                "execution_id": 325077236512452608,
                "subject": "noetl.events.default.default.325077236512452608.0",
                "payload": {"event_type": "playbook_started"},
                "payload_codec": "json",
                "attempts": 1,
                "message_id": "e:325077236512452608:1",
            }
        ],
        claimed=1,
    )

    rows: list[ClaimedRow]
    claimed: int


class MarkPublishedRequest(Model):
    """Rows that were published."""

    model_config = example(outbox_ids=[41, 42])

    outbox_ids: list[Id] = Field(min_length=1)


class MarkedRows(Model):
    """Number of rows marked."""

    model_config = example(marked=2)

    marked: int


class MarkFailedRequest(Model):
    """A row that was not published, and why; `attempts` as the claim gave it."""

    model_config = example(outbox_id=43, error="nats: no responders", attempts=1)

    outbox_id: Annotated[int, loose_integer(None, has_null=False)]
    error: str = Field(min_length=1)
    attempts: Annotated[int, loose_integer(1)] = 1
    max_delay_seconds: Annotated[int, loose_integer(300)] = 300


class MarkedRow(Model):
    """Seconds until the row can be borrowed again; answered for unknown rows too."""

    model_config = example(marked=True, available_at_in=1)

    marked: bool
    available_at_in: int


class PendingRows(Model):
    """Number of rows that wait."""

    model_config = example(pending=3)

    pending: int


class PoolDemandAnswer(Model):
    """Demand of a pool: commands that need a worker, for autoscalers.

    `waiting` are not claimed yet, `running` are held by a worker; `total` is both. A command whose
    tool waits for a callback needs no worker and is neither.
    """

    model_config = example(pool="shared", waiting=7, running=4, total=11)

    pool: str = Field(description="the pool as subjects of commands name it")
    waiting: int
    running: int
    total: int


class ProjectedEvent(Model):
    """An event of another system; other keys are accepted and not stored."""

    event_id: I64
    execution_id: Id | None = None
    catalog_id: _IfId = None
    parent_event_id: Id | None = None
    event_type: str | None = None
    node_id: str | None = None
    node_name: str | None = None
    node_type: str | None = None
    status: str | None = None
    error: str | None = None
    stack_trace: str | None = None
    duration: F64 | None = None
    context: Any = None
    result: Any = None
    meta: Any = None
    tenant_id: IfText = None
    organization_id: IfText = None
    timestamp: Moment | None = Field(default=None, description="RFC 3339; else `created_at`")
    created_at: Moment | None = None

    @model_validator(mode="before")
    @classmethod
    def _one_time(cls, value: Json) -> Json:
        """Leave `created_at` unread where `timestamp` is there."""
        if isinstance(value, dict) and value.get("timestamp") is not None:
            return {name: item for name, item in value.items() if name != "created_at"}
        return value


class ProjectRequest(Model):
    """Events to append."""

    model_config = example(
        events=[
            {
                "event_id": 99991781514562001,
                "execution_id": 99991781514562,
                "catalog_id": 321000000000000001,
                "event_type": "validation.test",
                "status": "COMPLETED",
            }
        ]
    )

    events: list[ProjectedEvent] = Field(min_length=1)


class ProjectAnswer(Model):
    """Numbers of new events, and of events that their logs had already."""

    model_config = example(projected=1, duplicates=0)

    projected: int
    duplicates: int


class PurgeRequest(Model):
    """Retention of commands, runtimes and events; 0 or less keeps everything."""

    model_config = example(
        command_retention_days=7, runtime_stale_minutes=60, event_retention_days=365
    )

    command_retention_days: Annotated[int, loose_integer(7)] = 7
    runtime_stale_minutes: Annotated[int, loose_integer(60)] = 60
    event_retention_days: Annotated[int, loose_integer(0)] = 0


class PurgeAnswer(Model):
    """Counts of removed rows; `events_purged` counts partitions, named if there are any."""

    model_config = example(
        commands_purged=12,
        runtime_purged=1,
        events_purged=1,
        event_partitions_dropped=["event_pre_2026"],
    )

    commands_purged: int
    runtime_purged: int
    events_purged: int
    event_partitions_dropped: list[str] | None = None


type JobState = Literal[
    "succeeded",
    "failed",
    "failed_image_pull",
    "failed_oom",
    "failed_node_lost",
    "failed_timeout",
]
"""End state of a container job."""


class CallbackRequest(Model):
    """Report of the end of a container job."""

    model_config = example(
        state="failed_oom",
        job_name="noetl-container-train-42-q1",
        exit_code=137,
        reason="Memory limit exceeded (256Mi)",
    )

    state: JobState
    job_name: str
    job_uid: str | None = None
    reason: str | None = None
    stdout_uri: str | None = None
    stderr_uri: str | None = None
    completed_at: Moment | None = None
    exit_code: I32 | None = None
    command_id: str | None = Field(
        default=None,
        description="Command that started the job; without it the oldest of the step that waits.",
    )
    started_at: Moment | None = None
    duration_ms: Annotated[int, Field(ge=0)] | None = None
    logs: str | None = Field(default=None, description="End of what the job has written.")
    logs_truncated: bool | None = None
    error: str | None = Field(default=None, description="What went wrong, for people.")
    result: JsonObject | None = Field(
        default=None,
        description="The step's result as a worker reports it, in place of the description of a "
        "container. Its `status` alone if the result store refuses it for good: the step fails "
        "with `error`.",
    )


class CallbackAnswer(Model):
    """Acknowledgement of a callback; with the id of the event if the execution is known."""

    model_config = example(status="accepted_in_flight", event_id="325077241000000001")

    status: Literal["accepted_in_flight", "accepted_stale"]
    event_id: str | None = None


class AdvanceRequest(Model):
    """Executions to advance; without names those that lag behind, up to `limit`."""

    model_config = example(limit=1000)

    execution_ids: list[Id] | None = Field(default=None, max_length=5000)
    limit: Annotated[int, loose_integer(1000)] = 1000


class AdvanceAnswer(Model):
    """Numbers of rows moved and of rows checked."""

    model_config = example(advanced=3, checked=3)

    advanced: int
    checked: int


class RebuildRequest(Model):
    """One page of a rebuild: its shard, the execution before it, and its size."""

    model_config = example(limit=1000)

    shard: Annotated[int, loose_integer(0)] = 0
    after: Id | None = None
    limit: Annotated[int, loose_integer(1000)] = 1000


class RebuildAnswer(Model):
    """Result of one page; the next one begins at `after`, null at the end of the rebuild."""

    model_config = example(rewritten=1000, removed=0, after=325077236512452608)

    rewritten: int
    removed: int
    after: int | None


class IngressAnswer(Model):
    """Verification and dispatch of a push listener."""

    listener: str
    catalog_path: str
    source: str
    subscription_id: str
    verify: dict[str, Any]
    dispatch: dict[str, Any]
    directives: Any = None
