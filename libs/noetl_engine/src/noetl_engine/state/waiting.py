"""Waits of an execution: how they end, and the signals that nothing has taken yet."""

from dataclasses import dataclass
from datetime import datetime

from noetl_contract.json import JsonObject

from noetl_engine.state.identity import micros, moment_of

# The timers of a wait: its end, whose row has the id of the wait, and the next reminder of it.
WAIT_TIMER = "wait"
REMINDER_TIMER = "wait_reminder"
# Of a paused execution: who paused it and why.
PAUSE_TIMER = "pause"


@dataclass(slots=True)
class Wait:
    """Wait of an open entry of a step, which no worker has.

    Attributes:
        kind: ``wait`` for a signal, ``sleep`` for a time.
        signal: Name of the signal.
        due_at: When it ends without one.
        ending: What that end is: ``slept``, ``continue`` or ``fail`` as ``on_timeout`` says, or
            ``step`` for the time limit of the step.
        every: Seconds between reminders, 0 for one only.
        reminder: Id of the timer row of the next reminder.
        reminders: How many there were.
    """

    kind: str
    signal: str
    due_at: datetime
    ending: str
    every: float = 0.0
    reminder: int | None = None
    reminders: int = 0

    def as_note(self) -> JsonObject:
        """Return it as the row that begins it keeps it."""
        return {
            "kind": self.kind,
            "signal": self.signal,
            "due": micros(self.due_at),
            "ending": self.ending,
            "every": self.every,
            "reminder": self.reminder,
        }

    @classmethod
    def of_note(cls, note: JsonObject) -> "Wait":
        """Return the wait that a row begins."""
        return cls(
            note["kind"],
            note["signal"],
            moment_of(note["due"]),
            note["ending"],
            note.get("every") or 0.0,
            note.get("reminder"),
        )


@dataclass(frozen=True, slots=True)
class KeptSignal:
    """A signal that came before a wait for it.

    Attributes:
        position: Of its ``signal.received``.
        name: Its name.
        size: Bytes of its payload.
        step: The only step that may take it.
        index: The only iteration that may take it.
    """

    position: int
    name: str
    size: int
    step: str | None = None
    index: int | None = None
