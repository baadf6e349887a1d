"""Changes of executions for open pages: one subscription for all of them.

They are the messages that outside readers get on `noetl.events.>`, so nothing is read for them.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import orjson
from noetl_bus.broker import Bus, Subscription
from noetl_bus.inbox import Incoming
from noetl_contract.events import EventType, status_of_terminal
from noetl_contract.json import JsonObject
from noetl_contract.pages import PageHint
from noetl_contract.subjects import events_filter, page_hint_subject

_TOLD = frozenset(
    {
        EventType.STEP_EXIT,
        EventType.PLAYBOOK_COMPLETED,
        EventType.PLAYBOOK_FAILED,
        "calendar.event.touched",
    }
)
_MOST_WAITING = 1000
"""Changes that one page may be behind by."""


@dataclass(frozen=True, slots=True)
class StateChange:
    """Change of an execution: the fields that pages read."""

    execution_id: int
    shown: JsonObject
    is_end: bool = False


@dataclass(frozen=True, slots=True)
class RequestNews:
    """Hint to a page about its own request; ``reply`` gets a message when the page was sent it."""

    hint: PageHint
    reply: str = ""


@dataclass(eq=False, slots=True)
class Listener:
    """One page's queue; `is_behind` is set when it had no place for more."""

    waiting: asyncio.Queue[StateChange | RequestNews] = field(
        default_factory=lambda: asyncio.Queue(_MOST_WAITING)
    )
    is_behind: asyncio.Event = field(default_factory=asyncio.Event)

    def put(self, news: StateChange | RequestNews) -> None:
        """Queue what is to be sent."""
        try:
            self.waiting.put_nowait(news)
        except asyncio.QueueFull:
            self.is_behind.set()


class StateFeed:
    """Hand changes to all who listen.

    Args:
        bus: the connection; it is subscribed to while somebody listens.
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._listeners: set[Listener] = set()
        self._subscription: Subscription | None = None
        self._changing = asyncio.Lock()

    @asynccontextmanager
    async def listening(self, client_id: str) -> AsyncIterator[Listener]:
        """Give what happens until the block ends, to all and to one page's requests.

        What happened before is in the log and in the stream of requests.
        """
        listener = Listener()

        def take(message: Incoming) -> None:
            news = _news_of(message)
            if news is not None:
                listener.put(news)

        own = await self._bus.subscribe(page_hint_subject(client_id), take)
        try:
            async with self._all(listener):
                yield listener
        finally:
            await own.unsubscribe()

    @asynccontextmanager
    async def _all(self, listener: Listener) -> AsyncIterator[None]:
        async with self._changing:
            self._listeners.add(listener)
            if self._subscription is None:
                self._subscription = await self._bus.subscribe(events_filter(), self._take)
        try:
            yield
        finally:
            self._listeners.discard(listener)
            async with self._changing:
                if not self._listeners and self._subscription is not None:
                    ended, self._subscription = self._subscription, None
                    await ended.unsubscribe()

    def _take(self, message: Incoming) -> None:
        change = change_of(message.data)
        if change is None:
            return
        for listener in self._listeners:
            listener.put(change)


def change_of(body: bytes) -> StateChange | None:
    """Return the change that a message reports; None for others and for what is not legible."""
    try:
        event: JsonObject = orjson.loads(body)
        kind, number = event["event_type"], int(event["execution_id"])
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        return None
    if kind not in _TOLD:
        return None
    ended = status_of_terminal(kind)
    shown = {
        "execution_id": str(number),
        "event_type": kind,
        "step_name": event.get("node_name"),
        "status": event.get("status") or (ended.value if ended else "running"),
        "at": event.get("created_at"),
    }
    return StateChange(number, shown, is_end=ended is not None)


def _news_of(message: Incoming) -> RequestNews | None:
    try:
        hint = PageHint.from_json(message.data)
    except ValueError:
        return None
    return RequestNews(hint, message.reply or "")
