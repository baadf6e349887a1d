"""Outbox rows: commits, notifications of commands, messages to other executions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, Self

import orjson
from msgspec import Raw
from noetl_common.commit_messages import CommitMessages
from noetl_contract import message_ids
from noetl_contract.commands import CommandNotification, FastCommand, FastPath, encode_notification
from noetl_contract.events import EventMessage, EventRow, event_message, format_time
from noetl_contract.failures.ended import AfterEnd
from noetl_contract.hints import CommittedEvents, OutboxKind
from noetl_contract.ingress import CancelMessage, ExecuteMessage, encode_message
from noetl_contract.json import Json, JsonObject, encode
from noetl_contract.sharding import shard_for
from noetl_contract.subjects import (
    command_subject,
    commit_subject,
    event_subject,
    ingress_subject,
    pool_segment,
)
from noetl_engine.outputs import Followup, NewCommand

from noetl_orchestrator.fences import Fences
from noetl_orchestrator.log.stored_rows import HeldCommand
from noetl_orchestrator.settings import Settings


@dataclass(frozen=True, slots=True)
class Told:
    """Contents of the messages about a commit.

    Attributes:
        first, last: the positions that it wrote to the log of its execution.
        events: those that outside readers get, each as its message.
        trace: the W3C context that goes on to readers, if there is one.
        may_be_lost: what only tells of positions need not be in the outbox (O6).
    """

    first: int
    last: int
    events: Sequence[EventMessage] = ()
    trace: Json = None
    may_be_lost: bool = True

    @property
    def is_stored(self) -> bool:
        """Whether it has to be in the outbox."""
        return bool(self.events) or self.trace is not None or not self.may_be_lost

    def stored(self) -> str | None:
        """Return what the outbox keeps: the relay reads the events from the log."""
        if not self.is_stored:
            return None
        kept = CommittedEvents(first=self.first, last=self.last, trace=self.trace)
        return kept.to_json().decode()


@dataclass(slots=True)
class OutboxRow:
    """A row of the outbox, which is published right after its commit.

    Attributes:
        owner: the execution whose commit writes the row.
        execution_id: the execution it is about.
        payload: the stored message; None for single events, which are read from the log.
        inlined: the message with the command inside, which goes out in its place if it may.
        pool: of such a command: whose workers read it.
        told: of a commit: what its messages are made of.
    """

    outbox_id: int
    owner: int
    execution_id: int
    event_id: int
    kind: OutboxKind
    subject: str
    message_id: str
    payload: str | None
    inlined: bytes | None = None
    pool: str | None = None
    told: Told | None = None

    @property
    def is_stored(self) -> bool:
        """Whether it is in the outbox."""
        return self.told is None or self.told.is_stored

    def columns(self) -> tuple[Json, ...]:
        """Return the columns that a commit writes."""
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
            "outbox_id": self.outbox_id,
            "execution_id": self.execution_id,
            "event_id": self.event_id,
            "subject": self.subject,
            "message_id": self.message_id,
            "payload": orjson.Fragment(self.payload or "null"),
            "holds": holds,
        }


@dataclass(frozen=True, slots=True)
class Notification:
    """Forms of the message that announces a new command to workers.

    Attributes:
        plain: the message without the command, which is stored.
        inlined: the message with the command inside, if it may travel so.
        is_named: that command names its workload.
    """

    plain: CommandNotification
    pool: str
    inlined: bytes | None
    is_named: bool = False

    def row(self, *, outbox_id: int) -> OutboxRow:
        """Return the outbox row."""
        row = _notification_row(self.plain, pool=self.pool, outbox_id=outbox_id)
        row.inlined, row.pool = self.inlined, self.pool
        return row


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
    """Build outbox rows."""

    settings: Settings
    commits: CommitMessages

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the builder for these settings."""
        return cls(settings, CommitMessages.of(settings, shard=settings.shard_index))

    def event_subject(self, execution_id: int) -> str:
        """Return the subject of an event that is published by a row of its own."""
        return event_subject(execution_id, shard=self.settings.shard_index)

    def event_row(self, row: EventRow, *, outbox_id: int) -> OutboxRow:
        """Return the row of a single event, for publishers that are not ours."""
        return OutboxRow(
            outbox_id=outbox_id,
            owner=row.execution_id,
            execution_id=row.execution_id,
            event_id=row.event_id,
            kind="event",
            subject=self.event_subject(row.execution_id),
            message_id=message_ids.event_id(row.execution_id, position=row.position),
            payload=None,
        )

    def commit_row(
        self,
        rows: Sequence[EventRow],
        texts: Sequence[Mapping[str, str | None]],
        *,
        outbox_id: int,
        trace: Json = None,
    ) -> OutboxRow:
        """Return the row of all events that a commit adds to the log of an execution.

        Args:
            rows: the events, in the order of their positions.
            texts: their JSON columns, encoded.
            outbox_id: the id of the row.
            trace: the W3C context that goes on to readers, if there is one.
        """
        first, last = rows[0], rows[-1]
        events = [
            event_message(row, texts=texts[number])
            for number, row in enumerate(rows)
            if self.commits.are_wanted(row.event_type)
        ]
        may_be_lost = self.settings.takes("commit-news")
        told = Told(first.position, last.position, events, trace, may_be_lost)
        return OutboxRow(
            outbox_id=outbox_id,
            owner=last.execution_id,
            execution_id=last.execution_id,
            event_id=last.event_id,
            kind="commit",
            subject=commit_subject(last.execution_id, shard=self.settings.shard_index),
            message_id=message_ids.commit_id(last.execution_id, position=last.position),
            payload=told.stored(),
            told=told,
        )

    def notification(
        self, execution_id: int, command: NewCommand, *, now: datetime, trace: Json = None
    ) -> Notification:
        """Return the notification of a new command; a small one holds the command itself.

        ``trace`` is the context of the span that issued it, else its execution's goes on.
        """
        plain = self._notification(
            execution_id,
            command.event_id,
            command.command_id,
            command.step,
            command.trace if trace is None else trace,
        )
        pool = pool_segment(execution_pool=command.pool, playbook_path=None)
        if not self.settings.fast_path_enabled or command.meta.get("repeatable") is False:
            # What may run once only is claimed first: its hold is stored before it runs.
            return Notification(plain, pool, None)
        short = command.short
        # A whole context has its workload twice at least.
        if short is None or 2 * short.workload_bytes <= self.settings.fast_path_max_bytes:
            inlined = self._inlined(plain, command, command.context, key="command", now=now)
            if inlined is not None or short is None:
                return Notification(plain, pool, inlined)
        inlined = self._inlined(plain, command, short.context, key="named", now=now)
        return Notification(plain, pool, inlined, is_named=True)

    def _inlined(
        self,
        plain: CommandNotification,
        command: NewCommand,
        context: Json,
        *,
        key: Literal["command", "named"],
        now: datetime,
    ) -> bytes | None:
        carried = FastCommand(
            action=command.tool_kind, context=Raw(encode(context)), meta=Raw(encode(command.meta))
        )
        fast = FastPath(
            v=1,
            shard=self.settings.shard_index,
            attempts=0,
            until=format_time(now + timedelta(seconds=self.settings.fast_path_seconds)),
            **{key: carried},
        )
        body = encode_notification(plain.but(fast=fast))
        return body if len(body) <= self.settings.fast_path_max_bytes else None

    def repeated_command_row(self, command: HeldCommand, *, outbox_id: int) -> OutboxRow:
        """Return the row of a repetition, without the command inside."""
        plain = self._notification(
            command.execution_id,
            command.event_id,
            str(command.meta.get("command_id")),
            command.step,
            command.meta.get("trace"),
            holds=command.holds,
        )
        is_first = command.holds > 0 and not command.notifications
        return _notification_row(
            plain,
            pool=command.pool,
            outbox_id=outbox_id,
            repetition=0 if is_first else command.notifications,
        )

    def _notification(
        self,
        execution_id: int,
        event_id: int,
        command_id: str,
        step: str,
        trace: Json,
        *,
        holds: int = 0,
    ) -> CommandNotification:
        """Return a notification without the command itself.

        ``server_url`` names the command and holds its capability (L6), which HTTP clients send
        with every call below it.
        """
        server_url = Fences(self.settings).address(execution_id, event_id, attempts=holds)
        return CommandNotification(
            execution_id=execution_id,
            event_id=event_id,
            command_id=command_id,
            step=step,
            server_url=server_url,
            trace=trace if isinstance(trace, dict) else None,
            fast=FastPath(v=1, shard=self.settings.shard_index, attempts=holds),
        )

    def cancel_row(self, child: ChildToCancel, *, owner: int, outbox_id: int) -> OutboxRow:
        """Return the row that cancels a child, on any shard (W10)."""
        child_id = child.execution_id
        message = CancelMessage(
            execution_id=child_id, reason=child.reason, cascade=child.cascade, by_parent=True
        )
        payload = encode_message(message).decode()
        shard = shard_for(child_id, shard_count=self.settings.shard_count)
        return OutboxRow(
            outbox_id=outbox_id,
            owner=owner,
            execution_id=child_id,
            event_id=child.event_id,
            kind="message",
            subject=ingress_subject(shard, execution_id=child_id, kind="cancel"),
            message_id=message_ids.cancel_id(child_id, event_id=child.event_id),
            payload=payload,
        )

    def followup_row(
        self, wanted: Followup, *, origin: int, event_id: int, execution_id: int, outbox_id: int
    ) -> OutboxRow:
        """Return the row that starts an execution after the end of another one, once.

        It is a child of the ended one, so its generations and its number are bounded (W15).
        """
        key = f"ended:{origin}:{wanted.trigger}:{wanted.kind}"
        message = ExecuteMessage(
            execution_id=execution_id,
            catalog_id=0,
            path=wanted.path,
            version=wanted.version or 0,
            payload=wanted.payload,
            parent_execution_id=origin,
            idempotency_key=key,
            after=AfterEnd(
                execution_id=origin,
                trigger=wanted.trigger,
                handles=wanted.handles,
                is_trigger=wanted.is_trigger,
            ),
            owner=wanted.owner,
            namespace=wanted.namespace,
        )
        payload = encode_message(message).decode()
        shard = shard_for(execution_id, shard_count=self.settings.shard_count)
        return OutboxRow(
            outbox_id=outbox_id,
            owner=origin,
            execution_id=execution_id,
            event_id=event_id,
            kind="message",
            subject=ingress_subject(shard, execution_id=execution_id, kind="execute"),
            message_id=message_ids.followup_id(execution_id, event_id=event_id),
            payload=payload,
        )


def _notification_row(
    note: CommandNotification, *, pool: str, outbox_id: int, repetition: int = 0
) -> OutboxRow:
    execution_id, event_id = note.execution_id, note.event_id
    payload = encode_notification(note).decode()
    return OutboxRow(
        outbox_id=outbox_id,
        owner=execution_id,
        execution_id=execution_id,
        event_id=event_id,
        kind="command",
        subject=command_subject(pool, execution_id=execution_id),
        message_id=message_ids.command_id(
            event_id, holds=note.fast.attempts if note.fast else 0, repetition=repetition
        ),
        payload=payload,
    )
