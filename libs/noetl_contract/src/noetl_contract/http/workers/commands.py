"""`GET /api/commands/{event_id}` and `POST …/claim`."""

from typing import Any, Literal

from pydantic import Field

from noetl_contract.ingress import Hold, WireEvent
from noetl_contract.model import Model, example


class ClaimBody(Model):
    """Claim of a command by a worker.

    A worker that reports with `POST /api/commands/{event_id}/reports` names its process too.
    """

    model_config = example(worker_id="w-1")

    worker_id: str
    instance: str | None = None
    known_workload: int | None = Field(
        default=None,
        description="Log position of the workload that the worker has of the execution, 0 for "
        "none: the answer may name a large workload; absent: contexts are whole",
    )


class CommandReport(Model):
    """Start or outcome of a run, with all its events: they are written together or not at all."""

    model_config = example(
        type="command.outcome",
        execution_id=325077236512452608,
        hold={
            "event_id": 325077236516646912,
            "command_id": "325077236512452608:start:325077236516646912",
            "step": "start",
            "attempts": 0,
            "worker_id": "w-1",
            "instance": "a1",
        },
        events=[
            {
                "event_type": "command.completed",
                "step": "start",
                "event_id": 325077238110482432,
                "status": "success",
                "context": {"command_id": "325077236512452608:start:325077236516646912"},
            }
        ],
    )

    type: Literal["command.start", "command.outcome"]
    execution_id: int
    hold: Hold
    events: list[WireEvent] = Field(min_length=1, max_length=16)


class CommandAnswer(Model):
    """A command as it was issued."""

    execution_id: int
    node_id: str
    node_name: str
    action: str
    context: Any = None
    meta: Any = None


class ClaimAnswer(CommandAnswer):
    """The command, which belongs to the worker until its lease ends."""

    status: Literal["ok"] = "ok"
    event_id: int
    workload: Any = Field(
        default=None,
        description="The workload that the context names in `named_workload`; there only if the "
        "claim said what is known, and it isn't this one",
    )
