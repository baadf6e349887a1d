"""`GET /api/executions/{id}/why`: open work of an execution, and workers that could take it."""

from typing import Literal

from pydantic import Field

from noetl_contract.http.moments import Rfc3339
from noetl_contract.json import Json
from noetl_contract.model import Model, example


class OpenCommand(Model):
    """A command that has not ended, from its row."""

    event_id: int
    step: str
    iteration: int | None = None
    tool_kind: str | None
    pool: str
    status: str
    worker_id: str | None = None
    holds: int = 0
    issued_at: Rfc3339
    claimed_at: Rfc3339 | None = None
    started_at: Rfc3339 | None = None
    lease_until: Rfc3339 | None = None
    notified_at: Rfc3339 | None = None
    outbox_status: str | None = Field(
        default=None, description="of its notification; null when the row is gone"
    )
    outbox_error: str | None = None


class OpenTimer(Model):
    """A timer that has not fired."""

    kind: str
    due_at: Rfc3339
    created_at: Rfc3339
    payload: Json = None


class OpenChild(Model):
    """A child execution that runs."""

    execution_id: str
    path: str
    status: str
    started_at: Rfc3339
    step: str | None = None


class OpenLoop(Model):
    """A loop that has not ended: numbers of iterations in all, running, and allowed at once."""

    step: str
    total: int | None
    in_flight: int
    ended: int
    limit: int | None = None
    since: Rfc3339


class OpenJoin(Model):
    """A join that some arcs have reached, and others may yet."""

    step: str
    arrived: list[str] = Field(description="steps whose arcs have led to it")
    awaited: list[str] = Field(description="open steps from which others may")
    since: Rfc3339 | None = Field(default=None, description="of the first arrival")


class OpenJoins(Model):
    """The waiting joins of an execution; the list is cut."""

    joins: list[OpenJoin]


class PoolLoad(Model):
    """Commands of a pool on this shard, of all executions."""

    pool: str
    waiting: int
    running: int


class OpenWork(Model):
    """Rows of an execution's open work; lists are cut, the counts are not."""

    execution_id: int
    path: str
    status: str
    error: str | None = None
    started_at: Rfc3339
    ended_at: Rfc3339 | None = None
    now: Rfc3339
    commands: list[OpenCommand] = Field(default_factory=list)
    command_count: int = 0
    timers: list[OpenTimer] = Field(default_factory=list)
    children: list[OpenChild] = Field(default_factory=list)
    child_count: int = 0
    loops: list[OpenLoop] = Field(default_factory=list)
    pools: list[PoolLoad] = Field(default_factory=list)
    pending_outbox: int = 0
    pending_since: Rfc3339 | None = None
    origin_execution_id: str | None = Field(
        default=None, description="what it still takes over from, after a restart"
    )


ReasonCode = Literal[
    "ended", "no_worker", "no_worker_for_kind", "workers_busy", "not_published", "parked_outbox",
    "claimed", "running", "worker_silent", "callback", "wait", "timer", "child", "loop_limit",
    "taking_over", "paused", "join", "nothing_open",
]  # fmt: skip


class Reason(Model):
    """One reason for which an execution waits."""

    model_config = example(
        code="no_worker",
        text="step 'start' waits for a worker: no worker of pool 'gpu' is registered",
        since="2026-06-15T09:18:22.901000Z",
        step="start",
        pool="gpu",
    )

    code: ReasonCode
    text: str = Field(description="for people; may change")
    since: Rfc3339
    step: str | None = None
    iteration: int | None = None
    pool: str | None = None
    tool_kind: str | None = None
    worker_id: str | None = None
    due_at: Rfc3339 | None = Field(default=None, description="when it ends by itself at the latest")
    execution_id: str | None = Field(default=None, description="of a child, or of an origin")
    path: str | None = Field(default=None, description="that is paused")
    actor: str | None = Field(default=None, description="who paused it")
    awaited: list[str] | None = Field(default=None, description="open steps before a join")


class WhyWorker(Model):
    """A worker that could take the open commands."""

    name: str
    pool: str
    status: str
    heartbeat: Rfc3339
    kinds: list[str] | None = Field(
        default=None, description="tool kinds that it runs; null when it didn't say"
    )


class WhyAnswer(Model):
    """Reasons for which an execution waits, the most relevant first, and its pools' workers."""

    model_config = example(
        execution_id="325077236512452608",
        status="RUNNING",
        reasons=[
            {
                "code": "no_worker",
                "text": "step 'start' waits for a worker: no worker of pool 'gpu' is registered",
                "since": "2026-06-15T09:18:22.901000Z",
                "step": "start",
                "pool": "gpu",
            }
        ],
        workers=[],
        open_commands=1,
        running_children=0,
    )

    execution_id: str
    status: str
    reasons: list[Reason]
    workers: list[WhyWorker]
    open_commands: int
    running_children: int
