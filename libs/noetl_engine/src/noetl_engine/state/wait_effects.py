"""Effects of reminders and signals on the state."""

from collections.abc import Mapping

from noetl_contract.events import EventRow
from noetl_contract.json import Json

from noetl_engine.state.model import State
from noetl_engine.state.waiting import KeptSignal


def on_reminder(state: State, _row: EventRow, note: Mapping[str, Json]) -> None:
    """Note the timer of the next reminder."""
    command = state.commands.get(note.get("command", 0))
    if command is not None and command.wait is not None:
        command.wait.reminder = note.get("reminder")
        command.wait.reminders = note.get("reminders", 0)


def on_signal(state: State, row: EventRow, note: Mapping[str, Json]) -> None:
    """Keep a signal that nothing waited for."""
    kept = note.get("kept")
    if kept is not None:
        who = (kept.get("step"), kept.get("index"))
        state.signals.append(KeptSignal(row.position, kept["name"], kept["size"], *who))
