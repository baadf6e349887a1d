"""Outbox rows: commits, notifications of commands, messages to other executions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, Self

from msgspec import Raw
from noetl_bus.commit_messages import CommitMessages
from noetl_contract import message_ids
from noetl_contract.commands import CommandNotification, FastCommand, FastPath, encode_notification
from noetl_contract.events import EventRow, event_message, format_time
from noetl_contract.failures.ended import AfterEnd
from noetl_contract.hints import CommittedEvents
from noetl_contract.ingress import CancelMessage, ExecuteMessage, encode_message, kind_of
from noetl_contract.json import Json, encode
from noetl_contract.sharding import shard_for
from noetl_contract.subjects import (
    command_subject,
    commit_subject,
    event_subject,
    ingress_subject,
)
from noetl_engine.outputs import Followup, NewCommand

from noetl_orchestrator.fences import Fences
from noetl_orchestrator.log.commit_parameters import EventTexts
from noetl_orchestrator.log.outbox_row import OutboxRow
from noetl_orchestrator.log.stored_rows import HeldCommand
from noetl_orchestrator.settings import Settings


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
    inlined: bytes | None = None
    is_named: bool = False


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
    new_id: Callable[[], int]
    commits: CommitMessages

    @classmethod
    def of(cls, settings: Settings, new_id: Callable[[], int]) -> Self:
        """Return the builder for these settings; ``new_id`` mints the ids of rows."""
        commits = CommitMessages.of(settings, shard=settings.shard_index)
        return cls(settings, new_id, commits)

    def event_subject(self, execution_id: int) -> str:
        """Return the subject of an event that is published by a row of its own."""
        return event_subject(execution_id, shard=self.settings.shard_index)

    def event_row(self, row: EventRow) -> OutboxRow:
        """Return the row of a single event, for publishers that are not ours."""
        return OutboxRow(
            outbox_id=self.new_id(),
            owner=row.execution_id,
            execution_id=row.execution_id,
            event_id=row.event_id,
            kind="event",
            subject=self.event_subject(row.execution_id),
            message_id=message_ids.event_id(row.execution_id, position=row.position),
            payload=None,
        )

    def commit_row(
        self, rows: Sequence[EventRow], texts: Sequence[EventTexts], *, trace: Json = None
    ) -> OutboxRow:
        """Return the row of all events that a commit adds to the log of an execution.

        Of positions alone the readers have news, so these need not be in the outbox (O6).

        Args:
            rows: the events, in the order of their positions.
            texts: their JSON columns, encoded.
            trace: the W3C context that goes on to readers, if there is one.
        """
        first, last = rows[0], rows[-1]
        events = [
            event_message(row, texts=texts[number])
            for number, row in enumerate(rows)
            if self.commits.are_wanted(row.event_type)
        ]
        committed = CommittedEvents(first=first.position, last=last.position, trace=trace)
        is_stored = bool(events) or trace is not None or not self.settings.takes("commit-news")
        return OutboxRow(
            outbox_id=self.new_id(),
            owner=last.execution_id,
            execution_id=last.execution_id,
            event_id=last.event_id,
            kind="commit",
            subject=commit_subject(last.execution_id, shard=self.settings.shard_index),
            message_id=message_ids.commit_id(last.execution_id, position=last.position),
            # The relay reads the events from the log.
            payload=committed.to_json().decode() if is_stored else None,
            is_stored=is_stored,
            committed=committed,
            events=events,
        )

    def notification(
        self,
        execution_id: int,
        command: NewCommand,
        *,
        pool: str,
        now: datetime,
        trace: Json = None,
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
        if not self.settings.fast_path_enabled or command.meta.get("repeatable") is False:
            # What may run once only is claimed first: its hold is stored before it runs.
            return Notification(plain, pool)
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

    def repeated_command_row(self, command: HeldCommand) -> OutboxRow:
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
        repetition = 0 if is_first else command.notifications
        return self.command_row(Notification(plain, command.pool), repetition=repetition)

    def command_row(self, found: Notification, *, repetition: int = 0) -> OutboxRow:
        """Return the row of a notification."""
        note = found.plain
        execution_id, event_id = note.execution_id, note.event_id
        holds = note.fast.attempts if note.fast else 0
        return OutboxRow(
            outbox_id=self.new_id(),
            owner=execution_id,
            execution_id=execution_id,
            event_id=event_id,
            kind="command",
            subject=command_subject(found.pool, execution_id=execution_id),
            message_id=message_ids.command_id(event_id, holds=holds, repetition=repetition),
            payload=encode_notification(note).decode(),
            pool=found.pool,
            inlined=found.inlined,
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

    def cancel_row(self, child: ChildToCancel, *, owner: int) -> OutboxRow:
        """Return the row that cancels a child, on any shard (W10)."""
        child_id = child.execution_id
        message = CancelMessage(
            execution_id=child_id, reason=child.reason, cascade=child.cascade, by_parent=True
        )
        message_id = message_ids.cancel_id(child_id, event_id=child.event_id)
        return self._message_row(message, child.event_id, message_id, owner=owner)

    def followup_row(self, wanted: Followup, *, origin: int, event_id: int) -> OutboxRow:
        """Return the row that starts an execution after the end of another one, once.

        It is a child of the ended one, so its generations and its number are bounded (W15).
        """
        execution_id = self._id_here()
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
        message_id = message_ids.followup_id(execution_id, event_id=event_id)
        return self._message_row(message, event_id, message_id, owner=origin)

    def _message_row(
        self, message: CancelMessage | ExecuteMessage, event_id: int, message_id: str, *, owner: int
    ) -> OutboxRow:
        execution_id = message.execution_id
        shard = shard_for(execution_id, shard_count=self.settings.shard_count)
        return OutboxRow(
            outbox_id=self.new_id(),
            owner=owner,
            execution_id=execution_id,
            event_id=event_id,
            kind="message",
            subject=ingress_subject(shard, execution_id=execution_id, kind=kind_of(message)),
            message_id=message_id,
            payload=encode_message(message).decode(),
        )

    def _id_here(self) -> int:
        """Return an id of this shard, where the family of the ended execution is counted."""
        while True:
            minted = self.new_id()
            if self.settings.refuse_foreign(minted) is None:
                return minted
