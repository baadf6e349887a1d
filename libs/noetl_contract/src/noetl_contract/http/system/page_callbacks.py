"""`/api/internal/callback…` and `/api/internal/progress`: posts of playbooks for a page."""

from typing import Annotated, Literal

from pydantic import Field

from noetl_contract.http.scalars import Id
from noetl_contract.json import Json
from noetl_contract.model import Model, example
from noetl_contract.pages import PLAYBOOK_FAILED

type RequestId = Annotated[str, Field(min_length=1, max_length=64)]


class CallbackError(Model):
    """The failure that a playbook posts in place of a result."""

    code: int = PLAYBOOK_FAILED
    message: str = Field(default="The playbook failed", max_length=10_000)
    data: Json = None


class AsyncCallbackRequest(Model):
    """The result of a request; `request_id` is in the workload of the execution."""

    model_config = example(
        request_id="0b6a8c1e-6f0e-4d0e-8a0f-6f2d3c1b5a79",
        execution_id="325077236512452608",
        status="COMPLETED",
        data={"textOutput": "3 tables"},
    )

    request_id: RequestId
    execution_id: Id | None = None
    status: str = Field(default="COMPLETED", max_length=64)
    data: Json = None
    error: CallbackError | None = None


class AsyncCallbackAnswer(Model):
    """Delivery of a result: to the open page, or queued until it reconnects."""

    model_config = example(status="delivered")

    status: Literal["delivered", "queued"]
    clientDisconnected: bool | None = None  # noqa: N815 -- the contract's name


class ProgressRequest(Model):
    """Progress of an execution, for the page that waits for it."""

    model_config = example(
        request_id="0b6a8c1e-6f0e-4d0e-8a0f-6f2d3c1b5a79",
        step="count",
        message="2 of 3 tables",
        progress=0.66,
    )

    request_id: RequestId
    execution_id: Id | None = None
    step: str | None = Field(default=None, max_length=256)
    message: str | None = Field(default=None, max_length=2000)
    progress: float | None = None


class ProgressAnswer(Model):
    """Acknowledgement of progress; a closed page doesn't get it."""

    model_config = example(status="sent")

    status: Literal["sent"]


class LoginCallbackRequest(Model):
    """The result of a playbook that a login waits for."""

    model_config = example(
        request_id="0b6a8c1e-6f0e-4d0e-8a0f-6f2d3c1b5a79", status="success", data={}
    )

    request_id: RequestId
    execution_id: Id | None = None
    step: str | None = Field(default=None, max_length=256)
    status: str = Field(default="success", max_length=64)
    data: Json = None


class LoginCallbackAnswer(Model):
    """Answer to a login's result: delivered if a login was waiting."""

    model_config = example(
        delivered=False, message="No login waits here: this server logs nobody in"
    )

    delivered: bool
    message: str
