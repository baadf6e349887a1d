"""A command on its way through the fast path."""

from dataclasses import dataclass
from time import time

from noetl_common.bus.delivery import Delivery
from noetl_common.logging import get_logger
from noetl_contract.commands import CommandNotification
from noetl_contract.ingress import WireEvent

from noetl_worker.commands import (
    Command,
    UndecodableNotification,
    command_of,
    decode_notification,
    fresh_until,
)
from noetl_worker.transports.fast.message import Message, Place
from noetl_worker.workloads import Workloads

_log = get_logger()


@dataclass(slots=True, eq=False)
class Run:
    """A command to run: its start may be unanswered or unsaid, its tool may be at work.

    Attributes:
        untold: the notification and its delivery, until that is answered; without a delivery if
            the command came with the answer to an outcome.
        start: the start, once it was published.
        started: the event that tells of it.
        following: the run that follows: of the same command, if that was handed to this worker
            once more, or of the one that came with the answer.
        breaks: how often the connection was lost before it came with an answer.
    """

    command: Command
    place: Place
    untold: tuple[CommandNotification, Delivery | None] | None = None
    start: Message | None = None
    started: WireEvent | None = None
    following: "Run | None" = None
    is_lost: bool = False
    breaks: int = 0

    @property
    def is_handed(self) -> bool:
        """Whether it came with an answer, and nobody was told of it yet."""
        return self.untold is not None and self.untold[1] is None

    @property
    def is_overdue(self) -> bool:
        """Whether it came with an answer, and others may have it by now."""
        if self.untold is None or not self.is_handed:
            return False
        fast = self.untold[0].fast
        return fast is None or time() >= fresh_until(fast)

    async def acknowledge(self) -> None:
        """Acknowledge the notification: this run is stored, or another worker's."""
        if self.untold is not None:
            (_, delivery), self.untold = self.untold, None
            if delivery is not None:
                await delivery.ack()


def run_of(body: bytes, workloads: Workloads) -> Run | None:
    """Return the run of a command that came with an answer.

    None for nonsense, and for a command whose workload is not known.
    """
    try:
        note = decode_notification(body)
    except UndecodableNotification as error:
        _log.error("next_undecodable", error=error.message)
        return None
    command = command_of(note, workloads)
    if command is None or note.fast is None:
        return None
    place = Place(note.fast.shard, note.event_id, command.attempts)
    return Run(command, place, untold=(note, None))
