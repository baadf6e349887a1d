"""Requests of web pages that wait for results: kept in a stream of their own (P5).

A request is kept before its execution is started, and what a playbook posts for it beside it, both
until they are too old. So an edge that dies in between, and a page that is away, lose nothing.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from noetl_bus import jetstream
from noetl_bus.broker import Bus
from noetl_bus.errors import BusForbidden, BusUnavailable, StreamFull
from noetl_bus.topology import ensure_stream
from noetl_common.errors import NoetlError, TooLarge
from noetl_contract.json import JsonObject
from noetl_contract.pages import PageHint, PageRequest, PageResult
from noetl_contract.streams import PAGES
from noetl_contract.subjects import (
    page_hint_subject,
    page_request_of,
    page_result_of,
    page_subject,
    pages_of_client,
)

from noetl_api_gateway.http.refusals import Refusal, busy, unavailable

MOST_KEPT = 200
"""Requests and results that are kept for one page."""
_HEARD_SECONDS = 2.0
"""How long the stream of a page may take to say that the page has been sent a result."""
_FORBIDDEN = (
    "The edge's login at the broker has no right to keep requests of pages:"
    " `noetl-server nats-users` prints the rights. Without `clientId` it starts all the same"
)

type Kept = PageRequest | PageResult


class NoRightError(Refusal):
    """503: the edge's login at the broker lacks a right."""


class PageRequests:
    """Keep, find and end requests of pages.

    Args:
        bus: the connection; the stream is made when it is needed first.
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def keep(self, request: PageRequest) -> int:
        """Keep a request; return its number, by which it is dropped.

        Raises:
            Refusal: it is not kept, so its execution must not be started.
        """
        with _refusing():
            await self._refuse_too_many(request.client_id)
            ack = await self._bus.publish(
                _subject_of(request),
                request.to_json(),
                message_id=f"q:{request.request_id}:{request.execution_id}",
            )
        await self._hint(request, PageHint(kind="request", request_id=request.request_id))
        return ack.sequence

    async def drop(self, sequence: int) -> None:
        """Forget a request whose execution was not started; one that stays is of no harm."""
        with suppress(NoetlError):
            await jetstream.delete_message(self._bus, PAGES.name, sequence)

    async def find(self, request_id: str) -> PageRequest | None:
        """Return a request; None if it is unknown or too old.

        Raises:
            Refusal: 503, the broker can't be asked.
        """
        found = await self._first(page_request_of(request_id))
        return found if isinstance(found, PageRequest) else None

    async def read(self, client_id: str, *, after: int) -> tuple[list[Kept], int]:
        """Return what is kept for a page behind a number, and the last number.

        Raises:
            Refusal: 503, the broker can't be asked.
        """
        kept: list[Kept] = []
        pattern = pages_of_client(client_id)
        with _refusing():
            # Results may come while it is read.
            for _ in range(2 * MOST_KEPT):
                message = await jetstream.get_message(
                    self._bus, PAGES.name, after + 1, next_of=pattern
                )
                if message is None:
                    break
                after = message.sequence
                found = _read(message)
                if found is not None:
                    kept.append(found)
        return kept, after

    async def end(self, request: PageRequest, result: PageResult) -> bool:
        """Keep the result of a request, the first one; return whether its page has been sent it.

        Raises:
            Refusal: it is not kept.
        """
        if await self._first(page_result_of(request.request_id)) is None:
            with _refusing():
                await self._bus.publish(
                    _subject_of(request, is_result=True),
                    result.to_json(),
                    message_id=f"r:{request.request_id}",
                )
        hint = PageHint(kind="result", request_id=request.request_id)
        try:
            await self._bus.request(
                page_hint_subject(request.client_id),
                hint.to_json(),
                seconds=_HEARD_SECONDS,
            )
        except BusUnavailable:
            return False
        return True

    async def tell(self, request: PageRequest, progress: JsonObject) -> None:
        """Send an open page how far its execution is; nobody hears it later."""
        hint = PageHint(kind="progress", request_id=request.request_id, progress=progress)
        await self._hint(request, hint)

    async def _hint(self, request: PageRequest, hint: PageHint) -> None:
        subject = page_hint_subject(request.client_id)
        with suppress(NoetlError):
            await self._bus.send(subject, hint.to_json())

    async def _first(self, pattern: str) -> Kept | None:
        with _refusing():
            message = await jetstream.get_message(self._bus, PAGES.name, 1, next_of=pattern)
        return None if message is None else _read(message)

    async def _refuse_too_many(self, client_id: str) -> None:
        """Make the stream if it is missing, and refuse what one page has too many of."""
        wanted = {"subjects_filter": pages_of_client(client_id)}
        info = await jetstream.call(self._bus, f"STREAM.INFO.{PAGES.name}", wanted)
        if info is None:
            await ensure_stream(self._bus, PAGES)
            return
        if len(info["state"].get("subjects") or ()) >= MOST_KEPT:
            text = f"{MOST_KEPT} requests and results of this page are kept, each for half an hour"
            raise Refusal(429, f"{text}: start without `clientId`, or come again later")


def _subject_of(request: PageRequest, *, is_result: bool = False) -> str:
    return page_subject(
        request.client_id,
        request_id=request.request_id,
        execution_id=request.execution_id,
        kind="result" if is_result else "request",
    )


def _read(message: jetstream.StoredMessage) -> Kept | None:
    """Return what a message holds; None for what can't be read, as of a later release."""
    is_result = message.subject.endswith(".result")
    try:
        if is_result:
            return PageResult.from_json(message.data)
        return PageRequest.from_json(message.data)
    except ValueError:
        return None


@contextmanager
def _refusing() -> Iterator[None]:
    """Turn errors of the bus into refusals."""
    try:
        yield
    except BusForbidden as error:
        raise NoRightError(503, _FORBIDDEN) from error
    except StreamFull as error:
        raise busy("Too many requests of pages are kept") from error
    except TooLarge as error:
        raise Refusal(413, f"What a page waits for is too large: {error.message}") from error
    except NoetlError as error:
        raise unavailable("The broker did not keep a request of a page in time") from error
