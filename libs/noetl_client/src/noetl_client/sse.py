"""Event streams: parsing of messages, and the position after which a stream is resumed."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from noetl_contract.http.executions.events import StreamEvent
from noetl_contract.http.workers.output import StepOutput
from noetl_contract.json import Json
from pydantic import ValidationError

from noetl_client.errors import UnexpectedAnswer

END: Final = "end"
_EVENT = "event"
_OUTPUT = "output"


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a stream."""

    name: str
    data: str
    id: str | None = None

    def event(self) -> StreamEvent | None:
        """Return the event of the log in the message, or None for another kind of message.

        Raises:
            UnexpectedAnswer: the event is malformed.
        """
        if self.name != _EVENT:
            return None
        try:
            return StreamEvent.model_validate_json(self.data)
        except ValidationError as error:
            raise UnexpectedAnswer(f"the event stream can't be read: {error}") from None

    def output(self) -> StepOutput | None:
        """Return the printed lines in the message, or None for another kind of message.

        Raises:
            UnexpectedAnswer: the output is malformed.
        """
        if self.name != _OUTPUT:
            return None
        try:
            return StepOutput.model_validate_json(self.data)
        except ValidationError as error:
            raise UnexpectedAnswer(f"the event stream can't be read: {error}") from None

    def value(self) -> Json:
        """Return the data.

        Raises:
            UnexpectedAnswer: the data is not JSON.
        """
        try:
            return json.loads(self.data)
        except ValueError as error:
            raise UnexpectedAnswer(f"the event stream can't be read: {error}") from None


class MessageReader:
    """Parses messages from lines."""

    def __init__(self) -> None:
        self._name = "message"
        self._id: str | None = None
        self._data: list[str] = []

    def feed(self, line: str) -> Message | None:
        """Parse a line without its end; return the message that it completes."""
        if not line:
            done = Message(self._name, "\n".join(self._data), self._id) if self._data else None
            self._name, self._id, self._data = "message", None, []
            return done
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "event":
                self._name = value
            case "id":
                self._id = value
            case "data":
                self._data.append(value)
        return None


@dataclass(slots=True)
class Cursor:
    """The position up to which a stream was read, and its parameters."""

    last: str | None = None
    types: Sequence[str] = ()
    is_output: bool = False

    def headers(self) -> dict[str, str]:
        """Return the headers of a request that resumes the stream."""
        resumed = {} if self.last is None else {"last-event-id": self.last}
        return {"accept": "text/event-stream", **resumed}

    def query(self) -> dict[str, list[str]]:
        """Return the query parameters of a request."""
        return {"event_type": [*self.types], "output": ["only"] if self.is_output else []}

    def advance(self, message: Message) -> None:
        """Record that a message was read."""
        self.last = message.id or self.last
