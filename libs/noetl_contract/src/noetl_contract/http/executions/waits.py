"""`/api/waits`, `/api/executions/{execution_id}/signals/…` and links of waits."""

from typing import Any, Literal

from pydantic import Field

from noetl_contract.http.moments import Rfc3339
from noetl_contract.json import JsonObject
from noetl_contract.model import Model, example


class SignalRequest(Model):
    """A signal: the same id again has no second effect."""

    model_config = example(
        id="order-4711-approved", payload={"decision": "approve", "comment": "looks good"}
    )

    id: str | None = Field(
        default=None,
        max_length=200,
        description="of the signal; the header `Idempotency-Key` if absent",
    )
    payload: Any = Field(default=None, description="what the form asks for; any JSON without one")
    step: str | None = Field(default=None, description="only a wait of this step may take it")
    iteration: int | None = Field(default=None, description="only this iteration, from 0")
    wait_id: int | str | None = Field(default=None, description="only this wait")


class SignalAnswer(Model):
    """Outcome of a signal: `taken` by a wait, or `kept` for the next one."""

    model_config = example(
        execution_id=325077236512452608,
        signal="approve",
        signal_id="order-4711-approved",
        status="taken",
        step="review",
        iteration=None,
    )

    execution_id: int | str
    signal: str
    signal_id: str
    status: Literal["taken", "kept"]
    step: str | None
    iteration: int | None


class WaitEntry(Model):
    """One open wait."""

    model_config = example(
        wait_id="325077236516646912",
        execution_id=325077236512452608,
        path="demo/approval",
        version=3,
        step="review",
        iteration=None,
        kind="wait",
        signal="approve",
        title="Release 4.2?",
        description="",
        form={"decision": {"type": "string", "enum": ["approve", "reject"], "required": True}},
        on_timeout="fail",
        since="2026-06-15T12:00:00.123456Z",
        due_at="2026-06-18T12:00:00.123456Z",
    )

    wait_id: str
    execution_id: int | str
    path: str
    version: int
    step: str
    iteration: int | None
    kind: Literal["wait", "sleep"]
    signal: str | None
    title: str
    description: str
    form: Any
    on_timeout: str | None
    since: Rfc3339
    due_at: str


class WaitList(Model):
    """A page of open waits, the oldest first; `next` is the `after` of the next page."""

    waits: list[WaitEntry]
    next: str | None = None


class LinkRequest(Model):
    """Options of a new link."""

    model_config = example(expires_in="2d", payload={"decision": "approve"}, by="ana@example.org")

    signal: str | None = Field(
        default=None, description="name of the signal, of a step that doesn't wait yet"
    )
    expires_in: float | str | None = Field(
        default=None, description="seconds, or a duration like 4h or 3d; a week if absent"
    )
    payload: JsonObject = Field(
        default_factory=dict, description="fields that the link decides, so that nobody is asked"
    )
    iteration: int | None = Field(default=None, description="only this iteration, from 0")
    by: str | None = Field(
        default=None, max_length=200, description="whom the link is for; the log names him"
    )


class LinkUse(Model):
    """An answer by a link, as JSON, in place of its page's form."""

    model_config = example(payload={"decision": "approve"})

    payload: JsonObject = Field(default_factory=dict, description="fields that the link leaves")


class LinkAnswer(Model):
    """A link that ends one wait, once, without a login: give it to one person only."""

    model_config = example(
        id="7c0e6b1f2f6a4b0d",
        link="eyJlIjoz…",
        url="http://localhost:8082/api/links/eyJlIjoz…",
        expires_at="2026-06-17T12:00:00Z",
    )

    id: str
    link: str = Field(description="its text, the end of the address")
    url: str
    expires_at: str
