"""Message ids: they decide which message the broker drops as a repetition (O1).

The broker compares ids within a stream for the whole duplicate window. A message that must be
stored once more therefore needs another id; a message sent again because its answer was lost
must have the same. The outbox's statements add ``:r<n>`` to a row whose stream lost it.
"""

from typing import Literal


def event_id(execution_id: int, *, position: int) -> str:
    """Return the id of an event's message."""
    return f"e:{execution_id}:{position}"


def commit_id(execution_id: int, *, position: int) -> str:
    """Return the id of the message about a commit, by the last position that it wrote."""
    return f"l:{execution_id}:{position}"


def command_id(event_id: int, *, holds: int, repetition: int = 0) -> str:
    """Return the id of a command's notification.

    A deliberate repetition at the same attempt has a number, or the broker would drop it.
    """
    base = f"c:{event_id}:{holds}"
    return f"{base}:n{repetition}" if repetition else base


def cancel_id(execution_id: int, *, event_id: int) -> str:
    """Return the id of the message with which the end of a parent cancels a child."""
    return f"m:{execution_id}:{event_id}"


def followup_id(execution_id: int, *, event_id: int) -> str:
    """Return the id of the message that starts an execution after the end of another."""
    return f"a:{execution_id}:{event_id}"


def failure_id(execution_id: int, *, event_id: int) -> str:
    """Return the id of the message that fails an execution whose row can't be published."""
    return f"f:{execution_id}:{event_id}"


def row_id(kind: Literal["command", "message"], execution_id: int, *, event_id: int) -> str:
    """Return the id of an outbox row that was inserted without one."""
    return f"{kind[0]}:{execution_id}:{event_id}"


def report_id(
    kind: Literal["start", "outcome"],
    event_id: int,
    *,
    attempts: int,
    instance: str,
    tries: int = 0,
) -> str:
    """Return the id of a start or an outcome over the fast path.

    The first try of a start has the same id for every worker, so the broker stores the start of
    one of them: that worker has the command. A try after that is the worker's own.
    """
    base = f"{kind[0]}:{event_id}:{attempts}"
    if kind == "outcome" or tries:
        base = f"{base}:{instance}"
    return f"{base}:{tries}" if tries else base


def dead_letter_id(stream: str, *, sequence: int, stored_at_ns: int | str) -> str:
    """Return the id of a dead letter; the time distinguishes sequences of a wiped stream."""
    return f"d:{stream}:{sequence}:{stored_at_ns}"


def replay_id(dead_letter_id: str, *, number: int) -> str:
    """Return a fresh id for a dead letter that is put back, as the broker may know the original."""
    return f"p:{number}:{dead_letter_id}"
