"""Calls of pages to the API, and its refusals as errors of pages."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol, cast
from urllib.parse import quote

import orjson
from noetl_contract.json import Json
from noetl_contract.model import Model
from pydantic import TypeAdapter, ValidationError


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of the API: its status and body."""

    status: int
    body: bytes


class Transport(Protocol):
    """Carries one call to the API, with the rights of the page's reader."""

    async def __call__(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: bytes | None,
        key: str | None = None,
    ) -> Answer:
        """Return the API's answer.

        Args:
            method: HTTP method.
            path: begins with `/noetl/`, so that ids are texts; percent-encoded.
            query: parameters, not encoded.
            body: JSON, if there is one.
            key: with which the call takes effect once, however often it is made.
        """


class Refused(Exception):
    """The API has refused a call.

    Attributes:
        status: HTTP status; 401 asks for a login, 403 names a right that is missing.
        text: the reason, for people.
        detail: what a refusal with 409 says besides.
    """

    def __init__(self, status: int, text: str, detail: Mapping[str, Json] | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.detail = detail or {}


class Api:
    """Calls of pages, with answers as the contract's models.

    Attributes:
        bytes_read: of all answers, by which the work of drawing them is guessed.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.bytes_read = 0

    async def read[T](self, wanted: type[T], path: str, /, **query: str | int | None) -> T:
        """Get a path below `/noetl/`.

        Raises:
            Refused: it was refused, or the answer is none of the contract.
        """
        given = {name: str(value) for name, value in query.items() if value not in {None, ""}}
        return _decoded(wanted, await self._call("GET", path, given, None))

    async def read_if_allowed[T](
        self, wanted: type[T], path: str, /, **query: str | int | None
    ) -> T | None:
        """Get an optional part of a page; None where the caller may not have it, or can't now.

        Raises:
            Refused: a login is needed.
        """
        try:
            return await self.read(wanted, path, **query)
        except Refused as refused:
            if refused.status == 401:
                raise
            return None

    async def send[T](
        self,
        wanted: type[T],
        path: str,
        body: Model | Json,
        method: str = "POST",
        *,
        once: str | None = None,
    ) -> T:
        """Send a JSON body to a path below `/noetl/`; ``once`` is a key of idempotency.

        Raises:
            Refused: it was refused, or the answer is none of the contract.
        """
        if isinstance(body, Model):
            body = body.model_dump(mode="json", exclude_unset=True, by_alias=True)
        return _decoded(wanted, await self._call(method, path, {}, orjson.dumps(body), once))

    async def send_if_allowed[T](self, wanted: type[T], path: str, body: Model | Json) -> T | None:
        """Send a request for an optional part of a page, as ``read_if_allowed``.

        Raises:
            Refused: a login is needed.
        """
        try:
            return await self.send(wanted, path, body)
        except Refused as refused:
            if refused.status == 401:
                raise
            return None

    async def ping(self) -> None:
        """Ask whether the caller is known.

        Raises:
            Refused: 401 if not, 403 if the caller is known and may read no executions.
        """
        await self._call("GET", "executions", {"limit": "1"}, None)

    async def _call(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: bytes | None,
        key: str | None = None,
    ) -> bytes:
        answer = await self._transport(method, f"/noetl/{path}", query, body, key)
        if answer.status >= 300:
            raise _refused(answer)
        self.bytes_read += len(answer.body)
        return answer.body


def path_segments(text: str) -> str:
    """Return a path of the catalog as segments of a path.

    As one segment where browsers or the edge would not leave the slashes as they are.
    """
    is_plain = not {"", ".", ".."} & set(text.split("/"))
    return quote(text, safe="/" if is_plain else "")


def segment(text: str | int) -> str:
    """Return a text as one segment of a path."""
    return quote(str(text), safe="")


@cache
def _adapter(wanted: Hashable) -> TypeAdapter[Any]:
    return TypeAdapter(cast("type[Any]", wanted))


def _decoded[T](wanted: type[T], body: bytes) -> T:
    try:
        decoded: T = _adapter(cast("Hashable", wanted)).validate_json(body)
    except ValidationError as error:
        raise Refused(502, f"The API's answer can't be read: {error.errors()[0]['msg']}") from error
    return decoded


def _refused(answer: Answer) -> Refused:
    try:
        body = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        body = None
    if not isinstance(body, dict):
        return Refused(answer.status, f"status {answer.status}")
    reason = body.get("error") or body.get("detail") or f"status {answer.status}"
    hint, detail = body.get("hint"), body.get("detail")
    text = f"{reason} ({hint})" if isinstance(hint, str) and hint else str(reason)
    return Refused(answer.status, text, detail if isinstance(detail, dict) else None)
