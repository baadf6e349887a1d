"""Description of one call of the API."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any
from urllib.parse import quote

from noetl_contract.json import Json, encode
from noetl_contract.model import Model

type Id = int | str
"""Id of an execution or another object, as a number or as digits."""


class Again(Enum):
    """Rule for retrying a call that the server may have executed."""

    NEVER = "never"
    SAFE = "safe"


@dataclass(frozen=True, slots=True)
class Call[Answer]:
    """A call to be made.

    Attributes:
        method: HTTP method.
        path: percent-encoded path below the server's address.
        answer: type of a good answer.
        query: parameters, not encoded.
        body: JSON, or None.
        key: value of the header `Idempotency-Key`.
        again: rule for retries.
    """

    method: str
    path: str
    answer: type[Answer]
    query: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = field(default=None, repr=False)
    key: str | None = None
    again: Again = Again.NEVER


def get[Answer](path: str, answer: type[Answer], /, **query: str | float | None) -> Call[Answer]:
    """Return a reading call; parameters without a value are omitted."""
    given = {name: _text(value) for name, value in query.items() if value not in {None, ""}}
    return Call("GET", path, answer, query=given, again=Again.SAFE)


def send[Answer](
    path: str,
    answer: type[Answer],
    body: Model | Json = None,
    *,
    method: str = "POST",
    key: str | None = None,
    again: Again = Again.NEVER,
) -> Call[Answer]:
    """Return a changing call; only those fields of a model that were set are sent."""
    if isinstance(body, Model):
        body = body.model_dump(mode="json", exclude_unset=True, by_alias=True)
    content = None if body is None else encode(body)
    return Call(method, path, answer, body=content, key=key, again=again)


def segment(value: Id) -> str:
    """Return a text as one segment of a path."""
    return quote(str(value), safe="")


def given(**fields: Any) -> dict[str, Any]:
    """Return the fields that have a value."""
    return {name: value for name, value in fields.items() if value is not None}


def _text(value: str | float | None) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
