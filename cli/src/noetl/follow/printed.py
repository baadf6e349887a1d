"""What steps print: live from the event stream, afterwards from the results in the log."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from urllib.parse import quote

import httpx
from noetl_contract.json import Json, JsonObject

from noetl.stack.errors import StackError

RECONNECT_SECONDS = 0.3
_SECONDS = 35.0
# The stream says something at least every 15 s.
_SILENCE_SECONDS = 45.0
_PAGE = 200
_COLOURS = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")

type Show = Callable[["PrintedLine"], None]


@dataclass(frozen=True, slots=True)
class PrintedLine:
    """A line that a step has printed.

    Attributes:
        time: in UTC, as text; of a line out of a result when its run ended.
        stream: `stdout`, `stderr`, or `…` for the word that lines are missing.
    """

    time: str
    step: str
    stream: str
    text: str

    def as_json(self, execution_id: str) -> JsonObject:
        """Return it as an object, as a line of a log."""
        return {
            "ts": self.time,
            "place": "output",
            "execution_id": execution_id,
            "step": self.step,
            "stream": self.stream,
            "msg": self.text,
        }

    def __str__(self) -> str:
        """Return it for a terminal: time of the day, step, stream, text."""
        clock = self.time.partition("T")[2].rstrip("Z")[:12]
        return f"{clock} {self.step} {self.stream} | {harmless(self.text)}"


def harmless(text: str) -> str:
    """Return a text that can't move the cursor or change the title of a terminal."""
    plain = _COLOURS.sub("", text)
    return "".join(
        one if one.isprintable() or one == "\t" else "\N{REPLACEMENT CHARACTER}" for one in plain
    )


class Printed:
    """Reads messages of a stream; after a reconnection each line still comes once."""

    def __init__(self) -> None:
        self._taken: dict[tuple[str, str], int] = {}
        self._time = ""

    def lines(self, message: JsonObject) -> Iterator[PrintedLine]:
        """Yield what a message brings that is new."""
        run = (str(message.get("event_id")), str(message.get("attempts")))
        step = str(message.get("step") or "")
        taken = self._taken.get(run, 0)
        first = True
        dropped = int(message.get("dropped") or 0)
        for line in message.get("lines") or []:
            number = int(line["number"])
            if number <= taken:
                continue
            self._time = str(line["time"])
            if first and dropped and number > taken + 1:
                yield self._missing(step, min(dropped, number - taken - 1))
            first = False
            taken = number
            yield PrintedLine(self._time, step, str(line["stream"]), str(line["text"]))
        if not message.get("lines") and dropped:
            yield self._missing(step, dropped)
            taken += dropped
        self._taken[run] = max(taken, self._taken.get(run, 0))

    def _missing(self, step: str, count: int) -> PrintedLine:
        return PrintedLine(self._time, step, "…", f"{count} lines were left out")


async def follow_printed(url: str, token: str, execution_id: str, show: Show) -> None:
    """Show lines as they are printed, until the execution has ended.

    Never raises but for cancellation: lines are for looking on. A server without them shows none.
    """
    printed = Printed()
    async with httpx.AsyncClient(
        base_url=url,
        headers=_login(token),
        timeout=httpx.Timeout(_SECONDS, read=_SILENCE_SECONDS),
        trust_env=False,
    ) as client:
        while True:
            try:
                async for name, body in _messages(client, execution_id):
                    if name == "end":
                        return
                    if name == "output":
                        for line in printed.lines(body):
                            show(line)
            except _NoStreamError:
                return
            except (httpx.TransportError, ValueError, KeyError, TypeError):
                pass  # the edge is being restarted, or is none
            await asyncio.sleep(RECONNECT_SECONDS)


def printed_before(url: str, token: str, execution_id: str, step: str | None) -> list[PrintedLine]:
    """Return what the log of an execution has of the output of its steps, in order of time.

    Raises:
        StackError: the server can't be asked, or refuses.
    """
    with httpx.Client(
        base_url=url, headers=_login(token), timeout=_SECONDS, trust_env=False
    ) as client:
        found = [
            line
            for kind in ("call.done", "call.error")
            for event in _events(client, execution_id, kind, step)
            for line in _lines_of(event)
        ]
    return sorted(found, key=lambda line: line.time)


class _NoStreamError(Exception):
    """The server has no event stream for that execution, or not for us."""


async def _messages(
    client: httpx.AsyncClient, execution_id: str
) -> AsyncIterator[tuple[str, JsonObject]]:
    path = f"/api/executions/{execution_id}/events/stream"
    async with client.stream("GET", path, params={"output": "only"}) as answer:
        if 400 <= answer.status_code < 500 and answer.status_code != httpx.codes.TOO_MANY_REQUESTS:
            raise _NoStreamError
        if answer.status_code != httpx.codes.OK:
            raise httpx.TransportError(f"the stream was answered with {answer.status_code}")
        name, data = "message", ""
        async for line in answer.aiter_lines():
            field, _, value = line.partition(":")
            match field:
                case "event":
                    name = value.removeprefix(" ")
                case "data":
                    data += value.removeprefix(" ")
                case "" if not line:
                    if data:
                        yield name, json.loads(data)
                    name, data = "message", ""


def _events(
    client: httpx.Client, execution_id: str, kind: str, step: str | None
) -> Iterator[JsonObject]:
    page = 1
    while True:
        query = {"event_type": kind, "page": str(page), "page_size": str(_PAGE)}
        path = f"/api/executions/{quote(execution_id)}/events"
        try:
            answer = client.get(path, params=query | ({"step": step} if step else {}))
            body: Json = answer.json()
        except (httpx.TransportError, ValueError) as error:
            raise StackError(f"no answer from {client.base_url}: {error}") from error
        if not answer.is_success:
            reason = body.get("error") if isinstance(body, dict) else None
            raise StackError(str(reason or f"{client.base_url} answered {answer.status_code}"))
        events = body.get("events") or []
        yield from events
        if len(events) < _PAGE:
            return
        page += 1


def _lines_of(event: JsonObject) -> Iterator[PrintedLine]:
    said = _context_of(event.get("result"))
    result = _context_of(said.get("result"))
    for stream in ("stdout", "stderr"):
        text = result.get(stream) or said.get(stream)
        if isinstance(text, str):
            moment, step = str(event.get("created_at")), str(event.get("node_name") or "")
            for line in text.splitlines():
                yield PrintedLine(moment, step, stream, line)


def _context_of(value: Json) -> JsonObject:
    context = value.get("context") if isinstance(value, dict) else None
    return context if isinstance(context, dict) else {}


def _login(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"} if token else {}
