"""Outbox rows: events, notifications of commands, messages to other executions."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import orjson
from noetl_contract import message_ids
from noetl_contract.commands import CommandMessage, FastPathBody
from noetl_contract.events import EventRow, event_message, format_time
from noetl_contract.hints import OutboxHintRow, OutboxKind
from noetl_contract.ingress import CancelMessage, encode_message
from noetl_contract.json import Json, JsonObject, embed
from noetl_contract.sharding import shard_for
from noetl_contract.subjects import (
    command_subject,
    event_subject,
    ingress_subject,
    pool_segment,
)
from noetl_engine.outputs import NewCommand


@dataclass(slots=True)
class OutboxRow:
    """A row for the relay.

    Attributes:
        owner: the execution whose commit writes the row.
        execution_id: the execution it is about.
        payload: the stored message; None for events, which are read from the log.
        hinted: the message in the hint; None makes the relay read it.
    """

    outbox_id: int
    owner: int
    execution_id: int
    event_id: int
    kind: OutboxKind
    subject: str
    message_id: str
    payload: str | None
    hinted: str | None

    def columns(self) -> tuple[Json, ...]:
        """Return the columns that the commit writes."""
        return (
            self.outbox_id,
            self.owner,
            self.execution_id,
            self.event_id,
            self.kind,
            self.subject,
            self.message_id,
            self.payload,
        )

    def repeated_columns(self, *, holds: int) -> JsonObject:
        """Return the row for a repetition, valid while the command has these holds."""
        return {
            "execution_id": self.execution_id,
            "event_id": self.event_id,
            "holds": holds,
            "outbox_id": self.outbox_id,
            "subject": self.subject,
            "message_id": self.message_id,
            "payload": None if self.payload is None else orjson.Fragment(self.payload),
        }

    def hint(self) -> bytes:
        """Return the row as the hint carries it."""
        row: OutboxHintRow = {
            "outbox_id": self.outbox_id,
            "kind": self.kind,
            "execution_id": self.execution_id,
            "event_id": self.event_id,
            "subject": self.subject,
            "message_id": self.message_id,
            "payload": None if self.hinted is None else orjson.Fragment(self.hinted),
        }
        return orjson.dumps(row)


@dataclass(frozen=True, slots=True)
class ChildToCancel:
    """A child execution that the end of its parent cancels.

    Attributes:
        event_id: the parent's terminal event.
        cascade: whether the cancel reaches the descendants of the child.
    """

    execution_id: int
    event_id: int
    reason: str | None
    cascade: bool


@dataclass(frozen=True, slots=True)
class OutboxRows:
    """Build outbox rows.

    Attributes:
        server_url: base address for calls of workers.
        fast_path_max_bytes: largest notification with its command inside; 0 for none.
        hint_payload_max_bytes: larger payloads are not hinted.
    """

    shard: int
    shard_count: int
    server_url: str
    fast_path_seconds: float
    fast_path_max_bytes: int
    hint_payload_max_bytes: int

    def event_subject(self, execution_id: int) -> str:
        """Return the subject of all events of an execution."""
        return event_subject(execution_id, shard=self.shard)

    def event_row(
        self, row: EventRow, *, subject: str, outbox_id: int, texts: Mapping[str, str | None]
    ) -> OutboxRow:
        """Return the row of an event; ``texts`` holds its encoded JSON columns."""
        text = orjson.dumps(event_message(row, texts=texts)).decode()
        is_small = len(text) <= self.hint_payload_max_bytes
        return OutboxRow(
            outbox_id=outbox_id,
            owner=row.execution_id,
            execution_id=row.execution_id,
            event_id=row.event_id,
            kind="event",
            subject=subject,
            message_id=message_ids.event_id(row.execution_id, position=row.position),
            payload=None,
            hinted=text if is_small else None,
        )

    def command_row(
        self, execution_id: int, command: NewCommand, *, outbox_id: int, now: datetime
    ) -> OutboxRow:
        """Return the row of a new command; a small command travels inside its hint."""
        plain = self.notification(
            execution_id=execution_id,
            event_id=command.event_id,
            command_id=command.command_id,
            step=command.step,
            trace=command.trace,
            attempts=0,
        )
        payload = orjson.dumps(plain).decode()
        return OutboxRow(
            outbox_id=outbox_id,
            owner=execution_id,
            execution_id=execution_id,
            event_id=command.event_id,
            kind="command",
            subject=command_subject(
                pool_segment(execution_pool=command.pool, playbook_path=None),
                execution_id=execution_id,
            ),
            message_id=message_ids.command_id(command.event_id, holds=0),
            payload=payload,
            hinted=self._inlined(plain, command, now=now) or payload,
        )

    def _inlined(self, plain: CommandMessage, command: NewCommand, *, now: datetime) -> str | None:
        if not self.fast_path_max_bytes:
            return None
        fast: FastPathBody = {
            **plain["fast"],
            "until": format_time(now + timedelta(seconds=self.fast_path_seconds)),
            "command": {
                "action": command.tool_kind,
                "context": embed(command.context),
                "meta": embed(command.meta),
            },
        }
        text = orjson.dumps({**plain, "fast": fast}).decode()
        return text if len(text) <= self.fast_path_max_bytes else None

    def repeated_command_row(
        self,
        *,
        execution_id: int,
        event_id: int,
        command_id: str,
        step: str,
        trace: Json,
        pool: str,
        holds: int,
        number: int,
        outbox_id: int,
    ) -> OutboxRow:
        """Return the row of a repetition; ``number`` counts repetitions at these holds."""
        notification = self.notification(
            execution_id=execution_id,
            event_id=event_id,
            command_id=command_id,
            step=step,
            trace=trace,
            attempts=holds,
        )
        payload = orjson.dumps(notification).decode()
        return OutboxRow(
            outbox_id=outbox_id,
            owner=execution_id,
            execution_id=execution_id,
            event_id=event_id,
            kind="command",
            subject=command_subject(pool, execution_id=execution_id),
            message_id=message_ids.command_id(event_id, holds=holds, repetition=number),
            payload=payload,
            hinted=payload,
        )

    def notification(
        self,
        *,
        execution_id: int,
        event_id: int,
        command_id: str,
        step: str,
        trace: Json,
        attempts: int,
    ) -> CommandMessage:
        """Return a notification without the command itself.

        ``server_url`` contains the command (L6): the worker puts this path before every call.
        """
        body: CommandMessage = {
            "execution_id": execution_id,
            "event_id": event_id,
            "command_id": command_id,
            "step": step,
            "server_url": f"{self.server_url}/c/{execution_id}/{event_id}",
            "trace": trace,
            "fast": {"v": 1, "shard": self.shard, "attempts": attempts},
        }
        if trace is None:
            del body["trace"]
        return body

    def cancel_row(self, child: ChildToCancel, *, owner: int, outbox_id: int) -> OutboxRow:
        """Return the row that cancels a child, on any shard (W10)."""
        child_id = child.execution_id
        message = CancelMessage(
            execution_id=child_id, reason=child.reason, cascade=child.cascade, by_parent=True
        )
        payload = encode_message(message).decode()
        shard = shard_for(child_id, shard_count=self.shard_count)
        return OutboxRow(
            outbox_id=outbox_id,
            owner=owner,
            execution_id=child_id,
            event_id=child.event_id,
            kind="message",
            subject=ingress_subject(shard, execution_id=child_id),
            message_id=message_ids.cancel_id(child_id, event_id=child.event_id),
            payload=payload,
            hinted=payload,
        )
