"""Report to the control plane how a container has ended."""

from urllib.parse import quote

from noetl_common.logging import get_logger
from noetl_contract.json import JsonObject

from noetl_worker.control_plane.edge import Edge, EdgeUnreachable
from noetl_worker.tools.containers.backend import Ending

_LATER = frozenset({403, 408, 425, 429})
"""403: the control plane may be given a key yet. All other refusals are for good."""

_log = get_logger()


class Callbacks:
    """Callbacks by the route for them, with the capability of the command that began."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    async def report(self, ending: Ending) -> bool:
        """Report an end; False when it has to be reported again.

        A second report has no effect there, nor one that comes before the step waits for it.
        """
        return await self.send(ending, body_of(ending))

    async def send(self, ending: Ending, body: JsonObject) -> bool:
        """Do the same with a body of one's own."""
        origin = ending.origin
        step = quote(origin.step, safe="")
        path = f"/api/internal/container-callback/{origin.execution_id}/{step}"
        try:
            status, answer = await self._edge.call_json("POST", path, body, base=origin.callback)
        except EdgeUnreachable as error:
            _log.warning("container_callback_unanswered", name=ending.name, error=str(error))
            return False
        if status < 300:
            return True
        _log.warning("container_callback_refused", name=ending.name, status=status, answer=answer)
        return 400 <= status < 500 and status not in _LATER


def body_of(ending: Ending) -> JsonObject:
    """Return the body of a callback; unknown fields are left out."""
    body: JsonObject = {
        "state": ending.state,
        "job_name": ending.name,
        "job_uid": ending.uid,
        "command_id": ending.origin.command_id,
        "exit_code": ending.exit_code,
        "reason": ending.reason,
        "logs": ending.logs,
        "error": None if ending.state == "succeeded" else error_of(ending.state, ending.reason),
    }
    if ending.logs is not None:
        body["logs_truncated"] = ending.logs_truncated
    if ending.completed_at is not None:
        body["completed_at"] = ending.completed_at.isoformat()
    if ending.started_at is not None:
        body["started_at"] = ending.started_at.isoformat()
        if ending.completed_at is not None:
            took = ending.completed_at - ending.started_at
            body["duration_ms"] = max(0, int(took.total_seconds() * 1000))
    return {name: value for name, value in body.items() if value is not None}


def error_of(state: str, reason: str | None) -> str:
    """Return the text of a container that went wrong, which begins with the kind of failure."""
    words = {
        "failed": "the container failed",
        "failed_image_pull": "the image could not be pulled",
        "failed_oom": "the container ran out of memory",
        "failed_node_lost": "the container was lost",
        "failed_timeout": "the container took too long",
    }
    text = words.get(state, state)
    return f"{state}: {text}: {reason}" if reason else f"{state}: {text}"
