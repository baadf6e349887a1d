"""The events a worker reports about a command."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from noetl_contract.ingress import WireEvent
from noetl_contract.json import Json, JsonObject

from noetl_worker.commands import Command

_LARGEST_ERROR_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class Outcome:
    """End of a command: a status and its reported result, or an error text."""

    status: str = "success"
    result: Mapping[str, Json] | None = None
    error: str | None = None
    task: str | None = None
    """Label of the pipeline's task that the error comes from."""
    is_handled: bool = False
    """Whether a rule of the playbook lets the step go on with the bad status."""
    job: Mapping[str, Json] | None = None
    """The work that goes on, whose end comes as a callback; then nothing is said of a result."""

    never_began: bool = False
    """With an error: the tool could not begin here, and another worker may run it."""

    printed: Mapping[str, str] | None = None
    """With an error: the last lines of what it had printed, by `stdout` and `stderr`."""

    @property
    def has_failed(self) -> bool:
        """Whether the run has gone wrong, and no rule of the playbook has seen to it."""
        return self.error is not None or (self.status != "success" and not self.is_handled)


class Reporter:
    """Build event bodies; ids and times are the worker's."""

    def __init__(
        self,
        *,
        worker_id: str,
        next_id: Callable[[], int],
        error_bytes: int = _LARGEST_ERROR_BYTES,
    ) -> None:
        """Make a reporter whose error texts have no more than some bytes."""
        self.worker_id = worker_id
        self._error_bytes = min(error_bytes, _LARGEST_ERROR_BYTES)
        self._next_id = next_id

    def started(self, command: Command) -> WireEvent:
        """Return `command.started`."""
        context: JsonObject = {"command_id": command.command_id}
        return self._event(command, "command.started", "STARTED", context, at=datetime.now(UTC))

    def ended(self, command: Command, outcome: Outcome) -> list[WireEvent]:
        """Return the two events of an end; of work that goes on only the second, and says so."""
        call: JsonObject = {"command_id": command.command_id, "call_index": 0}
        at = datetime.now(UTC)
        if outcome.error is not None:
            said: JsonObject = {"error": cut_error(outcome.error, self._error_bytes)}
            if outcome.task is not None:
                said["task"] = outcome.task
            return [
                self._event(
                    command,
                    "call.error",
                    "FAILED",
                    {**call, **said, **(outcome.printed or {})},
                    at=at,
                    never_began=outcome.never_began,
                ),
                self._event(
                    command,
                    "command.failed",
                    "FAILED",
                    {"command_id": command.command_id, **said},
                    at=at,
                    never_began=outcome.never_began,
                ),
            ]
        status = outcome.status
        ended: JsonObject = {"command_id": command.command_id, "status": status}
        if outcome.is_handled:
            ended["handled"] = True
        if outcome.job is not None:
            ended |= {"pending_callback": True, "job": dict(outcome.job)}
            return [self._event(command, "command.completed", status, ended, at=at)]
        call["result"] = outcome.result
        return [
            self._event(command, "call.done", "COMPLETED", call, at=at),
            self._event(command, "command.completed", status, ended, at=at),
        ]

    def _event(
        self,
        command: Command,
        event_type: str,
        status: str,
        context: JsonObject,
        *,
        at: datetime,
        never_began: bool = False,
    ) -> WireEvent:
        meta: JsonObject = {"attempts": command.attempts}
        if never_began:
            meta["never_began"] = True
        return WireEvent(
            event_type=event_type,
            step=command.step,
            status=status,
            created_at=at,
            context=context,
            event_id=self._next_id(),
            worker_id=self.worker_id,
            meta=meta,
        )


def cut_error(text: str, limit: int = _LARGEST_ERROR_BYTES) -> str:
    """Bound an error text, so that its message fits the broker's limit."""
    data = text.encode("utf-8", "replace")
    if len(data) <= limit:
        return text
    return data[:limit].decode("utf-8", "ignore") + "…"
