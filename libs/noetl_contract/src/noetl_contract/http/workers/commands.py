"""`GET /api/commands/{event_id}` and `POST …/claim`."""

from typing import Any, Literal

from noetl_contract.model import Model, example


class ClaimBody(Model):
    """The worker that wants to run the command."""

    model_config = example(worker_id="w-1")

    worker_id: str


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
