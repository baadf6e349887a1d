"""Leases: the holder of a command, messages of earlier runs, and lost holders.

The sweep of the orchestrator asks :func:`gone_reason` with the rows of the command table, a claim
asks with the state (L1 to L4).
"""

from datetime import datetime, timedelta

from noetl_contract.json import Json

from noetl_engine.inputs import Facts, WorkerSeen
from noetl_engine.outputs import CommandChange
from noetl_engine.state.model import CommandState

GIVEN_BACK = "worker_gone"
"""The reason of a hold that is over because its worker has left in order."""
NEVER_BEGAN = "never_began"
"""The reason of a hold that is over because its worker could not begin the tool."""
NOBODY = ""
"""The worker id of the hold after such a one: any worker may claim the command at once."""
UNNAMED = "unnamed"
"""The worker id for a worker whose own is empty, since that is the one of ``NOBODY``."""
_MOST_GIVEN_BACK = 50


def is_holder(command: CommandState, *, worker_id: str | None, instance: str | None) -> bool:
    """Return whether the asker is the present holder; over HTTP there is no instance to compare."""
    if not command.holds or worker_id != command.worker_id:
        return False
    return instance is None or instance == command.instance


def fits(
    command: CommandState, *, worker_id: str | None, instance: str | None, attempts: int | None
) -> bool:
    """Return whether a start, outcome or event belongs to the present run, or begins the first one.

    What the sender doesn't say is not compared: the Python worker sends no attempts, a person
    with ``curl`` no worker id.
    """
    if not command.holds:
        return attempts in {None, 0}
    if attempts is not None and attempts != command.attempts:
        return False
    if worker_id is None or command.worker_id is None:
        return True
    if worker_id != command.worker_id:
        return False
    return instance is None or command.instance is None or instance == command.instance


def attempts_used(command: CommandState, reason: str | None) -> int:
    """Return how many runs of a command counted, the present one among them.

    A run that its worker gave back, since it was stopping or could not begin the tool,
    doesn't; up to a bound, for a command that brings its workers to be stopped must end too.
    ``reason`` is why the holder of the present run is gone.
    """
    return command.holds - min(_given_back(command, reason), _MOST_GIVEN_BACK)


def given_back_note(command: CommandState, reason: str | None) -> dict[str, Json]:
    """Return the part of the next hold's note about the runs that were given back before."""
    given_back = _given_back(command, reason)
    return {"given_back": given_back} if given_back else {}


def may_be_given_back(command: CommandState) -> bool:
    """Return whether a run that has not begun may be another worker's, instead of failing.

    Not of a command that may run once: nobody else gets it when its worker is gone.
    """
    return not command.once and command.given_back < _MOST_GIVEN_BACK


def _given_back(command: CommandState, reason: str | None) -> int:
    return command.given_back + (reason in {GIVEN_BACK, NEVER_BEGAN})


def holder_gone(command: CommandState, facts: Facts) -> str | None:
    """Return the reason why a command's holder no longer protects it, if it doesn't."""
    if not command.holds or command.claimed_at is None:
        return None
    return gone_reason(
        facts,
        worker_id=command.worker_id,
        instance=command.instance,
        claimed_at=command.claimed_at,
        started_at=command.started_at,
        heard_at=command.heard_at,
        timeout_seconds=command.timeout_seconds,
    )


