"""Soft errors: results of tools whose status is an error."""

import re

from noetl_contract.failures.cause import brief
from noetl_contract.json import Json, JsonObject

SOFT_SUCCESS = frozenset({"success", "completed", "ok"})
"""Status words of a successful run."""
_EXITED = re.compile(r"exited with code|exit code|exit status")


def soft_error_in(result: Json) -> tuple[str, str | None] | None:
    """Return message and task of the soft error that a ``call.done`` reports, if it is one.

    A script's exception is the last line of what it wrote to its error output.
    """
    context = result.get("context") if isinstance(result, dict) else None
    reported = context.get("result") if isinstance(context, dict) else None
    if not isinstance(reported, dict):
        return None
    status = reported.get("status")
    if not isinstance(status, str) or status.lower() in SOFT_SUCCESS:
        return None
    body = reported.get("context")
    body = body if isinstance(body, dict) else {}
    error = body.get("error")
    message = brief(error) if isinstance(error, str) and error.strip() else f"status '{status}'"
    last = _last_line(body.get("stderr"))
    if last is not None and _EXITED.search(message) and last not in message:
        message = brief(f"{message}: {last}")
    return message, _task_in(body)


def _last_line(text: Json) -> str | None:
    lines = text.strip().splitlines() if isinstance(text, str) else []
    return lines[-1].strip() if lines else None


def _task_in(body: JsonObject) -> str | None:
    task = body.get("task")
    if isinstance(task, str):
        return task
    data = body.get("data")
    index = data.get("failed_task") if isinstance(data, dict) else None
    if isinstance(index, bool) or not isinstance(index, int):
        return None
    return f"task[{index}]"
