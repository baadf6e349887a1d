"""A command on its way through the fast path, and the states of its run."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from noetl_bus.consumers.delivery import Delivery
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
from noetl_worker.transports.fast.message import Message
from noetl_worker.workloads import Workloads

_log = get_logger()


class RunState(StrEnum):
    """Where a run stands.

    * ``fresh``: it needs no claim, and nobody was told of it;
    * ``started``: its start is on the way, and nobody has granted it;
    * ``claimed``: a claim was granted, before its tool began or while it was at work;
    * ``lost``: it is another worker's, or over; its tool is stopped, and nothing is reported;
    * ``reported``: its outcome is on the way;
    * ``refused``: that was refused for good, and a failure is on the way instead.
    """

    FRESH = "fresh"
    STARTED = "started"
    CLAIMED = "claimed"
    LOST = "lost"
    REPORTED = "reported"
    REFUSED = "refused"


_MAY_BECOME: dict[RunState, tuple[RunState, ...]] = {
    RunState.FRESH: (RunState.STARTED, RunState.LOST, RunState.REPORTED),
    RunState.STARTED: (RunState.CLAIMED, RunState.LOST, RunState.REPORTED),
    RunState.CLAIMED: (RunState.LOST, RunState.REPORTED),
    # An answer, a hint and a heartbeat may all tell of it.
    RunState.LOST: (RunState.LOST,),
    RunState.REPORTED: (RunState.REFUSED,),
    RunState.REFUSED: (),
}


class IllegalTransition(RuntimeError):
    """A run was to become what it can't become any more."""


@dataclass(slots=True, eq=False)
class Run:
    """One run of a command.

    Attributes:
        note: the notification that brought the command.
        state: changes by `become` only.
        delivery: of the notification, until that is acknowledged; a command that was claimed, or
            came with the answer to an outcome, has none.
        start: the last start that was sent.
        started: the event that tells of it.
        following: the run that follows: of the same command, if that was handed to this worker
            once more, or of the one that came with the answer.
        breaks: how often the connection was lost before the outcome was sent: its own, then that
            whose answer it came with.
    """

    command: Command
    note: CommandNotification
    state: RunState = RunState.FRESH
    delivery: Delivery | None = None
    start: Message | None = None
    started: WireEvent | None = None
    following: "Run | None" = None
    breaks: int = 0

    def become(self, state: RunState) -> None:
        """Go on to a state.

        Raises:
            IllegalTransition: none leads there from the present one.
        """
        if state not in _MAY_BECOME[self.state]:
            raise IllegalTransition(f"{self.command.command_id}: from {self.state} to {state}")
        self.state = state

    async def acknowledge(self) -> None:
        """Acknowledge the notification: this run is stored, or another worker's."""
        if self.delivery is not None:
            delivery, self.delivery = self.delivery, None
            await delivery.ack()


def is_timely(note: CommandNotification, now: datetime) -> bool:
    """Return whether a command may begin without a claim by its time, on the broker's clock."""
    return note.fast is not None and now.timestamp() < fresh_until(note.fast)


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
    return None if command is None else Run(command, note)
