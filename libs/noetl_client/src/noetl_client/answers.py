"""Answers of the server: read as the contract's models, or raised as errors."""

import json
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from functools import cache
from http import HTTPStatus
from typing import Any, cast

from noetl_contract.json import Json
from pydantic import TypeAdapter, ValidationError

from noetl_client.calls.call import Call
from noetl_client.errors import Refused, UnexpectedAnswer, refusal

_MOST_SHOWN = 500


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as it came; names of headers are in lower case."""

    status: int
    body: bytes = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def is_good(self) -> bool:
        """Whether the server did what was asked."""
        return HTTPStatus(200) <= self.status < HTTPStatus(300)

    def value(self) -> Json:
        """Return the body's value.

        Raises:
            ValueError: it is no JSON.
        """
        return json.loads(self.body)


def read[Wanted](call: Call[Wanted], answer: Answer, url: str) -> Wanted:
    """Return the answer to a call.

    Raises:
        Refused: the server said no.
        UnexpectedAnswer: it isn't what a NoETL server answers.
    """
    if not answer.is_good:
        raise refused(answer, url)
    try:
        found: Wanted = _adapter(cast("Hashable", call.answer)).validate_json(answer.body)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "the answer"
        raise UnexpectedAnswer(
            f"{url} doesn't answer as a NoETL server does: {call.method} {call.path}: "
            f"{place}: {first['msg']}"
        ) from None
    return found


def refused(answer: Answer, url: str) -> Refused | UnexpectedAnswer:
    """Return the error that an answer amounts to."""
    if HTTPStatus(300) <= answer.status < HTTPStatus(400):
        to = answer.headers.get("location", "elsewhere")
        return UnexpectedAnswer(f"{url} sends to {to}: give that address instead")
    detail, hint = _reason(answer)
    return refusal(answer.status, detail, hint=hint, retry_after=_retry_after(answer))


def _reason(answer: Answer) -> tuple[str, str | None]:
    try:
        body = answer.value()
    except ValueError:
        shown = answer.body[:_MOST_SHOWN].decode("utf-8", "replace").strip()
        return f"status {answer.status} {shown}".strip(), None
    if not isinstance(body, dict):
        return f"status {answer.status}", None
    reason, hint = body.get("error") or body.get("detail"), body.get("hint")
    if not reason:
        return f"status {answer.status} {str(body)[:_MOST_SHOWN]}", None
    return str(reason), hint if isinstance(hint, str) and hint else None


def _retry_after(answer: Answer) -> float | None:
    try:
        return max(0.0, float(answer.headers.get("retry-after", "")))
    except ValueError:
        return None


@cache
def _adapter(wanted: Hashable) -> TypeAdapter[Any]:
    return TypeAdapter(cast("type[Any]", wanted))
