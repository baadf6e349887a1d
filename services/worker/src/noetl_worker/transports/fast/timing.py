"""Timeouts and pauses of the fast path."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timing:
    """Timeouts and pauses of the fast path.

    Attributes:
        start_after_seconds: how long a tool is at work before its start is told.
        next_seconds: how long commands follow one another at one worker, past the queue: other
            workers have their turn after that.
        next_at_once: so many may be waited for at once. Their answers come together, and each
            needs a slot.
        next_wait_seconds: longest wait of such a command for a free slot.
    """

    start_after_seconds: float = 0.01
    start_try_seconds: float = 2.0
    start_tries: int = 5
    claim_seconds: float = 5.0
    claim_pause_seconds: float = 1.0
    claim_longest_pause_seconds: float = 5.0
    claim_give_up_seconds: float = 60.0
    claim_nak_seconds: float = 5.0
    answer_seconds: float = 5.0
    longest_repeat_seconds: float = 60.0
    outcome_try_seconds: float = 5.0
    outcome_pause_seconds: float = 0.5
    outcome_longest_pause_seconds: float = 15.0
    look_seconds: float = 0.25
    next_seconds: float = 1.0
    next_at_once: int = 64
    next_wait_seconds: float = 0.1
