"""Messages that announce a commit, built alike in orchestrator and outbox (O1, O4, O6)."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Self

from noetl_common.telemetry.carrier import Context
from noetl_contract import message_ids
from noetl_contract.events import CommitMessage, EventMessage, event_body
from noetl_contract.subjects import commit_subject, event_subject

from noetl_bus.broker import Bus
from noetl_bus.publish import Outgoing
from noetl_bus.settings import EventRelaySettings

_HEADER_ROOM = 2048


def largest_body(bus: Bus) -> int:
    """Return the maximum size of a body whose message also has an id and a trace context."""
    return bus.largest_message - _HEADER_ROOM


@dataclass(frozen=True, slots=True)
class CommitMessages:
    """Builds the messages of commits on one shard.

    Attributes:
        relayed: types of the events that are relayed to outside readers; None for all.
        event_bytes: maximum size of an event's body; a larger event is sent without its payload.
    """

    shard: int
    relayed: frozenset[str] | None
    event_bytes: int

    @classmethod
    def of(cls, settings: EventRelaySettings, *, shard: int) -> Self:
        """Return the builder for the settings that orchestrator and outbox share."""
        return cls(shard, settings.relayed_types(), settings.outbox_event_max_bytes)

    def are_wanted(self, event_type: str) -> bool:
        """Return whether events of a type are relayed to outside readers."""
        return self.relayed is None or event_type in self.relayed

    def of_commit(
        self,
        execution_id: int,
        *,
        first: int,
        last: int,
        events: Iterable[EventMessage],
        largest: int,
        headers: Context | None = None,
    ) -> Iterator[Outgoing]:
        """Yield the message with the positions of a commit, then its relayed events.

        No body exceeds ``largest`` bytes, except an event that exceeds it without its payload.
        """
        yield Outgoing(
            commit_subject(execution_id, shard=self.shard),
            CommitMessage(execution_id=str(execution_id), first=first, last=last).to_json(),
            message_ids.commit_id(execution_id, position=last),
            headers,
        )
        for event in events:
            yield self.of_event(execution_id, event, largest=largest, headers=headers)

    def of_event(
        self,
        execution_id: int,
        event: EventMessage,
        *,
        largest: int,
        headers: Context | None = None,
        subject: str | None = None,
        message_id: str | None = None,
    ) -> Outgoing:
        """Return the message of an event; an outbox row of the event may set subject and id."""
        return Outgoing(
            subject or event_subject(execution_id, shard=self.shard),
            event_body(event, largest=min(largest, self.event_bytes)),
            message_id or message_ids.event_id(execution_id, position=event["position"]),
            headers,
        )
