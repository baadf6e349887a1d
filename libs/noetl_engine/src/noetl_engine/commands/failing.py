"""Ends of commands that fail their step although the worker reports no failure."""

from noetl_contract.events import EventRow

from noetl_engine.playbook.model import Playbook
from noetl_engine.playbook.places import fails_softly
from noetl_engine.state.failures import ends_softly, ends_without_data
from noetl_engine.state.model import CommandState, State


def fails_by_rule(playbook: Playbook, state: State, command: CommandState, row: EventRow) -> bool:
    """Return whether a row ends a run with a soft error that counts, or with data that is lost."""
    if not ends_softly(row):
        return ends_without_data(state, command, row)
    answered = state.answered.get(command.event_id)
    task = None if answered is None else answered.task
    counts = fails_softly(playbook, command.step, task, claims=command.claims)
    return counts or ends_without_data(state, command, row)