def gone_reason(  # noqa: PLR0911 - the contract's list of reasons
    facts: Facts,
    *,
    worker_id: str | None,
    instance: str | None,
    claimed_at: datetime,
    started_at: datetime | None,
    heard_at: datetime | None = None,
    timeout_seconds: float | None = None,
) -> str | None:
    """Return the reason for taking a command from its holder, None while the holder is alive.

    ``heard_at`` is when the newest event of the run came in. Nobody is judged while the path of
    heartbeats is down, and silence, also that of a start, counts from its return only (L3).
    """
    if worker_id == NOBODY:
        return NEVER_BEGAN
    if facts.workers is None:
        return None
    limits, now = facts.limits, facts.now
    worker = facts.workers.get(worker_id or "")
    allowance = timedelta(seconds=limits.clock_allowance_seconds)
    left_at = None if worker is None else worker.deregistered_at
    if left_at is not None and left_at >= claimed_at - allowance:
        return GIVEN_BACK
    if worker is not None and _registered_again(worker, instance, claimed_at, heard_at, facts):
        has_left = worker.left_at is not None and worker.left_at >= claimed_at
        return GIVEN_BACK if has_left else "worker_registered_again"
    heard_since = facts.heard_since if worker is None else worker.heard_since
    silent_since = max(claimed_at, heard_since or claimed_at)
    if worker is None or not _is_renewed(worker, instance, claimed_at, heard_at):
        seen = max(silent_since, heard_at or claimed_at)
    else:
        seen = max(worker.heartbeat_at, heard_since or worker.heartbeat_at)
    if now - seen > timedelta(seconds=limits.heartbeat_stale_seconds):
        return "lease_expired"
    if started_at is None and now - silent_since > timedelta(seconds=limits.start_grace_seconds):
        return "not_started"
    if now - claimed_at > timedelta(seconds=max(limits.hard_timeout_seconds, timeout_seconds or 0)):
        return "hard_timeout"
    return None


def _is_renewed(
    worker: WorkerSeen, instance: str | None, claimed_at: datetime, heard_at: datetime | None
) -> bool:
    """Return whether the worker's heartbeats are proof of life for this hold (L4).

    They are for what the present process claimed, or has sent an event of. A claim from within
    the clock allowance before its registration may be the process's that died: it has its
    lease, and nobody renews it.
    """
    if instance is not None and worker.instance == instance:
        return True
    return max(claimed_at, heard_at or claimed_at) >= worker.process_since


def _registered_again(
    worker: WorkerSeen,
    instance: str | None,
    claimed_at: datetime,
    heard_at: datetime | None,
    facts: Facts,
) -> bool:
    """Return whether another process took the worker's name after the hold began (L4)."""
    if instance is not None and worker.instance == instance:
        return False
    allowance = timedelta(seconds=facts.limits.clock_allowance_seconds)
    since = worker.process_since
    if instance is not None and worker.instance is not None:
        # Known to be two processes, and a worker registers before it claims: only clocks that
        # differ could make the older one look younger. A restart within the allowance counts.
        latest = since + allowance
        return claimed_at < latest and (heard_at is None or heard_at < latest)
    return claimed_at < since - allowance and (heard_at is None or heard_at < since)


def change_of(
    command: CommandState,
    facts: Facts,
    *,
    ended: str | None,
    error: str | None,
    result_event_id: int | None,
) -> CommandChange:
    """Return a command's row as it is now.

    Args:
        command: its state.
        facts: of the decision.
        ended: its last status, if it is over.
        error: why it has failed.
        result_event_id: of the event that holds its result.
    """
    # With its result in the log the command can end without its worker.
    limits = facts.limits
    seconds = limits.lease_seconds if command.call is None else limits.result_seconds
    if command.worker_id == NOBODY:
        seconds = 0.0
    # Nobody holds a parked command: its worker is done with it.
    held = bool(command.holds) and command.parked is None
    status = "PENDING"
    if ended is not None:
        status = ended
    elif command.started_at is not None:
        status = "RUNNING"
    elif command.holds:
        status = "CLAIMED"
    return CommandChange(
        event_id=command.event_id,
        status=status,
        worker_id=command.worker_id if held or ended else None,
        instance=command.instance if held or ended else None,
        attempts=command.attempts,
        holds=command.holds,
        claimed_at=command.claimed_at,
        started_at=command.started_at,
        ended_at=None if ended is None else facts.now,
        lease_until=None if ended or not held else facts.now + timedelta(seconds=seconds),
        error=error,
        result_event_id=result_event_id,
    )
