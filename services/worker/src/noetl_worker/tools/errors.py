"""Failures of tools; also for processes that load nothing else of the worker."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A failure as policies see it."""

    kind: str = "unknown"
    retryable: bool = False
    code: str | None = None
    status: int | None = None
    retry_after: float | None = None


class ToolError(Exception):
    """A tool raised: the command fails with this text."""

    def __init__(self, prefix: str, message: str, *, failure: Failure | None = None) -> None:
        super().__init__(f"{prefix}: {message}")
        self.prefix = prefix
        self.message = message
        self.failure = failure or Failure()
        self.task: str | None = None
        """Label of the pipeline's task that raised."""

    def in_task(self, label: str, *, more: str = "") -> "ToolError":
        """Return the error as one of a pipeline's task, which its text begins with."""
        return self._of_task(ToolError, label, more)

    def _of_task(self, kind: type["ToolError"], label: str, more: str) -> "ToolError":
        error = kind(f"task '{label}'", f"{self}{more}", failure=self.failure)
        error.task = label
        return error


class NeverBegan(ToolError):
    """The tool could not begin for a lack of its worker, so another one may run it."""

    def in_task(self, label: str, *, more: str = "") -> ToolError:
        """Return the same of a pipeline's task: of the pipeline nothing has begun, either."""
        return self._of_task(NeverBegan, label, more)
